"""Makes the parts of a run and registers the end of each."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from distlsh.config.schema import Config
from distlsh.data.dataset import Dataset
from distlsh.model.spec import NetworkSpec
from distlsh.protocol.plan import Plan
from distlsh.protocol.supervision import Supervisor
from distlsh.runtime.causes import Causes
from distlsh.runtime.chosen import ChosenTables
from distlsh.runtime.doors import Way, open_doors
from distlsh.runtime.entry import rehasher_main, worker_main
from distlsh.runtime.eval_rows import count_rows
from distlsh.runtime.layout import Sizes, has_tables, hidden_tables, output_tables, plan_arrays, tunes
from distlsh.runtime.placement import Placement, place
from distlsh.runtime.processes import ForkServer
from distlsh.runtime.roles import REHASHER, child_roles, worker_role
from distlsh.runtime.run_dir import RunDir
from distlsh.runtime.saving import Saver
from distlsh.runtime.setup import ChildSetup, pack_specs
from distlsh.runtime.staff import Job, Staff
from distlsh.runtime.topology import usable_cpus
from distlsh.shm.arena import Arena
from distlsh.shm.names import remove, segments_of
from distlsh.transport.context import Waiter, new_context
from distlsh.transport.metrics import MetricsHub

_PARTS_PER_WORKER = 4
_PART_BYTES = 1 << 27
"""Output rows that a task of the start fills at most: done long before a heartbeat is missed."""
_LABEL_CHUNKS = 8
_PRETRAIN_BATCHES = 4
"""Batches of a task of the pretraining, at most."""


@dataclass(frozen=True)
class Data:
    """The data sets of a run."""

    train: Dataset
    test: Dataset | None

    @property
    def sizes(self) -> Sizes:
        """What the arrays of a run on this data depend on."""
        return Sizes(
            n_features=self.train.n_features,
            n_labels=self.train.n_labels,
            n_train=self.train.n_rows,
            n_test=self.test.n_rows if self.test is not None else 0,
            max_labels=int(np.diff(self.train.label_indptr).max(initial=0)),
            n_train_labels=len(self.train.labels),
            n_train_values=len(self.train.values),
        )

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What tells the training instances from others: number and checksums of their arrays."""
        arrays = self.train.meta.get("arrays", {})
        checksums = {name: entry["crc32"] for name, entry in arrays.items()}
        return {"n_train": self.train.n_rows, **checksums}

    @property
    def n_bytes(self) -> int:
        """Bytes of the mapped stores."""
        return self.train.n_bytes + (self.test.n_bytes if self.test is not None else 0)


@dataclass(frozen=True)
class Parts:
    """What the coordinator works with."""

    arena: Arena
    hub: MetricsHub
    staff: Staff
    waiter: Waiter
    plan: Plan
    saver: Saver
    publish: list[str]  # addresses of the metrics
    chosen: ChosenTables | None  # where the run chooses the output's hash functions

    @property
    def shared_bytes(self) -> int:
        """Bytes in shared memory now."""
        return self.arena.n_bytes + (self.chosen.n_bytes if self.chosen is not None else 0)


