"""One fault, carried out: from its moment to the time when the run works again."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import ExitStack

import msgspec

from distlsh.runtime.chaos.ear import Ear, Heard
from distlsh.runtime.chaos.faults import WORKER, Fault
from distlsh.runtime.chaos.memory_kill import no_memory_for
from distlsh.runtime.chaos.target import Life, Target, kill
from distlsh.runtime.failpoints import COORDINATOR, Point, arm, armed, row_of
from distlsh.runtime.roles import FORK_SERVER, REHASHER, child_roles, worker_role

NUMBERS = {
    "kill": signal.SIGKILL,
    "segv": signal.SIGSEGV,
    "stop": signal.SIGSTOP,
    "pause": signal.SIGSTOP,
    "int": signal.SIGINT,
    "term": signal.SIGTERM,
    "hup": signal.SIGHUP,
    "int twice": signal.SIGINT,
}
PAUSE_S = 0.5
_HELD_S = 0.3
_MISSED_S = 1.0
_POINT_S = 20.0
_POINT_LEAST_S, _POINT_GAPS = 2.0, 3
_MEMORY_S = 1.5
_TRIES = 4
_RECOVERY_S = 30.0


class Outcome(msgspec.Struct, kw_only=True):
    """What became of one fault."""

    number: int
    at_s: float  # since the first start of the run
    role: str
    kind: str
    moment: str
    part: str
    samples: int  # when it struck
    struck: bool = True  # False: the run did not come past the point, or asked for no memory
    lost: list[str] = msgspec.field(default_factory=list)  # roles that had to be started again
    again_s: float | None = None  # from the strike until the role worked again
    down_s: float | None = None  # of that, from the run's noticing, as the run says
    exit_code: int | None = None  # of the coordinator, where the fault ended it
    children_gone_s: float | None = None
    segments_gone: bool | None = None
    wrong: list[str] = msgspec.field(default_factory=list)


class Strikes:
    """Carries out faults on one target."""

    def __init__(self, target: Target, n_workers: int, gap: int, began: float) -> None:
        """Take the run, its number of workers, and how many samples lie between two faults."""
        self.target = target
        self.n_workers = n_workers
        self.gap = gap
        self.began = began
        self._before: dict[str, int] = {}  # children, when the fault's turn came
        self.expected: list[tuple[str, float]] = []  # roles that had to be lost, and when

    @property
    def life(self) -> Life:
        """The present process of the command."""
        return self.target.life

    def outcome(self, fault: Fault) -> Outcome:
        """Return an outcome of a fault whose turn it is."""
        ear = self.life.ear
        return Outcome(
            number=fault.number,
            at_s=round(time.monotonic() - self.began, 3),
            role=fault.role,
            kind=fault.kind,
            moment=fault.when,
            part=fault.part,
            samples=ear.samples if ear is not None else 0,
        )

    def _children(self) -> dict[str, int]:
        roles = child_roles(self.n_workers)
        return {one.name: one.pid for one in self.target.processes() if one.name in roles}

    # --- children and the fork server

    def on_child(self, fault: Fault) -> Outcome:
        """Strike a child or the fork server; return when it works again, or cannot."""
        found, self._before = self.outcome(fault), self._children()
        with ExitStack() as stack:
            at = self._strike(fault, found, stack)
            if at is None:
                found.struck = False
                self.disarm()
                return found
            self.recovered(fault, found, at)
        return found

    def _strike(self, fault: Fault, found: Outcome, stack: ExitStack) -> float | None:
        match fault.moment:
            case "point" if fault.point is Point.READERS:
                return self._waiting(fault, stack)
            case "point":
                return self._at_point(fault)
            case "starting":
                return self._starting(fault)
            case "held":
                return self._held(fault)
            case "after a kill":
                return self._after_a_kill(fault, found)
        return self._anywhere(fault, found, stack)

    def _anywhere(self, fault: Fault, found: Outcome, stack: ExitStack) -> float | None:
        one = self.target.process_of(fault.role)
        if one is None:
            found.wrong.append(f"there is no process {fault.role}")
            return None
        at = time.monotonic()
        if fault.kind == "memory":
            return self._memory(fault.role, one.pid, stack)
        kill(one.pid, NUMBERS[fault.kind])
        if fault.role == FORK_SERVER and fault.kind == "stop":  # so that it is needed
            time.sleep(_HELD_S)
            self._kill_worker(found)
        elif fault.kind == "pause":
            time.sleep(PAUSE_S)
            kill(one.pid, signal.SIGCONT)
        return at

    def _memory(self, role: str, pid: int, stack: ExitStack) -> float | None:
        """Starve a process; where it asks for nothing, its successor as it starts, when it must."""
        at = time.monotonic()
        if self._starved(pid, stack):
            return at
        at = time.monotonic()
        self.killing(role)()
        self.target.until(lambda: self._successor_of(role, pid) is not None, _RECOVERY_S)
        one = self._successor_of(role, pid)
        return at if one is not None and self._starved(one, stack) else None

    def _successor_of(self, role: str, pid: int) -> int | None:
        one = self.target.process_of(role)
        return one.pid if one is not None and one.pid != pid else None

    def _starved(self, pid: int, stack: ExitStack) -> bool:
        try:
            stack.enter_context(no_memory_for(pid))
        except OSError:
            return False
        return self.target.until(lambda: not self._is(pid), _MEMORY_S)

    def _is(self, pid: int) -> bool:
        return any(one.pid == pid for one in self.target.processes())

    def _kill_worker(self, found: Outcome) -> None:
        role = worker_role(0)
        one = self.target.process_of(role)
        if one is not None and kill(one.pid):
            found.lost.append(role)

    def _after_a_kill(self, fault: Fault, found: Outcome) -> float | None:
        one = self.target.process_of(fault.role)
        if one is None:
            found.wrong.append(f"there is no process {fault.role}")
            return None
        at = time.monotonic()
        self._kill_worker(found)
        kill(one.pid, NUMBERS[fault.kind])
        return at

    def _starting(self, fault: Fault) -> float | None:
        """Kill a child, and its successor before it says that it is ready."""
        before = self.target.process_of(fault.role)
        if before is None:
            return None
        self.killing(fault.role)()  # told of by itself, where the successor is ready before it is struck

        def successor() -> bool:
            one = self.target.process_of(fault.role)
            return one is not None and one.pid != before.pid and kill(one.pid, NUMBERS[fault.kind])

        return time.monotonic() if self.target.until(successor, _RECOVERY_S) else None

    def _held(self, fault: Fault) -> float | None:
        """Strike a child while the coordinator stands still at a point."""
        assert fault.point is not None
        if self.at_point(COORDINATOR, fault.point, signal.SIGSTOP) is None:
            return None
        one = self.target.process_of(fault.role)
        at = time.monotonic()
        if one is not None:
            kill(one.pid, NUMBERS[fault.kind])
        time.sleep(_HELD_S)
        kill(self.life.pid, signal.SIGCONT)
        return at

    def _waiting(self, fault: Fault, stack: ExitStack) -> float | None:
        """Strike the rehasher while it waits for a worker, which is stopped as it reads the tables."""
        for _ in range(_TRIES):  # a worker that is stopped in an evaluation lets no refresh begin
            with ExitStack() as held:
                at = self._at_point(fault) if self._reader_held(held) else None
                if at is not None or not self.life.alive:
                    stack.push(held.pop_all())
                    return at
        return None

    def _at_point(self, fault: Fault) -> float | None:
        assert fault.point is not None
        nudge = None
        if fault.point is Point.HELLO:
            nudge = self.killing(fault.role)
        at = self.at_point(fault.role, fault.point, NUMBERS[fault.kind], nudge)
        if at is not None and fault.kind == "pause":
            time.sleep(PAUSE_S)
            one = self.target.process_of(fault.role)
            if one is not None:
                kill(one.pid, signal.SIGCONT)
        return at

    def killing(self, role: str) -> Callable[[], object]:
        """Return what kills a child, so that another comes to be in its place."""

        def nudge() -> None:
            one = self.target.process_of(role)
            if one is not None and kill(one.pid):
                self.expected.append((role, time.monotonic()))

        return nudge

    def _reader_held(self, stack: ExitStack) -> bool:
        """Stop a worker that reads the tables: the rehasher soon waits for it."""
        role, ear = worker_role(0), self.life.ear
        self.target.until(lambda: ear is None or ear.phase == "train", _POINT_LEAST_S)
        one = self.target.process_of(role)
        if one is None or self.at_point(role, Point.READING, signal.SIGSTOP) is None:
            return False
        stack.callback(kill, one.pid, signal.SIGCONT)
        self.expected.append((role, time.monotonic()))  # it may be missed before it goes on
        return True

    def at_point(
        self, role: str, point: Point, number: int, nudge: Callable[[], object] | None = None
    ) -> float | None:
        """Have ``role`` sent a signal at ``point``; return when it was, None if it does not come there."""
        segment, row = self.life.segment, row_of(role, self.n_workers)
        if segment is None:
            return None
        ear, began = self.life.ear, time.monotonic()
        before = ear.samples if ear is not None else 0
        arm(segment, row, point, number)
        if nudge is not None:
            nudge()
        self.target.until(lambda: self.taken(row) or self._passed_by(ear, before, began), _POINT_S)
        return time.monotonic() if self.taken(row) or not self.life.alive else None

    def _passed_by(self, ear: Ear | None, before: int, began: float) -> bool:
        """Tell whether the run has had its time to come past a point: it must not end before other faults."""
        patient = time.monotonic() - began < _POINT_LEAST_S
        return not patient and ear is not None and ear.samples - before > _POINT_GAPS * self.gap

    def taken(self, row: int) -> bool:
        """Tell whether the point that was set for a row has struck."""
        segment = self.life.segment
        try:
            return segment is not None and armed(segment, row) == 0
        except FileNotFoundError:
            return False

    def disarm(self) -> None:
        """Take back all points that are set."""
        if (segment := self.life.segment) is not None:
            for row in range(self.n_workers + 2):
                arm(segment, row, 0, 0)

    def recovered(self, fault: Fault, found: Outcome, at: float) -> None:
        """Wait until what a fault at time ``at`` stopped works again, and note how long that took."""
        ear = self.life.ear
        if ear is None:
            return
        if fault.kind == "pause":
            self.expected.append((fault.role, at))  # a child that starts is missed sooner
            self._await_work(fault, found, at)
            return
        if fault.role != FORK_SERVER:
            found.lost.append(fault.role)
        elif not found.lost:
            self._await_fork_server(found, at)
        self.expected += [(role, at) for role in found.lost]
        for role in found.lost:
            heard = self._successor(role, at)
            if heard is None:
                if self.life.alive:
                    found.wrong.append(f"{role} was not started again within {_RECOVERY_S:g} s")
                return
            found.again_s = round(max(found.again_s or 0.0, heard.at - at), 3)
            found.down_s = round(max(found.down_s or 0.0, getattr(heard.metric, "down_s", 0.0)), 3)

    def _successor(self, role: str, at: float) -> Heard | None:
        ear = self.life.ear
        assert ear is not None
        self.target.until(lambda: ear.restarted(role, at) is not None, _RECOVERY_S)
        return ear.restarted(role, at)

    def _await_fork_server(self, found: Outcome, at: float) -> None:
        """Take for lost who is another process a second later."""
        time.sleep(_MISSED_S)
        now = self._children()
        found.lost += [role for role, pid in self._before.items() if now.get(role) != pid]
        if not found.lost:
            self._await_any_work(found, at)

    def _await_any_work(self, found: Outcome, at: float) -> None:
        ear = self.life.ear
        assert ear is not None
        if self.target.until(lambda: ear.training(at + _MISSED_S) is not None, _RECOVERY_S):
            found.again_s = 0.0
        elif self.life.alive:
            found.wrong.append("nobody trains any more")

    def _await_work(self, fault: Fault, found: Outcome, at: float) -> None:
        ear = self.life.ear
        assert ear is not None
        since = at + PAUSE_S

        def works() -> float | None:
            if fault.group == WORKER or fault.role == REHASHER:
                return ear.working(fault.role, since)
            return ear.training(since)

        if self.target.until(lambda: works() is not None, _RECOVERY_S):
            found.again_s = round((works() or at) - at, 3)
        elif self.life.alive:
            found.wrong.append(f"{fault.role} did nothing within {_RECOVERY_S:g} s after it was paused")
