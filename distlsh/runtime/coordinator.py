"""The coordinator: feeds events to the run's machine and carries out its actions."""

from __future__ import annotations

import time
from typing import Any

from distlsh.config.schema import Config
from distlsh.constants import PRETRAIN
from distlsh.data.dataset import Dataset
from distlsh.evaluation.sums import EvalSums, to_evaluation, unpacked
from distlsh.model.counters import Counter
from distlsh.protocol import actions as act
from distlsh.protocol import events as ev
from distlsh.protocol import supervision as sv
from distlsh.protocol.machine import RunMachine
from distlsh.protocol.messages import (
    Assign,
    Chosen,
    Done,
    HandBack,
    NonFinite,
    Rehashed,
    StartRehash,
    StartTuning,
    Task,
)
from distlsh.protocol.plan import Position
from distlsh.protocol.reports import Evaluation, Notice, Restart
from distlsh.runtime.assembly import Parts
from distlsh.runtime.background import Saves
from distlsh.runtime.clock import RunClock
from distlsh.runtime.cpu import cpu_by_role
from distlsh.runtime.energy import EnergyMeter
from distlsh.runtime.failpoints import COORDINATOR, Point, failpoint, line_of
from distlsh.runtime.going_back import GoingBack
from distlsh.runtime.journal import Journal
from distlsh.runtime.layout import touched_by
from distlsh.runtime.memory import MemoryWatch
from distlsh.runtime.non_finite import Numbers
from distlsh.runtime.observer import Observer
from distlsh.runtime.order import write_order
from distlsh.runtime.reporting import Meter, pretrained, promise, rate_at
from distlsh.runtime.roles import REHASHER, worker_index, worker_role
from distlsh.runtime.run_dir import RunDir
from distlsh.runtime.staff import News
from distlsh.runtime.stop_signals import StopSignals
from distlsh.transport.control import Garbage

_POLL_S = 0.1
_ACCOUNTS = {"evaluate": "eval", "finish": None, PRETRAIN: "pretrain"}
"""What the time of a stage is charged to, where it is not training."""


