"""A whole chaos run: faults at their turns, to the end of the training."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Sequence

from distlsh.config.schema import Config
from distlsh.errors import DistlshError
from distlsh.protocol.reports import Restart
from distlsh.runtime.chaos import sight
from distlsh.runtime.chaos.endings import Endings
from distlsh.runtime.chaos.faults import Fault, FaultPlan
from distlsh.runtime.chaos.strikes import NUMBERS, PAUSE_S, Outcome, Strikes
from distlsh.runtime.chaos.target import Life, Target, kill
from distlsh.runtime.failpoints import COORDINATOR, Point, arm, row_of

_READY_S = 120.0
_TURN_S = 300.0
_END_S = 600.0
_OPENING_S = 60.0
_MOST_DEATHS = 5
"""Ends of the command in a row that nobody asked for, after which the campaign is given up."""

_ZOMBIE_S = 1.0
_NEARLY_ALL = 0.95

_MIDDLE = 0.95
"""Of the training, in which the faults of its middle have their turns: some are late, and others follow."""


class Campaign:
    """Strikes one run with a list of faults and resumes it until it is complete."""

    def __init__(
        self,
        target: Target,
        config: Config,
        plan: FaultPlan,
        *,
        on_fault: Callable[[Outcome], None] = lambda found: None,
        deadline_s: float | None = None,
    ) -> None:
        """Take the run's configuration and the faults.

        deadline_s  after which no further fault is injected
        """
        self.target = target
        self.config = config
        self.plan = plan
        self.outcomes: list[Outcome] = []
        self.wrong: list[str] = []
        self.late = False  # the time was over before all faults had their turn
        self._on_fault = on_fault
        self._deadline_s = deadline_s
        gap = config.checkpoint.interval or 1
        self._strikes = Strikes(target, config.run.workers, gap, time.monotonic())
        self._endings = Endings(self._strikes)
        self._total = 0
        self._deaths = 0

    @property
    def expected(self) -> list[tuple[str, float]]:
        """Roles that had to be lost, and when."""
        return self._strikes.expected

    def run(self, n_train: int) -> None:
        """Strike and resume to the end of the run, of ``n_train`` instances an epoch."""
        self._total = n_train * self.config.train.epochs
        self.target.start(self.config)
        self._open(self.plan.opening)
        self._disturb()
        self._close(self.plan.closing)
        self._finish()

    def _disturb(self) -> None:
        """Strike while the run trains, at even steps of its way; go on to spares for what it did not meet."""
        missed = sum(not one.struck for one in self.outcomes)
        wanted, struck = len(self.plan.middle) + missed, 0
        for fault in [*self.plan.middle, *self.plan.spare]:
            if struck == wanted or self._over():
                return
            self._turn(_MIDDLE * (struck + 1) / (wanted + 1))
            struck += self._strike(fault)

    def _over(self) -> bool:
        if self._deadline_s is not None and time.monotonic() - self._strikes.began > self._deadline_s:
            self.late = True
        return self.late or self.target.life.code == 0

    def _turn(self, share: float) -> None:
        """Wait until so much of the training is done, all children are there, and take a look."""
        due = share * self._total

        def reached() -> bool:
            ear = self.target.life.ear
            return ear is not None and ear.samples >= due and self._complete()

        before = -1
        while not self.target.until(reached, _TURN_S):
            if not self.target.life.alive:
                self._revive()
                break
            if self._samples() == before or self._samples() >= due:
                raise DistlshError(
                    f"the run does not get on: {self._samples():,} of {self._total:,} samples, "
                    f"{due:,.0f} wanted; see {self.target.output}"
                )
            before = self._samples()
        self._look(self.target.life)

    def _samples(self) -> int:
        ear = self.target.life.ear
        return ear.samples if ear is not None else 0

    def _complete(self) -> bool:
        names = {one.name for one in self.target.processes()}
        return names.issuperset(self.plan.roles)

    def _look(self, life: Life) -> None:
        if not life.alive:
            return
        there = self.target.processes()
        for one in there:
            self._count_descriptors(life, one)
        below = {one.pid for one in there}
        zombies = sight.zombies_below(below)
        if zombies:
            time.sleep(_ZOMBIE_S)
            life.zombies |= zombies & sight.zombies_below(below)

    def _count_descriptors(self, life: Life, one: sight.Seen) -> None:
        role = COORDINATOR if one.pid == life.pid else one.name
        if role not in (COORDINATOR, *self.plan.roles):
            return
        if role != COORDINATOR and one.pid not in life.young:
            life.young.add(one.pid)
        elif found := len(sight.descriptors(one.pid)):
            life.descriptors.setdefault((role, one.pid), []).append(found)

    def _revive(self) -> None:
        """Go on with a run that ended without being asked to."""
        life = self.target.life
        if life.code == 0:
            return
        self._deaths += 1
        self.wrong.append(f"the command ended by itself with code {life.code} ({self._last_words()})")
        if self._deaths > _MOST_DEATHS:
            raise DistlshError(
                f"the run cannot be kept alive: {self._last_words()}; see {self.target.output}"
            )
        self.target.resume()
        self.target.until(lambda: self.target.life.ear is not None and self._complete(), _READY_S)

    def _last_words(self) -> str:
        lines = self.target.output.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no output"

    def _strike(self, fault: Fault) -> bool:
        """Carry out a fault; tell whether it struck."""
        time.sleep(fault.delay_s)
        if not self.target.life.alive:
            self._revive()
        if self.target.life.code == 0:
            return False
        life = self.target.life
        if fault.role == COORDINATOR:
            found = self._endings.on_coordinator(fault)
        elif fault.point is Point.STOP:
            found = self._endings.on_stopping_child(fault)
        else:
            found = self._strikes.on_child(fault)
        if not life.alive and life is self.target.life and life.code != 0:
            found.wrong.append(f"the command ended by itself with code {life.code} ({self._last_words()})")
            self._endings.go_on(found, time.monotonic())
        elif found.wrong and life.alive and life is self.target.life:
            self._begin_anew(found)
        if life.code == 0 and life is self.target.life and found.samples < _NEARLY_ALL * self._total:
            found.wrong.append("the command trained to its end instead")
        self._note(found)
        return found.struck

    def _begin_anew(self, found: Outcome) -> None:
        """Resume a run that hangs, so that one mistake does not hide all others."""
        kill(self.target.life.pid)
        self.target.finish(_READY_S)
        for one in self.target.processes():
            kill(one.pid)
        self._endings.go_on(found, time.monotonic())

    def _note(self, found: Outcome) -> None:
        self.outcomes.append(found)
        self._on_fault(found)

    # --- before training

    def _open(self, faults: Sequence[Fault]) -> None:
        """Strike before training: the coordinator first, then each child at its points."""
        for fault in faults:
            if fault.role == COORDINATOR:
                self._ready_to_arm()
                self._note(self._endings.on_coordinator(fault))
        queues: dict[str, deque[Fault]] = {}
        for fault in faults:
            if fault.role != COORDINATOR:
                queues.setdefault(fault.role, deque()).append(fault)
        if queues:
            if self._phase() not in ("start", "init"):  # begin again: nothing is saved yet
                kill(self.target.life.pid)
                self.target.finish(_READY_S)
                self.target.resume()
            self._ready_to_arm()
            self._arm_all(queues)

    def _ready_to_arm(self) -> None:
        self.target.until(lambda: self.target.life.segment is not None, _READY_S)

    def _phase(self) -> str:
        ear = self.target.life.ear
        return ear.phase if ear is not None else "start"

    def _arm_all(self, queues: dict[str, deque[Fault]]) -> None:
        under_way: dict[str, tuple[Fault, Outcome]] = {}
        for role in list(queues):
            self._arm_next(role, queues, under_way)

        def done() -> bool:
            for role, (fault, found) in list(under_way.items()):
                if self._strikes.taken(row_of(role, self.config.run.workers)):
                    del under_way[role]
                    self._arm_next(role, queues, under_way)
                    self._struck(fault, found)
            return not under_way or self._phase() == "train"

        self.target.until(done, _OPENING_S)
        for _, found in under_way.values():
            found.struck = False
            self._note(found)
        self._strikes.disarm()

    def _arm_next(
        self, role: str, queues: dict[str, deque[Fault]], under_way: dict[str, tuple[Fault, Outcome]]
    ) -> None:
        segment = self.target.life.segment
        if not queues[role] or segment is None:
            return
        fault = queues[role].popleft()
        assert fault.point is not None
        under_way[role] = fault, self._strikes.outcome(fault)
        arm(segment, row_of(role, self.config.run.workers), fault.point, NUMBERS[fault.kind])

    def _struck(self, fault: Fault, found: Outcome) -> None:
        at = time.monotonic()
        if fault.kind == "pause":
            time.sleep(PAUSE_S)
            one = self.target.process_of(fault.role)
            if one is not None:
                kill(one.pid, signal.SIGCONT)
            found.again_s = round(time.monotonic() - at, 3)
        else:
            self._strikes.recovered(fault, found, at)
        self._note(found)

    # --- the end

    def _close(self, faults: Sequence[Fault]) -> None:
        """Strike while the run ends by itself: each time all up to one of the coordinator; resume it."""
        if self._over():
            return
        self._turn(1 - 1 / (len(self.plan.faults) + 2))
        while faults and self.target.life.alive:
            last = next((i for i, fault in enumerate(faults) if fault.role == COORDINATOR), len(faults))
            together, faults = faults[: last + 1], faults[last + 1 :]
            self._arm_the_end(together)

    def _arm_the_end(self, faults: Sequence[Fault]) -> None:
        segment, life = self.target.life.segment, self.target.life
        if segment is None:
            return
        armed = {row_of(fault.role, self.config.run.workers): fault for fault in faults}
        found = {row: self._strikes.outcome(fault) for row, fault in armed.items()}
        for row, fault in armed.items():
            assert fault.point is not None
            arm(segment, row, fault.point, NUMBERS[fault.kind])
            found[row].struck = False

        def watched() -> bool:
            for row, one in found.items():
                one.struck = one.struck or self._strikes.taken(row)
            return not life.alive

        self.target.until(watched, _END_S)
        for row, fault in armed.items():
            self._ended(fault, found[row], life)

    def _ended(self, fault: Fault, found: Outcome, life: Life) -> None:
        if fault.role != COORDINATOR:
            if found.struck:
                self._strikes.expected.append((fault.role, life.started))
        else:
            found.struck = life.code == -NUMBERS[fault.kind]
            if found.struck:
                self._endings.end(found, life.ended or 0.0, {-NUMBERS[fault.kind]}, trains=False)
        self._note(found)

    def _finish(self) -> None:
        for _ in range(_MOST_DEATHS):
            code = self.target.finish_whole(_END_S)  # after a deadline there may be much to train
            if code == 0:
                return
            self._revive()
        raise DistlshError(f"the run does not complete; see {self.target.output}")

    # --- what the run noticed

    def unasked(self) -> list[str]:
        """Return the restarts that no fault explains."""
        found = []
        for life in self.target.lives:
            # What was to be lost in one process of the command explains nothing in the next.
            left = [one for one in self.expected if life.started <= one[1] <= (life.ended or one[1])]
            for heard in life.ear.heard if life.ear is not None else []:
                if not isinstance(heard.metric, Restart):
                    continue
                match = next((e for e in left if e[0] == heard.metric.role and e[1] <= heard.at), None)
                if match is None:
                    found.append(f"{heard.metric.role}: {heard.metric.why}")
                else:
                    left.remove(match)
        return found
