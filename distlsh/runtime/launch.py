"""The whole of a run: from a configuration to a trained, evaluated, saved model."""

from __future__ import annotations

import os
import traceback
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from distlsh.config.load import dump_yaml
from distlsh.config.schema import Config
from distlsh.data.opening import open_pair
from distlsh.errors import DistlshError, ResourceError, RunInterrupted
from distlsh.evaluation.baseline import popularity_baseline
from distlsh.folders import careful_umask
from distlsh.protocol.machine import RunMachine
from distlsh.protocol.plan import Position
from distlsh.protocol.reports import Summary
from distlsh.runtime.assembly import Data, Parts, assemble
from distlsh.runtime.clock import RunClock
from distlsh.runtime.coordinator import Coordinator
from distlsh.runtime.energy import EnergyMeter
from distlsh.runtime.failpoints import COORDINATOR, Point, failpoint, line_of
from distlsh.runtime.journal import log_line
from distlsh.runtime.layout import Sizes, memory_plan, plan_arrays, tunes, tuning_bytes
from distlsh.runtime.limits import allow_files, check_chunks, check_disk, check_tasks
from distlsh.runtime.memory import MemoryWatch
from distlsh.runtime.observer import Observer, Silent
from distlsh.runtime.orphans import end_orphans
from distlsh.runtime.processes import ForkServer, server_of
from distlsh.runtime.reporting import Meter
from distlsh.runtime.restored import as_checkpoint_errors, check_state
from distlsh.runtime.roles import child_roles
from distlsh.runtime.run_dir import RunDir
from distlsh.runtime.stop_signals import StopNow, StopSignals
from distlsh.runtime.summary import summarise
from distlsh.runtime.visits import visits_of
from distlsh.shm.names import sweep


def run(
    config: Config,
    *,
    observer: Observer | None = None,
    resume: Path | None = None,
    run_dir: Path | None = None,
    started: float | None = None,
) -> Summary:
    """Train, evaluate and save what ``config`` describes; return the figures.

    observer  gets reports while the run goes on
    resume    a run directory to go on from; ``config`` must be that run's
    started   when the command was given, seconds of `time.time`; default: now
    run_dir   a new run directory; default ``config.run.dir``, or one below ``runs/``

    Raises RunInterrupted after a signal, when the state is saved; ChildError with a child's
    traceback; other DistlshErrors for wrong settings, data or a machine that is too small.
    Whatever happens, no process, segment or socket is left.
    """
    with StopSignals() as signals, ExitStack() as stack:
        stack.callback(os.umask, careful_umask())
        session = _Session(config, observer or Silent(), signals, stack, RunClock(started))
        try:
            return session.run(resume, run_dir)
        except StopNow:
            stopped = DistlshError(f"{signals.name}: stopped at once; {session.what_is_saved()}")
            session.log(stopped)
            raise stopped from None
        except Exception as error:
            session.log(error)
            raise
        finally:
            signals.deaf = True


