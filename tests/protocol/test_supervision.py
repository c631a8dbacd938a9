"""The supervisor's state machine, without processes."""

from __future__ import annotations

import signal

from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.constants import NO_MEMORY_CODE
from distlsh.protocol import supervision as sv


def supervisor(**changes):
    values = dict(roles=["a", "b"], max_restarts=1, heartbeat_timeout_s=10.0, stop_timeout_s=2.0)
    return sv.Supervisor(**{**values, **changes})


def running(**changes):
    s = supervisor(**changes)
    assert s.start(0.0) == [sv.Spawn(role) for role in s.children]
    for pid, role in enumerate(s.children, 1):
        s.handle(sv.Spawned(role, pid), 0.0)
        assert s.handle(sv.Seen(role, pid, hello=True), 0.0) == [sv.Ready(role)]
    return s


def test_a_killed_child_is_reported_lost_and_started_again():
    """An unexpected exit gives Lost and Spawn, and names the signal."""
    lost, spawn = running().handle(sv.Exited("a", 1, -9), 1.0)
    assert isinstance(lost, sv.Lost) and "SIGKILL" in lost.why
    assert spawn == sv.Spawn("a")


def test_the_run_is_given_up_after_too_many_deaths():
    """After max_restarts restarts the next death is final, and says how often it was tried."""
    s = running()
    s.handle(sv.Exited("a", 1, -11), 1.0)
    s.handle(sv.Spawned("a", 7), 1.0)
    lost, give_up = s.handle(sv.Exited("a", 7, -9), 2.0)
    assert not lost.had_begun and "restarted 1 times" in give_up.detail


def test_an_error_of_the_child_is_not_tried_again():
    """A child that reported a traceback is not restarted; the traceback comes with GiveUp."""
    s = running()
    assert s.handle(sv.Crashed("b", 2, "Traceback: boom"), 1.0) == []
    assert s.handle(sv.Exited("b", 2, 1), 1.0) == [sv.GiveUp("b", "Traceback: boom")]


def test_silence_is_ended_by_sigkill_once():
    """A child without heartbeats is killed, and told apart from other deaths."""
    s = running()
    s.handle(sv.Seen("b", 2), 9.0)
    assert s.handle(sv.Tick(), 10.0) == [sv.Signal("a", 1, signal.SIGKILL)]
    assert sv.Signal("a", 1, signal.SIGKILL) not in s.handle(sv.Tick(), 10.5)
    lost, _ = s.handle(sv.Exited("a", 1, -9), 11.0)
    assert "no sign of life" in lost.why


def test_stopping_escalates_from_asking_to_killing():
    """Ask, then SIGTERM, then SIGKILL, each after the timeout, only for those still there."""
    s = running()
    assert s.handle(sv.StopAll(), 0.0) == [sv.Ask("a"), sv.Ask("b")]
    assert s.handle(sv.Exited("b", 2, 0), 0.5) == []
    assert s.handle(sv.Tick(), 1.9) == [sv.Look("a", 1)]
    assert s.handle(sv.Tick(), 2.0) == [sv.Signal("a", 1, signal.SIGTERM)]
    assert s.handle(sv.Tick(), 4.0) == [sv.Signal("a", 1, signal.SIGKILL)]
    s.handle(sv.Exited("a", 1, -9), 4.1)
    assert s.all_gone


def test_stopping_at_once_kills():
    """StopAll(now=True) skips the asking."""
    assert running().handle(sv.StopAll(now=True), 0.0) == [
        sv.Signal("a", 1, signal.SIGKILL),
        sv.Signal("b", 2, signal.SIGKILL),
    ]


def test_a_child_that_was_asked_for_is_forgotten_when_all_stop():
    """A stop waits for no process that the fork server has not told of yet."""
    s = running()
    s.handle(sv.Exited("a", 1, -9), 1.0)
    assert s.handle(sv.StopAll(), 1.0) == [sv.Forget("a"), sv.Ask("b")]
    s.handle(sv.Exited("b", 2, 0), 1.1)
    assert s.all_gone and s.handle(sv.Unanswered("a"), 1.2) == []


def test_messages_of_a_process_before_are_ignored():
    """A late message of a dead process does not count for its successor."""
    s = running()
    s.handle(sv.Exited("a", 1, -9), 1.0)
    s.handle(sv.Spawned("a", 5), 1.0)
    assert s.handle(sv.Seen("a", 1, hello=True), 1.1) == []
    assert s.children["a"].state is sv.ChildState.STARTING