def make_plan(config: Config, sizes: Sizes) -> Plan:
    """Return the numbers that the run's state machine follows."""
    n_test, workers, auto = sizes.n_test, config.run.workers, config.lsh.auto
    most_rows = max(1, _PART_BYTES // (4 * config.model.hidden[-1]))
    return Plan(
        n_train=sizes.n_train,
        n_labels=sizes.n_labels,
        epochs=config.train.epochs,
        chunk=config.train.chunk_size,
        rehash_initial=config.rehash.initial_interval,
        rehash_decay=config.rehash.decay,
        rehash_max_drift=config.rehash.max_drift,
        tables=has_tables(config, sizes.n_features, sizes.n_labels),
        tuned_recall=auto.recall if auto is not None and tunes(config, sizes.n_labels) else None,
        most_tunings=auto.max_tunings if auto is not None else 1,
        warm_start=config.model.warm_start,
        pretrain_epochs=config.pretrain.epochs,
        pretrain_chunk=_pretrain_chunk(config, sizes.n_train),
        deterministic=config.train.deterministic,
        init_parts=max(_PARTS_PER_WORKER * workers, -(-sizes.n_labels // most_rows)),
        label_chunk=min(max(1, -(-sizes.n_labels // (_LABEL_CHUNKS * workers))), most_rows),
        workers=workers,
        n_eval_rows=min(config.eval.n_rows, n_test),
        n_final_rows=count_rows(n_test, config.eval.final_rows),
        eval_initial=config.eval.initial,
        eval_interval=config.eval.interval,
        checkpoint_interval=config.checkpoint.interval,
        fall_back_factor=config.train.fall_back_factor,
    )


def _pretrain_chunk(config: Config, n_train: int) -> int:
    """Return the samples of a task: all of one size, since a small one would compare few with each other."""
    batch, workers = config.pretrain.batch_size, config.run.workers
    most = max(_PRETRAIN_BATCHES * batch, config.pretrain.pool)
    n_tasks = max(1, -(-n_train // most), min(workers, n_train // batch))
    if n_tasks > workers:
        n_tasks = workers * -(-n_tasks // workers)  # long tasks, so as many for each
    return max(1, -(-n_train // n_tasks))


def assemble(
    config: Config, data: Data, run_dir: RunDir, server: ForkServer, wake: int, stack: ExitStack
) -> Parts:
    """Make arena, sockets and staff; ``stack`` ends them in reverse order, children first."""
    sizes = data.sizes
    run_id = server.run_id
    arena = Arena.create(run_id, plan_arrays(config, sizes), wait=False)
    stack.callback(arena.close)
    stack.callback(_remove_segments, run_id)
    arena.reserved(lambda name: name.startswith("runtime."))
    arena["runtime.slots"][:, 0] = -1
    sockets = server.folder
    context = new_context()
    stack.callback(context.destroy, 0)  # not term: it would wait for a socket that failed to bind
    doors = open_doors(config.run, sockets, context, stack)
    plan = make_plan(config, sizes)
    placement = None
    if config.run.pin:
        placement = place(usable_cpus(), config.run.workers, rehasher=plan.tables)
        stack.callback(os.sched_setaffinity, 0, os.sched_getaffinity(0))
        os.sched_setaffinity(0, placement.coordinator)
    jobs = _jobs(config, data, plan, arena, sockets, doors.way, run_dir, placement)
    staff = Staff(server, doors.control, _supervisor(config, plan), jobs, Causes(run_dir.logs))
    stack.callback(staff.close)
    waiter = Waiter(doors.control.socket, doors.hub.pull, wake, staff.fileno())
    chosen = None
    if tunes(config, sizes.n_labels):
        chosen = ChosenTables(config, sizes.n_labels, run_id)
        stack.callback(chosen.close)
    saver = _saver(config, arena, run_dir, data, chosen)
    return Parts(arena, doors.hub, staff, waiter, plan, saver, doors.publish, chosen)


def _remove_segments(run_id: str) -> None:
    # By name: a second Ctrl-C may come when a segment is there and nobody holds it yet.
    for path in segments_of(run_id):
        remove(path)


def _saver(config: Config, arena: Arena, run_dir: RunDir, data: Data, chosen: ChosenTables | None) -> Saver:
    sizes = data.sizes
    model = NetworkSpec.from_config(config, sizes.n_features, sizes.n_labels).to_dict()
    output = output_tables(config, sizes.n_labels)
    hidden = {str(one.layer): one.state() for one in hidden_tables(config, sizes.n_features)}
    same = {
        "model": model,
        "lsh": output.state() if output else None,
        "hidden_lsh": hidden,
        "data": data.fingerprint,
    }
    return Saver(arena, run_dir, config, same, chosen)


def _supervisor(config: Config, plan: Plan) -> Supervisor:
    run = config.run
    return Supervisor(
        child_roles(run.workers, rehasher=plan.tables),
        max_restarts=run.max_restarts,
        restart_window_s=run.restart_window_s,
        heartbeat_s=run.heartbeat_s,
        heartbeat_timeout_s=run.heartbeat_timeout_s,
        stop_timeout_s=run.stop_timeout_s,
    )


def _cpus(placement: Placement | None, role: str, index: int) -> list[int]:
    if placement is None:
        return []
    return sorted(placement.rehasher) if role == REHASHER else [placement.workers[index]]


def _jobs(
    config: Config,
    data: Data,
    plan: Plan,
    arena: Arena,
    sockets: Path,
    way: Way,
    run_dir: RunDir,
    placement: Placement | None,
) -> dict[str, Job]:
    sizes, test = data.sizes, data.test

    def setup(role: str, index: int) -> bytes:
        return msgspec.msgpack.encode(
            ChildSetup(
                role=role,
                index=index,
                coordinator_pid=os.getpid(),
                config=config,
                arena=arena.name,
                specs=pack_specs(list(arena.specs)),
                socket_dir=str(sockets),
                way=way,
                train_store=str(data.train.path),
                test_store=None if test is None else str(test.path),
                n_labels=sizes.n_labels,
                n_features=sizes.n_features,
                init_parts=plan.init_parts,
                total_samples=plan.epochs * plan.n_train,
                log=str(run_dir.logs / f"{role}.log"),
                cpus=_cpus(placement, role, index),
            )
        )

    jobs: dict[str, Job] = {
        worker_role(i): (worker_main, setup(worker_role(i), i)) for i in range(config.run.workers)
    }
    if plan.tables:
        jobs[REHASHER] = (rehasher_main, setup(REHASHER, 0))
    return jobs
