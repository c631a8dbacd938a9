"""Faults that end the command: of the coordinator, and of a child while the run stops; the run is resumed."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from distlsh.errors import DistlshError
from distlsh.runtime.chaos import sight
from distlsh.runtime.chaos.faults import Fault
from distlsh.runtime.chaos.strikes import NUMBERS, PAUSE_S, Outcome, Strikes
from distlsh.runtime.chaos.target import POLL_S, kill, reap
from distlsh.runtime.failpoints import COORDINATOR, Point, arm, row_of
from distlsh.runtime.roles import worker_role

GONE_S = 5.0
"""Seconds that children may outlive a killed coordinator."""

_END_S = 120.0
_RESUME_S = 120.0
_BETWEEN_INTS_S = 0.4
"""More than the time in which signals are taken for one."""

_LONG = 10.0
"""A resume takes seconds: delays within it are that many times as long."""

INTERRUPTED, FAILED = 130, 1
_FIRST = "again to stop at once"
"""What a run says to the first signal."""


class Endings:
    """Carries out faults after which the command ends and is resumed."""

    def __init__(self, strikes: Strikes) -> None:
        self.strikes = strikes
        self.target = strikes.target
        self._again = False  # the command was there still when it was sent its second signal

    def on_coordinator(self, fault: Fault) -> Outcome:
        """Strike the coordinator; return when the resumed run trains."""
        found, self._again = self.strikes.outcome(fault), False
        at = self._strike(fault)
        if at is None:
            found.struck = False
            self.strikes.disarm()
        elif fault.kind == "pause":
            self._await_pause(found, at)
        else:
            self.end(found, at, self._codes(fault))
        return found

    def on_stopping_child(self, fault: Fault) -> Outcome:
        """Stop the run and strike a child as it is asked to stop; return when the resumed run trains."""
        found = self.strikes.outcome(fault)
        segment = self.target.life.segment
        assert fault.point is not None
        if segment is None:
            found.struck = False
            return found
        arm(segment, row_of(fault.role, self.strikes.n_workers), fault.point, NUMBERS[fault.kind])
        row, at, life = row_of(fault.role, self.strikes.n_workers), time.monotonic(), self.target.life
        kill(life.pid, signal.SIGINT)
        found.struck = False

        def struck() -> bool:
            found.struck = found.struck or self.strikes.taken(row)
            return found.struck or not life.alive

        self.target.until(struck, _END_S)
        self.end(found, at, {INTERRUPTED})
        return found

    def _strike(self, fault: Fault) -> float | None:
        pid = self.target.life.pid
        if fault.moment == "resuming":
            kill(pid)
            self.target.finish(_END_S)
            self._gone()
            pid = self.target.resume().pid
            time.sleep(_LONG * fault.delay_s)
        if fault.kind == "int twice" and fault.moment == "any":
            return self._twice_in_a_save(pid)
        if fault.moment == "point":
            assert fault.point is not None
            nudge = self._nudge(fault.point)
            at = self.strikes.at_point(COORDINATOR, fault.point, NUMBERS[fault.kind], nudge)
        else:
            at = time.monotonic()
            kill(pid, NUMBERS[fault.kind])
        if fault.kind == "int twice" and at is not None:
            time.sleep(_BETWEEN_INTS_S)
            kill(pid, signal.SIGINT)
        return at

    def _twice_in_a_save(self, pid: int) -> float | None:
        """Send SIGINT, and again while the save that it asks for stands still: nothing is saved then."""
        segment = self.target.life.segment
        if segment is None:
            return None
        row = row_of(COORDINATOR, self.strikes.n_workers)
        at = time.monotonic()
        kill(pid, signal.SIGINT)
        arm(segment, row, Point.SAVE_WRITE, signal.SIGSTOP)
        held = self.target.until(lambda: self.strikes.taken(row), _END_S)
        time.sleep(_BETWEEN_INTS_S)
        # Held in an earlier save it may not have seen the first signal yet: both are one then.
        ear = self.target.life.ear
        self._again = held and ear is not None and ear.said(_FIRST, at)
        kill(pid, signal.SIGINT)
        kill(pid, signal.SIGCONT)
        return at

    def _nudge(self, point: Point) -> Callable[[], object] | None:
        """Return what makes the coordinator come past ``point``."""
        if point is Point.READY:
            return self.strikes.killing(worker_role(0))
        if point in (Point.SHUTDOWN, Point.SUMMARY):
            return lambda: kill(self.target.life.pid, signal.SIGINT)
        return None

    def _codes(self, fault: Fault) -> set[int]:
        """Return the exit codes that a fault may have."""
        if fault.kind == "kill":
            return {-signal.SIGKILL}
        if self._again:
            return {FAILED}
        codes = {INTERRUPTED}
        if fault.kind == "int twice" or fault.moment == "resuming":
            codes.add(FAILED)  # stopped at once, as asked, unless all was saved already
        if fault.moment == "resuming":
            codes.add(-NUMBERS[fault.kind])  # Python had not begun to run our code
        return codes

    def _await_pause(self, found: Outcome, at: float) -> None:
        time.sleep(PAUSE_S)
        kill(self.target.life.pid, signal.SIGCONT)
        since, life = time.monotonic(), self.target.life
        if self.target.until(
            lambda: life.ear is not None and life.ear.training(since) is not None, _RESUME_S
        ):
            found.again_s = round(time.monotonic() - at, 3)
        elif life.alive:
            found.wrong.append("nobody trains any more after the coordinator was paused")

    def end(self, found: Outcome, at: float, codes: set[int], *, trains: bool = True) -> None:
        """Wait for the end of the command, look at what it leaves, and go on with the run.

        codes   that the command may end with, beside 0
        trains  wait until the resumed run trains; else only until it has its arrays
        """
        try:
            found.exit_code = self.target.finish(_END_S)
        except DistlshError as error:
            found.wrong.append(str(error))
            self.target.life.kill()
            return
        if found.exit_code not in codes and found.exit_code != 0:
            wanted = " or ".join(str(code) for code in sorted(codes))
            found.wrong.append(f"the command ended with code {found.exit_code} instead of {wanted}")
        ended = self.target.life
        found.children_gone_s = self._gone()
        if found.children_gone_s is None:
            names = ", ".join(f"{one.name} ({one.pid}, {one.state})" for one in self.target.processes())
            found.wrong.append(f"still there {GONE_S:g} s after the command's end: {names}")
        found.segments_gone = not sight.segments(ended.pid)
        if found.exit_code == 0:
            return
        self.go_on(found, at, trains=trains)
        if left := sight.segments(ended.pid):
            found.wrong.append(f"a resume left {', '.join(path.name for path in left)}")

    def _gone(self) -> float | None:
        """Return the seconds from the command's end until its children were gone; None: they are not."""
        ended = self.target.life.ended or time.monotonic()
        while self.target.processes():
            if time.monotonic() - ended > GONE_S:
                return None
            time.sleep(POLL_S)
        reap(set(self.target.pids))
        return round(time.monotonic() - ended, 3)

    def go_on(self, found: Outcome, at: float, *, trains: bool = True) -> None:
        """Resume the run and wait until it trains, or has nothing left to train."""
        life = self.target.resume()
        if not trains:
            self.target.until(lambda: life.segment is not None, _RESUME_S)
        elif self.target.until(lambda: life.ear is not None and life.ear.training() is not None, _RESUME_S):
            assert life.ear is not None
            found.again_s = round((life.ear.training() or at) - at, 3)
        elif life.alive:
            found.wrong.append(f"the resumed run does not train within {_RESUME_S:g} s")
        elif life.code != 0:
            found.wrong.append(f"the resumed run ended with code {life.code}")