def test_restarts_are_counted_within_the_window():
    """Old restarts are forgotten: a child may die now and then for days, but not often."""
    s = running(max_restarts=2, restart_window_s=100.0)
    for pid, now in ((10, 1.0), (11, 90.0), (12, 102.0)):
        _, spawn = s.handle(sv.Exited("a", s.children["a"].pid, -9), now)
        assert spawn == sv.Spawn("a")
        s.handle(sv.Spawned("a", pid), now)
        s.handle(sv.Seen("a", pid, hello=True), now)
    _, give_up = s.handle(sv.Exited("a", 12, -9), 189.0)
    assert isinstance(give_up, sv.GiveUp) and "restarted 2 times within 100 s" in give_up.detail
    assert s.restarts == 3


def test_a_successor_tells_how_long_its_role_was_empty():
    """The time runs from the first loss to the hello, deaths in between included."""
    s = running(max_restarts=5)
    s.handle(sv.Exited("a", 1, -9), 1.0)
    s.handle(sv.Spawned("a", 10), 1.1)
    s.handle(sv.Exited("a", 10, -11), 2.0)
    s.handle(sv.Spawned("a", 11), 2.1)
    recovered, ready = s.handle(sv.Seen("a", 11, hello=True), 3.5)
    assert isinstance(recovered, sv.Recovered) and ready == sv.Ready("a")
    assert (recovered.pid, recovered.down_s) == (11, 2.5) and "SIGKILL" in recovered.why


def test_an_exit_of_its_own_before_the_hello_is_final():
    """A child that cannot start is not tried again: the end of its log comes with GiveUp."""
    s = supervisor(max_restarts=5)
    s.start(0.0)
    s.handle(sv.Spawned("a", 1), 0.1)
    lost, give_up = s.handle(sv.Exited("a", 1, 3, log="no hat"), 0.2)
    assert not lost.had_begun and "exited with code 3 before it was ready" in give_up.detail
    assert give_up.detail.endswith("no hat")


def test_a_crash_before_the_hello_is_tried_once_more():
    """The same signal twice in a row is final; SIGKILL, or a hello in between, is not."""
    for code, tries in ((-signal.SIGSEGV, 2), (-signal.SIGKILL, 6), (NO_MEMORY_CODE, 6), (None, 6)):
        s = supervisor(max_restarts=5, roles=["a"])
        s.start(0.0)
        deaths = 0
        while s.awaits("a"):
            deaths += 1
            s.handle(sv.Spawned("a", deaths), deaths)
            actions = s.handle(sv.Exited("a", deaths, code), deaths + 0.5)
        assert deaths == tries and isinstance(actions[-1], sv.GiveUp)


def test_a_stopped_process_is_looked_for_and_killed():
    """Who is quiet for three heartbeats is looked at now and then, and killed if it stands still."""
    s = running()
    s.handle(sv.Seen("b", 2), 2.5)
    assert s.handle(sv.Tick(), 2.9) == []
    assert s.handle(sv.Tick(), 3.0) == [sv.Look("a", 1)]
    assert s.handle(sv.Tick(), 3.1) == []
    assert s.handle(sv.Tick(), 3.3) == [sv.Look("a", 1)]
    assert s.handle(sv.StandsStill("a", 1), 3.3) == [sv.Signal("a", 1, signal.SIGKILL)]
    assert s.handle(sv.StandsStill("a", 1), 3.4) == []
    lost, _ = s.handle(sv.Exited("a", 1, -9), 3.5)
    assert "a signal had stopped it" in lost.why


def test_a_pause_of_the_coordinator_is_nobodys_silence():
    """Where nobody ticked for long, nobody could hear: the children's time begins where it stood."""
    s = running()
    s.handle(sv.Tick(), 1.0)
    assert s.handle(sv.Tick(), 101.0) == []
    assert s.handle(sv.Tick(), 101.9) == []
    assert s.handle(sv.Tick(), 103.2) == [sv.Look("a", 1), sv.Look("b", 2)]


def test_a_child_that_does_not_come_casts_doubt_on_the_server():
    """Each second without an answer the server is doubted; after the start's timeout it is overdue."""
    s = supervisor(roles=["a"], start_timeout_s=3.5)
    s.start(0.0)
    found = [(now, action) for now in range(1, 6) for action in s.handle(sv.Tick(), float(now))]
    assert found == [(now, sv.DoubtServer(overdue=now == 4)) for now in range(1, 6)]
    assert s.handle(sv.Unanswered("a"), 5.0) == [sv.Spawn("a")]


