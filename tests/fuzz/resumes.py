"""What a run goes on from: a checkpoint's state and arrays, filled into plain memory, and trained to the end.

No process is started: the run's state machine is told at once that whatever it asked for is done.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np

from distlsh.config.schema import Config, LshConfig
from distlsh.constants import EMPTY
from distlsh.errors import CheckpointError, ResourceError
from distlsh.files import parse_json
from distlsh.lsh.hasher import Hasher
from distlsh.protocol import actions as act
from distlsh.protocol import events as ev
from distlsh.protocol import messages
from distlsh.protocol.machine import RunMachine
from distlsh.protocol.plan import Position
from distlsh.runtime.assembly import Data, _saver, make_plan
from distlsh.runtime.chosen import ChosenTables, chosen_set
from distlsh.runtime.clock import RunClock
from distlsh.runtime.coordinator import Coordinator
from distlsh.runtime.layout import Sizes, plan_arrays, tunes
from distlsh.runtime.reporting import Meter, rate_at
from distlsh.runtime.restored import as_checkpoint_errors, check_state
from distlsh.runtime.run_dir import RunDir
from distlsh.runtime.saving import Saver
from distlsh.runtime.summary import summarise
from distlsh.shm.arena import Arena, arena_bytes
from tests.fuzz.mutator import NUMBERS, Mutator
from tests.fuzz.target import Target, Wrong

_SIZES = Sizes(12, 30, 40, 10, max_labels=3)
_LSH = {"family": "fast_srp", "n_hashes": 3, "n_tables": 4, "n_probes": 1, "bucket_size": 8, "n_active": 8}
_KINDS: dict[str, dict[str, Any]] = {
    "dense": {"train": {"optimizer": "adam"}},
    "tables": {"lsh": _LSH, "run": {"visits": True}},
    "chosen": {"lsh": {**_LSH, "auto": {}}},
    "pretrained": {"lsh": _LSH, "pretrain": {"epochs": 2, "batch_size": 8}},
    "pretrained, chosen": {"lsh": {**_LSH, "auto": {}}, "pretrain": {"epochs": 1, "batch_size": 8}},
    "hidden": {
        "model": {"hidden": [16, 8], "active_share": [0.5, 1.0]},
        "lsh": {"hidden": {"family": "dwta", "n_tables": 3, "bin_size": 4, "bucket_size": 8}},
    },
}
_ROOM, _MOST_EVENTS = 16 << 20, 2_000


class _Chosen(ChosenTables):
    """Chosen tables without a segment."""

    def use(self, lsh: LshConfig) -> None:
        specs = chosen_set(self._config, lsh, self._n_labels).array_specs()
        if arena_bytes(specs) > _ROOM:
            raise ResourceError("no room for the chosen tables")
        self._arena = _plain(specs)
        self._arena["tables.codes"][...] = EMPTY
        self._lsh = lsh


def _choice(config: Config) -> LshConfig:
    return msgspec.structs.replace(config.lsh, auto=None)


def _plain(specs: Any) -> Arena:
    return Arena("plain", specs, np.zeros(arena_bytes(specs), np.uint8))


class _Run:
    """The coordinator's side of a run, in plain memory."""

    def __init__(self, kind: str) -> None:
        given = _KINDS[kind]
        self.config = msgspec.convert(
            {
                **given,
                "data": {"train": "x"},
                "model": {"hidden": [8], **given.get("model", {})},
                "train": {"epochs": 2, "chunk_size": 16, "batch_size": 8, **given.get("train", {})},
                "rehash": {"initial_interval": 20},
            },
            Config,
        )
        self.arena = _plain(plan_arrays(self.config, _SIZES))
        for name, array in self.arena.items():
            if name.endswith("tables.codes"):
                array[...] = EMPTY
        self.chosen = None
        if tunes(self.config, _SIZES.n_labels):
            self.chosen = _Chosen(self.config, _SIZES.n_labels, "plain")
        data = cast(Data, SimpleNamespace(sizes=_SIZES, fingerprint={"n_train": _SIZES.n_train, "labels": 7}))
        self.saver: Saver = _saver(self.config, self.arena, RunDir(Path("none")), data, self.chosen)
        self.plan = make_plan(self.config, _SIZES)
        counters = self.arena["runtime.counters"]
        self.meter = Meter(counters, self.config.train.epochs, _SIZES.n_train)
        self.clock = RunClock()
        self.restarts = 0

    def figures(self) -> dict[str, Any]:
        counters = self.arena["runtime.counters"]
        meter = self.meter.state(counters)
        times = {"train_s": 2.5, "pretrain_s": 0.5, "eval_s": 0.25, "restarts": 1}
        return {**times, "meter": meter, "counters": counters.sum(axis=0).tolist()}

    def train(self, machine: RunMachine, saved: Callable[[Position], None]) -> None:
        """Tell ``machine`` that all it asks for is done, until it ends; every save is given to ``saved``."""
        events: deque[ev.Event] = deque([ev.WorkerReady(0), ev.RehasherReady()])
        for _ in range(_MOST_EVENTS):
            if not events:
                break
            for action in machine.handle(events.popleft()):
                if isinstance(action, act.SaveCheckpoint):
                    saved(action.position)
                events.extend(self._done(machine, action))
        if machine.finished != "completed":
            raise Wrong(f"the run stands still in stage {machine.stage}, {machine.position}")

    def _done(self, machine: RunMachine, action: act.Action) -> list[ev.Event]:
        samples = machine.position.samples
        match action:
            case act.Assign(worker, task):
                self._send(messages.Assign(task))
                return [ev.TaskDone(worker, task.id), ev.SaveDue()]
            case act.BeginRehash(full):
                self._send(messages.StartRehash(full=full, samples=samples))
                return [ev.RehashDone(0.01)]
            case act.BeginTuning(recall, number):
                self._send(messages.StartTuning(recall=recall, number=number, samples=samples))
                assert self.chosen is not None
                self.chosen.use(_choice(self.config))
                return [ev.TuningDone(0.7)]
            case act.SaveCheckpoint():
                return [ev.Saved()]
            case act.EndEvaluation() if self.chosen is not None:
                return [ev.RecallMeasured(0.5)]
        return []

    def _send(self, message: messages.ToChild) -> None:
        msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=messages.ToChild)

    def tell(self, machine: RunMachine) -> None:
        """Make the reports that a run of this position makes."""
        lr = rate_at(self.config, machine.position, _SIZES.n_train)
        common: dict[str, Any] = {"phase": machine.stage, "phase_share": machine.step_share, "lr": lr}
        report = self.meter.report(time_s=1.0, train_s=1.0, restarts=self.restarts, **common)
        summary = summarise(
            status="completed",
            workers=1,
            clock=self.clock,
            totals=self.meter.totals,
            samples=machine.position.samples,
            epoch_size=_SIZES.n_train,
            evaluation=None,
            rehashes=self.meter.rehashes,
            table_age_s_mean=self.meter.table_age_s_mean,
            table_stale_mean=self.meter.table_stale_mean,
            repeated_samples=self.meter.repeats.samples,
            fall_backs=machine.position.fall_backs,
            lr_scale=machine.position.lr_scale,
        )
        msgspec.json.encode([report, summary])


