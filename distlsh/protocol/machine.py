"""The run as a state machine: events in, actions out.

A run is an agenda of steps.  A step hands tasks to workers, or waits for the
rehasher, or is done at once.  Training can be held between chunks, so that an
evaluation, an exact checkpoint or the end of the run finds the workers quiet.  Other
checkpoints are written while the workers go on: see `protocol.saving`.
"""

from __future__ import annotations

from collections import deque

from distlsh.constants import PRETRAIN
from distlsh.errors import ProtocolError
from distlsh.protocol import actions as act
from distlsh.protocol import events as ev
from distlsh.protocol.agenda import first_values, from_scratch, resumed
from distlsh.protocol.ledger import Ledger
from distlsh.protocol.left import begun_again, first_evaluation, leave_for_later, rescued
from distlsh.protocol.plan import Plan, Position
from distlsh.protocol.saving import Saving
from distlsh.protocol.steps import Evaluate, Finish, Parallel, Refresh, Save, Step, Train, Tune
from distlsh.protocol.tasks import range_tasks, training_tasks

_HISTORY = 32


class RunMachine(Saving):
    """Decides what coordinator, workers and rehasher do next.

    `handle` takes one event and returns the actions to carry out, in order.  An event
    that must not occur raises ProtocolError with the events before it.
    """

    def __init__(self, plan: Plan, position: Position | None = None) -> None:
        self.plan = plan
        self.position = position or plan.start()
        self.finished: str | None = None
        self._agenda: deque[Step] = deque(resumed(plan, self.position) if position else from_scratch(plan))
        self._step: Step | None = None
        self._ledger = Ledger()
        self._ready: set[int] = set()
        self._rehasher_ready = False
        self._refreshing = False
        self._full = False  # the refresh under way is a full one
        self._redo = False  # a worker died while the first values were written
        self._wanted: list[Step] = []  # steps for which training is held
        self._stopping = False
        self._falling_back = self._restoring = False
        super().__init__(self.position)
        self._actions: list[act.Action] = []
        self._history: deque[ev.Event] = deque(maxlen=_HISTORY)

    @property
    def stage(self) -> str:
        """Name of the step in progress, as reports show it."""
        return self._step.name if self._step is not None else "start"

    @property
    def ready_workers(self) -> int:
        """Number of workers that can take tasks."""
        return len(self._ready)

    @property
    def falling_back(self) -> bool:
        """The arrays are about to be filled from a checkpoint."""
        return self._falling_back

    def handle(self, event: ev.Event) -> list[act.Action]:
        """Take ``event`` and return what to do now."""
        self._history.append(event)
        self._actions = []
        match event:
            case ev.WorkerReady(worker):
                self._ready.add(worker)
            case ev.WorkerLost(worker):
                self._worker_lost(worker)
            case ev.TaskDone(worker, task_id, upto):
                self._task_done(worker, task_id, upto)
            case ev.RehasherReady():
                self._rehasher_ready = True
            case ev.RehasherLost():
                self._rehasher_lost()
            case ev.RehashDone(changed_share):
                self._rehash_done(changed_share)
            case ev.TuningDone(recall):
                self._tuning_done(recall)
            case ev.RecallMeasured(recall):
                self._recall_measured(recall)
            case ev.FallBack():
                self._fall_back()
            case ev.Restored(saved):
                self._restored(saved)
            case ev.StopRequested():
                self._stopping = True
                self._shorten()
            case ev.SaveDue():
                self._time_has_passed()
            case ev.Saved(kept):
                self._saved(kept)
        self._advance()
        return self._actions

    @property
    def tunes(self) -> bool:
        """The choice of hash functions that is under way, if one is, is still wanted."""
        return isinstance(self._step, Tune) and self._step.asked

    @property
    def step_share(self) -> float | None:
        """Share of the present step's tasks, or of the whole pretraining, done; None without tasks."""
        if self.stage == PRETRAIN:
            return self.position.pretrained / (self.plan.pretrain_epochs * self.plan.n_train)
        ledger = self._ledger
        return ledger.n_done / ledger.n_tasks if ledger.n_tasks else None

    def rescue(self, *, final_saved: bool) -> Position | None:
        """Return a position for what was learned, once a failed run's children are gone.

        final_saved  the checkpoint after the last step exists

        None while nothing is learned, or when all is saved already.
        """
        if self._falling_back:
            return None  # what was learned is what went wrong
        steps = [self._step, *self._wanted, *self._agenda]
        return rescued(self.plan, self.position, steps, refreshing=self._refreshing, final_saved=final_saved)

    def _fail(self, why: str) -> ProtocolError:
        events = "\n  ".join(map(str, self._history))
        return ProtocolError(f"{why} in stage {self.stage!r}; the last events were\n  {events}")

    def _task_done(self, worker: int, task_id: int, upto: int | None) -> None:
        if not self._ledger.holds(worker, task_id):
            raise self._fail(f"worker {worker} finished task {task_id}, which it does not have")
        task = self._ledger.finish(worker, task_id, upto)
        if task.kind == "train":
            self.position.samples += task.last - task.first
            self._look_at_schedules()
        elif task.kind == PRETRAIN:
            self.position.pretrained += task.last - task.first

    def _shorten(self) -> None:
        """Have workers end what can be ended anywhere: a stop waits for them."""
        trains = isinstance(self._step, Train) and not self.plan.deterministic
        if trains or isinstance(self._step, Evaluate):
            self._actions += [act.HandBack(worker) for worker in self._ledger.at_work]

    def _worker_lost(self, worker: int) -> None:
        self._ready.discard(worker)
        task = self._ledger.lose(worker)
        # Half of such a task may be done, and done again it would count twice: start over.
        self._redo = self._redo or (task is not None and isinstance(self._step, Parallel))

    def _look_at_schedules(self) -> None:
        position, plan = self.position, self.plan
        if plan.tables and position.schedule.due(position.samples):
            self._rehash_is_due()
        if plan.eval_interval and plan.n_eval_rows and position.samples >= position.next_eval:
            position.next_eval = position.samples + plan.eval_interval
            self._wanted.append(Evaluate("subset"))
        if plan.checkpoint_interval and position.samples >= position.next_checkpoint:
            position.next_checkpoint = position.samples + plan.checkpoint_interval
            self._save_is_due()

    def _rehash_is_due(self) -> None:
        if self.plan.deterministic:
            self._wanted.insert(0, Refresh())
        elif self._rehasher_ready and not (self._refreshing or self._saving or self._ends_soon):
            self._begin_rehash(full=False)

    @property
    def _ends_soon(self) -> bool:
        return self._stopping or self._falling_back

    def _begin_rehash(self, full: bool) -> None:
        self._refreshing, self._full = True, full or self.position.rebuild
        self._actions.append(act.BeginRehash(self._full))

    def _rehash_done(self, changed_share: float) -> None:
        if not self._refreshing:
            raise self._fail("a refresh that nobody asked for")
        self._refreshing = self.position.rebuild = False
        if isinstance(self._step, Refresh):
            self._step.done = self._step.asked
        if self._step is not None and self._step.name == "tables":
            self.position.schedule.start(self.position.samples)
        else:
            drift = 0.0 if self._full else changed_share  # a rebuild says nothing of drift
            self.position.schedule.refreshed(self.position.samples, drift)

    def _tuning_done(self, recall: float) -> None:
        if self._stopping and not self.tunes:
            return  # the step was left for later
        if not isinstance(self._step, Tune) or not self._step.asked or self.position.tuning is None:
            raise self._fail("a tuning that nobody asked for")
        self._step.done = self.position.rebuild = True  # the new tables are empty
        self.position.tuning.tuned(recall)

    def _recall_measured(self, recall: float) -> None:
        schedule = self.position.tuning
        if schedule is None or self.position.stage == "final":
            return
        if schedule.drifted(recall):
            self._wanted.insert(0, Tune())

    def _rehasher_lost(self) -> None:
        self._rehasher_ready = False
        self.position.rebuild = self.position.rebuild or self._refreshing
        self._refreshing = False
        if isinstance(self._step, Refresh) or (isinstance(self._step, Tune) and not self._step.done):
            self._step.asked = False

    def _advance(self) -> None:
        while self.finished is None:
            if self._falling_back:
                self._restore_when_quiet()
                return
            if self._step is None:
                self._begin(self._agenda.popleft())
            elif self._stopping and begun_again(self.plan, self.position, self._step):
                if not self._leave_for_later():
                    return
            elif self._redo:
                if not self._ledger.quiet:
                    return
                self._redo, self._step = False, None
                self._agenda = deque(first_values(self.plan, self.position))
            elif self._complete(self._step):
                step, self._step = self._step, None
                self._end(step)
            elif not self._suspend():
                self._begin_due_save()
                self._hand_out()
                return

    def _leave_for_later(self) -> bool:
        """Save and end without the step in progress; a rehasher that is at it is not waited for."""
        if self._ledger.quiet:
            leave_for_later(self.plan, self.position, self._agenda)
            self._step, self._redo = None, False
            self._agenda = deque([Save(), Finish("interrupted")])
        return self._step is None

    def _fall_back(self) -> None:
        self._falling_back = True
        self._give_up_saving()

    def _restore_when_quiet(self) -> None:
        """Ask for the last checkpoint, once nobody reads or writes the arrays."""
        tuning = isinstance(self._step, Tune) and self._step.asked and not self._step.done
        at_work = self._refreshing or tuning or self._saving
        if not (self._restoring or at_work) and self._ledger.quiet:
            self._restoring = True
            self._actions.append(act.Restore())

    def _restored(self, saved: Position | None) -> None:
        if not self._restoring:
            raise self._fail("a checkpoint was restored that nobody asked for")
        self.position = self.plan.fallen_back(self.position, saved)
        again = from_scratch(self.plan) if saved is None else resumed(self.plan, self.position)
        self._agenda = deque(again)
        self._step, self._ledger, self._wanted = None, Ledger(), []
        self._falling_back = self._restoring = self._redo = False
        self._held = self._progress

    def _begin(self, step: Step) -> None:
        self._step = step
        match step:
            case Train():
                self.position.stage = step.name
                if step.ledger is None:
                    self._write_order(step)
                    step.ledger = Ledger(training_tasks(self.plan, self.position, step))
                self._ledger = step.ledger
            case Parallel():
                self._ledger = Ledger(range_tasks(self.position, step.kind, step.n, step.size))
            case Evaluate():
                self._actions.append(act.BeginEvaluation(step.kind))
                rows = self.plan.n_final_rows if step.kind == "final" else self.plan.n_eval_rows
                self._ledger = Ledger(
                    range_tasks(self.position, step.task_kind, rows, self.plan.eval_size(rows))
                )
            case Refresh() | Tune():
                self._ledger = Ledger()

    def _complete(self, step: Step) -> bool:
        match step:
            case Refresh():
                self._ask_for_refresh(step)
                return step.done
            case Tune():
                self._ask_for_tuning(step)
                return step.done
            case Parallel() | Train():
                return self._ledger.finished
            case Save():
                return self._save(step)
            case Finish():
                return not self._saving
            case Evaluate():
                # A stop gives up the rest of an evaluation, and waits for nobody but who is in it.
                return self._ledger.finished or (self._stopping and self._ledger.quiet)
        return True

    def _ask_for_refresh(self, step: Refresh) -> None:
        idle = self._rehasher_ready and not (self._refreshing or self._saving)
        if not step.asked and not step.done and idle:
            step.asked = True
            self._begin_rehash(step.full)

    def _ask_for_tuning(self, step: Tune) -> None:
        schedule = self.position.tuning
        idle = self._rehasher_ready and not (self._refreshing or self._saving)
        if schedule is None or step.asked or not idle:
            return
        step.asked = True
        self._actions.append(act.BeginTuning(schedule.asked(), schedule.n))

    def _end(self, step: Step) -> None:
        match step:
            case Tune():
                self._agenda.appendleft(Refresh(full=True, name="tables"))
            case Evaluate():
                complete = self._ledger.finished
                self._actions.append(act.EndEvaluation(step.kind, complete=complete))
                self.position.eval_due = None if complete or step.kind == "final" else step.kind
                if self._stopping and step.kind == "final" and not complete:
                    self._agenda = deque([Finish("interrupted")])
            case Train() if step.pretrains:
                self._end_pretrain_epoch()
            case Train():
                self._end_epoch()
            case Finish(status):
                self._step, self.finished = step, status
                self._actions.append(act.Finish(status))

    def _end_pretrain_epoch(self) -> None:
        self.position.pretrain_epoch += 1
        self.position.chunks = None
        if self.position.pretrain_epoch < self.plan.pretrain_epochs:
            self._agenda.appendleft(Train(name=PRETRAIN))

    def _end_epoch(self) -> None:
        plan, position = self.plan, self.position
        saves = not plan.checkpoint_interval or any(isinstance(step, Save) for step in self._wanted)
        wanted: list[Step] = [step for step in self._wanted if not isinstance(step, Save)]
        self._wanted = []
        position.epoch += 1
        position.chunks = None
        if position.epoch < plan.epochs:
            if plan.n_eval_rows and not plan.eval_interval:
                wanted.append(Evaluate("subset"))
            if saves:
                wanted.append(Save())
            self._agenda.extendleft(reversed([*wanted, Train()]))
            return
        position.stage = "final"
        last: list[Step] = [Refresh()] if plan.tables else []
        last += [Save(), Evaluate("final")] if plan.n_final_rows else [Save()]
        self._agenda = deque([*last, Finish("completed")])

    def _suspend(self) -> bool:
        """Put the wanted steps before the rest of the epoch, once nobody is at work."""
        if not isinstance(self._step, Train) or not (self._wanted or self._stopping):
            return False
        if not self._ledger.quiet:
            return False
        self.position.chunks = [(task.first, task.last) for task in self._ledger.pending]
        steps, self._wanted = self._wanted, []
        if self._stopping:
            self.position.eval_due = self.position.eval_due or first_evaluation(steps)
            steps = [step for step in steps if isinstance(step, Refresh)]
            self._agenda = deque([*steps, Save(), Finish("interrupted")])
        else:
            self._agenda.extendleft(reversed([*steps, self._step]))
        self._step = None
        return True

    def _hand_out(self) -> None:
        match self._step:
            case Train():
                held = bool(self._wanted) or self._stopping
            case Evaluate():
                held = self._stopping
            case step:
                held = not isinstance(step, Parallel) or self._saving
        if held:
            return
        for worker in sorted(self._ready):
            task = self._ledger.take(worker)
            if task is not None:
                self._actions.append(act.Assign(worker, task))

    def _write_order(self, step: Train) -> None:
        epoch = self.position.pretrain_epoch if step.pretrains else self.position.epoch
        self._actions.append(act.WriteOrder(epoch, step.pretrains))