def test_a_lost_server_is_replaced_within_limits():
    """Its own error before it forked anything is final; signals count like those of a child."""
    s = supervisor(roles=["a"])
    assert isinstance(s.handle(sv.ServerLost(1), 0.0)[0], sv.GiveUp)
    s.start(0.0)
    s.handle(sv.Spawned("a", 1), 0.1)
    (start,) = s.handle(sv.ServerLost(-9), 0.2)
    assert isinstance(start, sv.StartServer) and "SIGKILL" in start.why
    (give_up,) = s.handle(sv.ServerLost(-9), 0.3)
    assert isinstance(give_up, sv.GiveUp) and "restarted 1 times" in give_up.detail
    s.handle(sv.StopAll(), 0.4)
    assert s.handle(sv.ServerLost(-9), 0.5) == []


def test_a_server_that_stands_still_is_continued_unless_it_is_stopped_again_and_again():
    """Ten times within ten seconds; then it is ended if it still stands, and its successor has as many."""
    s = supervisor(roles=["a"], max_restarts=5)
    for start in (0.0, 20.0):
        for i in range(10):
            (go_on,) = s.handle(sv.ServerStandsStill(), start + i / 10)
            assert isinstance(go_on, sv.ContinueServer)
        assert s.handle(sv.ServerStandsStill(), start + 9.9) == [sv.DoubtServer(overdue=False)]
    s.handle(sv.ServerLost(-9), 30.0)
    assert isinstance(s.handle(sv.ServerStandsStill(), 30.0)[0], sv.ContinueServer)


KINDS = [
    "answer",
    "unanswered",
    "hello",
    "seen",
    "exit",
    "crash",
    "still",
    "tick",
    "pause",
    "server",
    "stands",
    "stop",
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from("ab")), max_size=80),
    st.sampled_from([0.0, 20.0]),
)
def test_random_events_keep_one_process_a_role(events, window_s):
    """Whatever happens, at most one process a role is asked for or alive, and restarts stay in the limit."""
    s = supervisor(max_restarts=3, restart_window_s=window_s)
    world = Roles(s, window_s)
    for kind, role in events:
        if world.over:
            break
        world.happen(kind, role)
    assert s.restarts == sum(len(times) for times in world.restarted.values())


class Roles:
    """Carries out what a supervisor decides, and checks it."""

    def __init__(self, supervisor, window_s):
        self.s, self.window_s = supervisor, window_s
        self.now, self.pid, self.over = 0.0, 10, False
        self.alive, self.hello = {}, set()
        self.asked = {role: 0 for role in "ab"}
        self.restarted = {role: [] for role in "ab"}
        self.take(self.s.start(0.0), None)

    def happen(self, kind, role):
        self.now += 50.0 if kind == "pause" else 0.5
        event = self.event(kind, role)
        if event is not None:
            self.take(self.s.handle(event, self.now), event)

    def event(self, kind, role):
        pid = self.alive.get(role)
        if kind == "answer" and self.asked[role]:
            self.pid += 1
            self.asked[role], self.alive[role] = 0, self.pid
            return sv.Spawned(role, self.pid)
        if kind == "unanswered" and self.asked[role]:
            self.asked[role] = 0
            return sv.Unanswered(role)
        if kind == "server":
            return sv.ServerLost(-9) if self.now > 5 else None
        if kind == "stands":
            return sv.ServerStandsStill()
        if kind in ("tick", "pause", "stop"):
            return sv.StopAll() if kind == "stop" else sv.Tick()
        if pid is None:
            return None
        if kind == "exit":
            del self.alive[role]
            return sv.Exited(role, pid, -9)
        if kind == "hello":
            self.hello.add(pid)
        seen = sv.Seen(role, pid, hello=kind == "hello")
        return {"crash": sv.Crashed(role, pid, "boom"), "still": sv.StandsStill(role, pid)}.get(kind, seen)

    def take(self, actions, event):
        for action in actions:
            match action:
                case sv.Spawn(role):
                    assert role not in self.alive and not self.asked[role] and not self.s.stopping
                    self.asked[role] = 1
                    if isinstance(event, sv.Exited):
                        self.count(role)
                case sv.Forget(role):
                    assert self.asked[role] and self.s.stopping
                    self.asked[role] = 0
                case sv.Signal(role, pid) | sv.Look(role, pid):
                    assert self.alive[role] == pid
                    if isinstance(event, sv.Tick) and self.s.children[role].state is sv.ChildState.RUNNING:
                        assert not isinstance(action, sv.Signal) or self.now > 10
                case sv.Ready(role):
                    assert self.alive[role] in self.hello
                case sv.GiveUp():
                    self.over = True

    def count(self, role):
        times = self.restarted[role]
        times.append(self.now)
        recent = [at for at in times if not self.window_s or self.now - at < self.window_s]
        assert len(recent) <= 3