class _Session:
    """One run; every part registers its end with ``stack``."""

    def __init__(
        self,
        config: Config,
        observer: Observer,
        signals: StopSignals,
        stack: ExitStack,
        clock: RunClock,
    ) -> None:
        self.config = config
        self.observer = observer
        self.signals = signals
        self.stack = stack
        self.clock = clock
        self.run_dir: RunDir | None = None

    def run(self, resume: Path | None, new_dir: Path | None) -> Summary:
        self.stack.callback(allow_files(self.config.run.workers))  # before the fork server, which inherits it
        check_tasks(self.config.run.workers)
        server = server_of(self.config)
        self.stack.callback(
            server.stop, child_roles(self.config.run.workers)
        )  # whose children go with it, whatever has happened
        end_orphans()
        sweep()
        self._check_run_dir(resume, new_dir)
        server.start()
        self.clock.mark("imported")
        data = self._load()
        memory_plan(self.config, data.sizes, data.n_bytes).check()
        if resume is None:  # which could not change it
            check_chunks(data.sizes.n_train, self.config.train.chunk_size)
        tight = self._check_disk(data.sizes, resume or self._chosen(new_dir), resumed=resume is not None)
        self.run_dir = self._open_run_dir(resume, new_dir)
        self.stack.callback(self.observer.close)
        self.observer.start(self.config, self.run_dir.path)
        parts = self._assemble(data, server)
        coordinator = self._coordinator(parts, data, resume)
        if tight is not None:
            coordinator.notice("warning", tight)
        try:
            status = self._train(coordinator, parts)
        except Exception:
            with suppress(ResourceError):  # told is the error that came first
                self.run_dir.write_summary(self._summary("failed", coordinator, parts, data))
            raise
        summary = self._summary(status, coordinator, parts, data)
        self.run_dir.write_summary(summary)
        self.observer.summary(summary)
        visits = visits_of(parts.arena, self.config.train.epochs, coordinator.position.samples)
        if visits is not None and status == "completed":
            visits.check(self.config.train.epochs)
        if status == "interrupted":
            raise RunInterrupted(f"{self.signals.name}: stopped; {self.what_is_saved()}")
        return summary

    def log(self, error: Exception) -> None:
        """Write what ended the run to its log, if there is one."""
        known = isinstance(error, DistlshError)
        text = str(error) if known else "".join(traceback.format_exception(error))
        if self.run_dir is not None:
            with suppress(OSError):  # the error itself says what is wrong
                log_line(self.run_dir, "error", text, self.config.run.log_bytes)

    def what_is_saved(self) -> str:
        """Say where an ended run can be taken up."""
        if self.run_dir is None or not self.run_dir.has_checkpoint():
            return "nothing was saved yet"
        return f"go on from the last checkpoint with: distlsh-launch --resume {self.run_dir.path}"

    def _load(self) -> Data:
        self.clock.switch("load")
        data = Data(*open_pair(self.config.data, on_build=self.observer.parsing))
        self.clock.switch(None)
        self.clock.mark("data")
        return data

    def _check_run_dir(self, resume: Path | None, new_dir: Path | None) -> None:
        # Before anything slow: wrong usage is answered at once.
        if resume is not None:
            RunDir.open(resume)
            return
        chosen = self._chosen(new_dir)
        run_dir = RunDir((chosen or Path("runs") / "new").absolute())
        if chosen is not None:
            run_dir.check_free()
        run_dir.check_own()

    def _check_disk(self, sizes: Sizes, folder: Path | None, *, resumed: bool) -> str | None:
        config, folder = self.config, folder or Path("runs")
        tuned = tuning_bytes(config, sizes.n_labels) if tunes(config, sizes.n_labels) else 0
        arrays = plan_arrays(config, sizes)
        return check_disk(folder, arrays, config.checkpoint.keep, tuned, resumed=resumed)

    def _chosen(self, new_dir: Path | None) -> Path | None:
        return new_dir or (Path(self.config.run.dir) if self.config.run.dir else None)

    def _open_run_dir(self, resume: Path | None, new_dir: Path | None) -> RunDir:
        if resume is not None:
            run_dir = RunDir.open(resume)
        else:
            run_dir = RunDir.create(self._chosen(new_dir), self.config.run.name or "run")
        self.stack.enter_context(run_dir.lock())
        if resume is None:
            run_dir.begin(dump_yaml(self.config))
        return run_dir

    def _assemble(self, data: Data, server: ForkServer) -> Parts:
        assert self.run_dir is not None
        self.signals.patient = True  # no end between making a thing and registering its own
        parts = assemble(self.config, data, self.run_dir, server, self.signals.fileno, self.stack)
        self.signals.patient = False
        self.clock.mark("memory")
        if self.signals.requested:
            raise StopNow
        return parts

    def _coordinator(self, parts: Parts, data: Data, resume: Path | None) -> Coordinator:
        assert self.run_dir is not None
        position: Position | None = None
        warnings: list[str] = []
        state: dict[str, Any] | None = None
        # A run that was cut off before its first checkpoint begins again.
        if resume is not None and self.run_dir.has_checkpoint():
            position, state, warnings = parts.saver.restore()
            with as_checkpoint_errors(self.run_dir.path):
                check_state(parts.plan, position, state, chosen=parts.saver.has_choice)
        meter = Meter(parts.arena["runtime.counters"], self.config.train.epochs, data.sizes.n_train)
        with as_checkpoint_errors(self.run_dir.path):
            machine = RunMachine(parts.plan, position)
        coordinator = Coordinator(
            config=self.config,
            machine=machine,
            parts=parts,
            run_dir=self.run_dir,
            clock=self.clock,
            meter=meter,
            train=data.train,
            memory=MemoryWatch(parts.shared_bytes + data.n_bytes),
            energy=EnergyMeter(),
            observer=self.observer,
            signals=self.signals,
        )
        self.stack.callback(coordinator.saves.close)  # its thread reads the arena
        if state is not None:
            with as_checkpoint_errors(self.run_dir.path):
                coordinator.restore(state)
        for warning in warnings:
            coordinator.notice("warning", warning)
        for where in parts.publish:
            coordinator.notice("info", f"metrics are published at {where}")
        self.stack.enter_context(self.run_dir.published(parts.publish))
        return coordinator

    def _train(self, coordinator: Coordinator, parts: Parts) -> str:
        self.signals.patient = True
        line = line_of(parts.arena, COORDINATOR)
        try:
            status = coordinator.run()
            at_once = coordinator.cut_short
            failpoint(line, Point.SHUTDOWN)
        except StopNow:
            self.signals.deaf = True
            if coordinator.finished is None:
                parts.staff.stop(at_once=True)
                raise
            status, at_once = coordinator.finished, True  # all is saved already
        except Exception:
            self._rescue(coordinator, parts)
            raise
        self.signals.deaf = True
        coordinator.memory.sample(now=True)
        coordinator.sample_cpu()
        parts.staff.stop(at_once)
        failpoint(line, Point.SUMMARY)
        coordinator.report(last=True)
        return status

    def _rescue(self, coordinator: Coordinator, parts: Parts) -> None:
        """End the children and save what was learned before an error; a signal gives that up."""
        self.signals.patient = False
        try:
            try:
                parts.staff.stop()
            except Exception:  # whatever went wrong with the children, what they learned is there
                coordinator.rescue()
                raise
            coordinator.rescue()
        except StopNow:
            self.signals.deaf = True
            coordinator.saves.give_up()
            parts.staff.stop(at_once=True)
            coordinator.notice("warning", f"{self.signals.name}: stopped at once, without a last checkpoint")
        finally:
            self.signals.deaf = True

    def _summary(self, status: str, coordinator: Coordinator, parts: Parts, data: Data) -> Summary:
        assert self.run_dir is not None
        position = coordinator.position
        visits = visits_of(parts.arena, self.config.train.epochs, position.samples)
        baseline = popularity_baseline(data.train, data.test)[0] if data.test is not None else None
        return summarise(
            status=status,
            workers=self.config.run.workers,
            clock=self.clock,
            totals=coordinator.meter.totals,
            samples=position.samples,
            epoch_size=data.sizes.n_train,
            evaluation=coordinator.last_evaluation,
            popularity_p_at_1=baseline,
            tables=parts.chosen.text() if parts.chosen is not None else None,
            tunings=position.tuning.n if position.tuning is not None else 0,
            rehashes=coordinator.meter.rehashes,
            table_age_s_mean=coordinator.meter.table_age_s_mean,
            table_stale_mean=coordinator.meter.table_stale_mean,
            rehash_s=round(coordinator.meter.rehash_s, 3),
            save_s=round(coordinator.saves.seconds, 3),
            save_stall_s=round(coordinator.saves.stalled_s, 3),
            rehash_share=coordinator.meter.rehash_share,
            conflict_rate=coordinator.meter.conflict_rate,
            visits_min=visits.least if visits is not None else None,
            visits_repeated=visits.repeated if visits is not None else None,
            cpu_s=coordinator.cpu_s,
            stage_s=coordinator.stage_s,
            worker_restarts=coordinator.restarts,
            repeated_samples=coordinator.meter.repeats.samples,
            non_finite_samples=coordinator.meter.non_finite,
            fall_backs=position.fall_backs,
            lr_scale=position.lr_scale,
            repeated_pretrained=coordinator.meter.repeats.pretrained,
            peak_memory_bytes=coordinator.memory.peak_bytes,
            energy_j=coordinator.energy.joules(),
            run_dir=str(self.run_dir.path),
        )
