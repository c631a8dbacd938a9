"""The supervisor's state machine, without processes."""

from __future__ import annotations

import signal

from hypothesis import given, settings
from hypothesis import strategies as st

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


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["spawn", "hello", "exit", "crash", "tick", "stop"]), st.sampled_from("ab")
        ),
        max_size=40,
    )
)
def test_random_events_keep_one_process_a_role(events):
    """Whatever happens, a role is spawned again only after its process is gone."""
    s = supervisor(max_restarts=100)
    alive: dict[str, int] = {}
    asked = {role: 1 for role in "ab"}
    pid = 10
    for now, (kind, role) in enumerate(events):
        if kind == "spawn" and asked[role]:
            pid += 1
            asked[role] -= 1
            alive[role] = pid
            actions = s.handle(sv.Spawned(role, pid), now)
        elif kind == "hello" and role in alive:
            actions = s.handle(sv.Seen(role, alive[role], hello=True), now)
        elif kind == "exit" and role in alive:
            actions = s.handle(sv.Exited(role, alive.pop(role), -9), now)
        elif kind == "stop":
            actions = s.handle(sv.StopAll(), now)
        else:
            actions = s.handle(sv.Tick(), now)
        for action in actions:
            if isinstance(action, sv.Spawn):
                assert action.role not in alive and not s.stopping
                asked[action.role] += 1
        assert all(asked[r] + (r in alive) <= 1 for r in "ab")


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
