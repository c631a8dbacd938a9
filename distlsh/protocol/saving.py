"""The part of the run's state machine that decides on checkpoints.

Those in the middle of a run are written while the workers go on; those of ``--deterministic``,
of a stop and of the end while nobody is at work.
"""

from __future__ import annotations

from distlsh.constants import PRETRAIN
from distlsh.errors import ProtocolError
from distlsh.protocol import actions as act
from distlsh.protocol.ledger import Ledger
from distlsh.protocol.left import with_work_in_hand
from distlsh.protocol.plan import Plan, Position
from distlsh.protocol.steps import Parallel, Refresh, Save, Step, Train, Tune


class Saving:
    """Base of `RunMachine`, which has what is only declared here."""

    plan: Plan
    position: Position
    _step: Step | None
    _ledger: Ledger
    _wanted: list[Step]
    _refreshing: bool
    _stopping: bool
    _actions: list[act.Action]

    def __init__(self, position: Position) -> None:
        self._saving = False
        self._save_due = False  # one that is written while the workers go on
        self._held: tuple[int, int] | None = (position.samples, position.pretrained)  # in the last save

    def _rehash_is_due(self) -> None:
        raise NotImplementedError

    def _fail(self, why: str) -> ProtocolError:
        raise NotImplementedError

    @property
    def saving(self) -> bool:
        """A checkpoint is being written."""
        return self._saving

    @property
    def waits_for_save(self) -> bool:
        """There is work to do that cannot begin before the checkpoint is written."""
        match self._step:
            case Save() | Parallel():
                return self._saving
            case Refresh(asked=asked) | Tune(asked=asked):
                return self._saving and not asked
        return False

    @property
    def _progress(self) -> tuple[int, int]:
        return self.position.samples, self.position.pretrained

    def _time_has_passed(self) -> None:
        if self._held != self._progress:
            self._save_is_due()

    def _save_is_due(self) -> None:
        if not self.plan.deterministic:
            self._save_due = True
        elif not any(isinstance(step, Save) for step in self._wanted):
            self._wanted.append(Save())

    def _begin_due_save(self) -> None:
        """Begin a save beside the workers' training.

        What is acknowledged by now is in the arrays wholly.  What is not counts as left, though some
        of it will be in the arrays too: it is done at least once.  Until the save has ended nothing
        else is written than what training writes: no tables, no first values.
        """
        idle = not (self._saving or self._refreshing or self._stopping)
        if not (self._save_due and idle and isinstance(self._step, Train)):
            return
        self._save_due = False
        self._begin_save(with_work_in_hand(self.position, self._ledger, self._wanted), quiet=False)

    def _begin_save(self, position: Position, *, quiet: bool) -> None:
        self._saving, self._held = True, self._progress
        self._actions.append(act.SaveCheckpoint(position, quiet, last=self._last_save))

    @property
    def _last_save(self) -> bool:
        return self._stopping or self.position.stage == "final"

    def _save(self, step: Save) -> bool:
        if not (self.plan.deterministic or self._last_save):
            self._save_due = True
            return True
        if not step.asked:
            writes = self._refreshing and self.position.stage != PRETRAIN  # then tables are not saved
            if writes or self._saving:  # the rehasher is writing to a buffer and to the codes
                return False
            step.asked = True
            self._begin_save(self.position.copy(), quiet=True)
        return not self._saving or self.position.stage == "final"  # what follows that one changes nothing

    def _give_up_saving(self) -> None:
        """Leave no checkpoint of what the arrays hold now."""
        self._save_due = False
        if self._saving:
            self._actions.append(act.GiveUpSave())

    def _saved(self, kept: bool) -> None:
        if not self._saving:
            raise self._fail("a checkpoint that nobody asked for")
        self._saving = False
        if not kept:
            self._held = None
        schedule = self.position.schedule
        if isinstance(self._step, Train) and self.plan.tables and schedule.due(self.position.samples):
            self._rehash_is_due()