class Coordinator:
    """Runs the machine to its end; the parts it uses are made, and closed, by others."""

    def __init__(
        self,
        *,
        config: Config,
        machine: RunMachine,
        parts: Parts,
        run_dir: RunDir,
        clock: RunClock,
        meter: Meter,
        train: Dataset,
        memory: MemoryWatch,
        energy: EnergyMeter,
        observer: Observer,
        signals: StopSignals,
    ) -> None:
        self.meter = meter
        self.memory = memory
        self.energy = energy
        self.last_evaluation: Evaluation | None = None
        self._config = config
        self._machine = machine
        self._staff = parts.staff
        self._hub = parts.hub
        self._waiter = parts.waiter
        self._arena = parts.arena
        self._line = line_of(parts.arena, COORDINATOR)
        self.saves = Saves(parts.saver, config.checkpoint.interval_s, self._line, self.notice)
        self._chosen = parts.chosen
        self._journal = Journal(run_dir, config.run.report_s, config.run.log_bytes, self.notice)
        self._clock = clock
        self._stages = RunClock()
        self.cpu_s: dict[str, float] = {}
        self._observer = observer
        self._signals = signals
        self._numbers = Numbers(config, machine, meter, train, run_dir.checkpoints, self.notice)
        self._back = GoingBack(parts, memory, meter, self.notice)
        self._later: list[ev.Event] = []
        self._sums = EvalSums()
        self._eval_started = 0.0
        self._next_report = 0.0
        self.cut_short = False  # asked to stop before anything was learned that is not saved
        self._stop_sent = self._has_trained = False
        self._pretraining_told = False
        self._restarts_before = 0
        self._samples_before: float | None = None  # counted before this part of the run
        self.saves.final_saved = machine.position.stage == "final"  # a run resumed for its last evaluation

    @property
    def train_s(self) -> float:
        """Seconds of training and pretraining, those before a resume included."""
        return self._clock.seconds("train") + self._clock.seconds("pretrain")

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the figures of a checkpoint's state."""
        pretrain_s = state.get("pretrain_s", 0.0)  # checkpoints from before there was one lack it
        self._clock.accounts["train"] = state["train_s"] - pretrain_s
        self._clock.accounts["pretrain"] = pretrain_s
        self._clock.accounts["eval"] = state["eval_s"]
        self._restarts_before = state["restarts"]
        self.meter.restore(state["meter"])

    @property
    def restarts(self) -> int:
        """Restarts of children, those before a resume included."""
        return self._restarts_before + self._staff.restarts

    @property
    def finished(self) -> str | None:
        """How the run has ended, with all saved that it has learned: "completed" or "interrupted"."""
        return "interrupted" if self.cut_short else self._machine.finished

    @property
    def position(self) -> Position:
        """Where the run is."""
        return self._machine.position

    def run(self) -> str:
        """Run to the end and return the status: "completed" or "interrupted"."""
        self._clock.switch("compile")
        with self._signals.held():
            self._staff.start()
        while (status := self.finished) is None:
            self._waiter.wait(self._staff.patience(_POLL_S))
            self._hear()
            self._watch()
            self._watch_first_step()
        self._numbers.tell()
        self._clock.switch(None)
        self._stages.switch(None)
        return status

    def _watch_first_step(self) -> None:
        """Remember when the first batch of this part of the run had been counted."""
        if "first_step" in self._clock.marks:
            return
        totals = self.meter.totals
        done = float(totals[Counter.SAMPLES] + totals[Counter.PRETRAINED])
        if self._samples_before is None:
            self._samples_before = done
        if done > self._samples_before:
            self._clock.mark("first_step")
            parts = (f"{name} {at:.2f}" for name, at in self._clock.start().items())
            self.notice("info", f"seconds from the command: {', '.join(parts)}")

    @property
    def stage_s(self) -> dict[str, float]:
        """Seconds in each stage, in this process's part of the run."""
        return {stage: round(s, 3) for stage, s in self._stages.accounts.items()}

    def sample_cpu(self) -> None:
        """Take down what each role has used of the cores so far; the children must still be there."""
        self.cpu_s = cpu_by_role(self._staff.pids)

    def _hear(self) -> None:
        with self._signals.held():  # a child between two states would be missed when all are ended
            heard = [*self._staff.hear(), *self._staff.check()]
        for news in heard:
            self._take(news)
        self._hub.receive()
        if (told := self.saves.heard()) is not None:
            self._feed(told)
        if self._signals.requested and not self._stop_sent:
            self._stop_sent = True
            self._signals.drain()
            self._stop()

    def _stop(self) -> None:
        name, self.cut_short = self._signals.name, not self._has_trained
        if self.cut_short:
            self.notice("warning", f"{name}: stopping; nothing has been trained yet")
        else:
            self.notice("warning", f"{name}: saving, then stopping (again to stop at once)")
            self._feed(ev.StopRequested())

    def _take(self, news: News) -> None:
        match news:
            case sv.Ready(role):
                failpoint(self._line, Point.READY)
                self._tell_tables(role)
                self._feed(ev.RehasherReady() if role == REHASHER else ev.WorkerReady(worker_index(role)))
            case sv.Recovered(role, pid, why, down_s):
                self._recovered(Restart(role=role, pid=pid, why=why, down_s=round(down_s, 3)))
            case sv.Lost(role, why, had_begun):
                self.notice("warning", f"{why}; starting it again")
                if had_begun:
                    self._lost(role)
            case sv.StartServer(why):
                self.notice("warning", f"{why}; started another, its children work on")
            case sv.ContinueServer(why):
                self.notice("warning", f"{why}; it was told to go on")
            case Done():
                self._done(news)
            case Rehashed():
                self.meter.rehashed(news.report)
                self._observer.rehash(news.report)
                self._feed(ev.RehashDone(news.report.changed_share))
            case Chosen():
                self._use_chosen(news)
            case NonFinite():
                if (follows := self._numbers.heard(news)) is not None:
                    self._feed(follows)
            case Garbage(role, what):
                self.notice("warning", f"{role!r} sent what is no message of its own, dropped: {what}")

    def _use_chosen(self, news: Chosen) -> None:
        assert self._chosen is not None
        if self._stop_sent and not self._machine.tunes:  # the tables before are being saved
            return
        before = self._chosen.n_bytes
        self._chosen.use(news.lsh)
        self.memory.share(self._chosen.n_bytes)
        self.memory.share(-before)
        for role in self._staff.roles:
            self._tell_tables(role)
        told = news.report
        level = "warning" if told.missing else "info"
        self.notice(level, f"chose {self._chosen.text()}: " + (told.missing or promise(told)))
        self._feed(ev.TuningDone(told.recall))

    def _tell_tables(self, role: str) -> None:
        message = self._chosen.message() if self._chosen is not None else None
        if message is not None:
            self._staff.tell(role, message)

    def _lost(self, role: str) -> None:
        if role == REHASHER:
            self._feed(ev.RehasherLost())
            return
        index = worker_index(role)
        self.meter.repeats.lost(index)
        self._arena["runtime.slots"][index, 0] = -1  # a dead reader holds no buffer
        self._feed(ev.WorkerLost(index))

    def _recovered(self, restart: Restart) -> None:
        self._hub.publish(restart)
        self.notice("info", f"{restart.role} is back as pid {restart.pid} after {restart.down_s:.2f} s")

    def _done(self, message: Done) -> None:
        index, repeats = worker_index(message.role), self.meter.repeats
        left = message.upto is not None and self._machine.stage == PRETRAIN  # a pool, wholly
        (repeats.lost if left else repeats.acknowledged)(index)
        if message.result:
            self._sums = self._sums + unpacked(message.result)
        self._feed(ev.TaskDone(index, message.task_id, message.upto))

    def _feed(self, event: ev.Event) -> None:
        actions = self._machine.handle(event)
        for action in actions:
            self._carry_out(action)
        self._charge()
        while self._later:  # not before all actions are carried out: each event's are in order
            self._feed(self._later.pop(0))

    def _charge(self) -> None:
        self.saves.waited_for(self._machine.waits_for_save)
        stage = self._machine.stage
        if stage == "start" or not (self._machine.ready_workers or "first_task" in self._clock.marks):
            return
        self._clock.mark(stage)
        self._stages.switch(stage)
        after_training = self._machine.position.stage == "final" and stage == "checkpoint"
        self._clock.switch(None if after_training else _ACCOUNTS.get(stage, "train"))

    def _carry_out(self, action: act.Action) -> None:
        match action:
            case act.Assign(worker, task):
                self._assign(worker, task)
            case act.HandBack(worker):
                self._staff.tell(worker_role(worker), HandBack())
            case act.WriteOrder(epoch, pretraining):
                write_order(self._arena["runtime.order"], self._config.train.seed, epoch, pretraining)
            case act.BeginRehash(full):
                self._staff.tell(REHASHER, StartRehash(full=full, samples=self._machine.position.samples))
            case act.BeginTuning(recall, number):
                samples = self._machine.position.samples
                self._staff.tell(REHASHER, StartTuning(recall=recall, number=number, samples=samples))
            case act.BeginEvaluation():
                self._sums, self._eval_started = EvalSums(), time.perf_counter()
                self._clock.switch("eval")
            case act.EndEvaluation(kind, complete):
                if complete:
                    self._end_evaluation(kind)
            case act.SaveCheckpoint():
                self._save(action)
            case act.GiveUpSave():
                self.saves.give_up()
            case act.Restore():
                self._later.append(self._go_back())

    def _assign(self, worker: int, task: Task) -> None:
        failpoint(self._line, Point.ASSIGN)
        self._has_trained = self._has_trained or task.kind in ("train", PRETRAIN)
        self._arena.reserved(touched_by(task.kind))
        self._clock.mark("first_task")
        if task.kind == "init_output" and self._config.pretrain.epochs and not self._pretraining_told:
            self._pretraining_told = True
            self.notice(*pretrained(self.meter.totals, self._clock.seconds("pretrain")))
        self._staff.tell(worker_role(worker), Assign(task))

    def _end_evaluation(self, kind: str) -> None:
        failpoint(self._line, Point.EVALUATED)
        evaluation = to_evaluation(
            self._sums,
            kind=kind,
            epoch=self._machine.position.epoch,
            samples=self._machine.position.samples,
            train_s=round(self.train_s, 3),
            eval_s=round(time.perf_counter() - self._eval_started, 3),
        )
        if self._chosen is not None:
            self._note_recall(evaluation)
        self.last_evaluation = evaluation
        self.meter.evaluated(evaluation)
        self._journal.evaluation(evaluation)
        self._hub.publish(evaluation)
        self._observer.evaluation(evaluation)

    def _note_recall(self, evaluation: Evaluation) -> None:
        assert self._chosen is not None and self._config.lsh.auto is not None
        evaluation.tables = self._chosen.text()
        recall = getattr(evaluation, f"table_recall_at_{self._config.lsh.auto.k}")
        if recall is not None:
            self._later.append(ev.RecallMeasured(recall))

    def _save(self, action: act.SaveCheckpoint) -> None:
        if action.quiet:
            self._clock.switch(None if action.position.stage == "final" else "train")
        self.saves.begin(action, self._figures())

    def _go_back(self) -> ev.Restored:
        restored = self._back.restore()
        self._numbers.forget_counts()
        for role in self._staff.roles:
            self._tell_tables(role)
        return restored

    def _figures(self) -> dict[str, Any]:
        counters = self._arena["runtime.counters"].copy()
        return {
            "train_s": self.train_s,
            "pretrain_s": self._clock.seconds("pretrain"),
            "eval_s": self._clock.seconds("eval"),
            "restarts": self.restarts,
            "meter": self.meter.state(counters),
            "counters": counters.sum(axis=0).tolist(),
        }

    def rescue(self) -> None:
        """Save what was learned before an error; the children are gone."""
        self.meter.repeats.all_lost()
        if self._numbers.stops:
            self.saves.close()
        else:
            self.saves.rescue(lambda saved: self._machine.rescue(final_saved=saved), self._figures)

    def notice(self, level: str, text: str) -> None:
        """Tell the observer, the subscribers and the log."""
        self._journal.note(level, text)
        notice = Notice(level=level, text=text)
        self._hub.publish(notice)
        self._observer.notice(notice)

    def _watch(self) -> None:
        self.memory.sample()
        self._numbers.check()
        now = time.monotonic()
        if now >= self._next_report:
            self._next_report = now + self._config.run.report_s
            self._numbers.at_report()
            self.report()

    def report(self, *, last: bool = False) -> None:
        """Make, write and send a report."""
        self.energy.sample()
        report = self.meter.report(
            time_s=self._clock.total_s,
            train_s=self.train_s,
            phase=self._machine.stage,
            phase_share=self._machine.step_share,
            lr=rate_at(self._config, self.position, self._machine.plan.n_train),
            restarts=self.restarts,
        )
        self._journal.report(report, last=last)
        self._hub.publish(report)
        self._observer.report(report)