@cache
def _seeds(kind: str) -> tuple[str, ...]:
    """Return the states of all checkpoints of a run, as JSON."""
    run, found = _Run(kind), []

    def saved(position: Position) -> None:
        state = cast(Any, run.saver.save(position, run.figures(), live=False)).args[3]
        found.append(json.dumps(state))

    run.train(RunMachine(run.plan), saved)
    return tuple(found)


def make(random: Random) -> bytes:
    """Return a kind of run, a checkpoint's state as JSON, and places of arrays with other numbers."""
    kind = random.choice(list(_KINDS))
    text = random.choice(_seeds(kind))
    mutator = Mutator(random)
    for _ in range(random.choice((0, 1, 1, 1, 2, 3))):
        text = _changed(mutator, text)
    places = []
    while random.random() < 0.25:
        places.append((random.random(), random.random(), random.choice(NUMBERS) % (1 << 64)))
    return msgspec.msgpack.encode([kind, text, places, random.random() if random.random() < 0.05 else None])


def _changed(mutator: Mutator, text: str) -> str:
    state = json.loads(text)
    if not isinstance(state, dict):
        return text
    part = mutator.random.choice(["position"] * 6 + ["meter"] * 3 + ["chosen"] + [""] * 4)
    changed = {**state, part: mutator.value(state[part])} if state.get(part) else mutator.value(state)
    try:
        return json.dumps(changed)
    except ValueError:  # a number too long to be written
        return text


def take(data: bytes) -> bool:
    """Resume from the checkpoint, train to the end and report, as far as one process can."""
    kind, text, places, missing = msgspec.msgpack.decode(data)
    run, path = _Run(kind), Path("checkpoint")
    try:
        state = parse_json(text)
    except ValueError as error:  # what reads manifests has refused it
        raise CheckpointError(f"{path}: {error}") from None
    position = run.saver.fill(path, _arrays(run, kind, places, missing), state)
    with as_checkpoint_errors(path):
        check_state(run.plan, position, state, chosen=run.saver.has_choice)
        machine = RunMachine(run.plan, position)
        coordinator = SimpleNamespace(_clock=run.clock, meter=run.meter)
        Coordinator.restore(cast(Coordinator, coordinator), state)
    run.restarts = coordinator._restarts_before
    if run.chosen is not None and run.chosen.lsh is not None:
        Hasher(chosen_set(run.config, run.chosen.lsh, _SIZES.n_labels).spec)
    run.tell(machine)
    run.train(machine, lambda position: json.dumps(msgspec.to_builtins(position)) and None)
    run.tell(machine)
    return True


def _arrays(run: _Run, kind: str, places: list[Any], missing: float | None) -> dict[str, Any]:
    """Return a checkpoint's arrays, some numbers of which were changed."""
    whole = _Run(kind)
    if whole.chosen is not None:
        whole.chosen.use(_choice(whole.config))
    arrays = {**whole.arena.persistent(), **(whole.chosen.persistent() if whole.chosen else {})}
    names = sorted(name for name, array in arrays.items() if array.dtype.kind in "iu" and array.size)
    for name_at, at, number in places:
        if names:
            flat = arrays[names[int(name_at * len(names))]].reshape(-1)
            flat[int(at * len(flat))] = np.array(number, np.uint64).astype(flat.dtype)
    if missing is not None:
        del arrays[sorted(arrays)[int(missing * len(arrays))]]
    return arrays


TARGETS = (Target("resume", make, take, share=0.5),)
