"""Checkpoints of a run: what is saved, and how a run goes on from one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec
from numpy.typing import NDArray

from distlsh.config.resuming import fixed
from distlsh.config.schema import Config
from distlsh.constants import PRETRAIN
from distlsh.errors import CheckpointError
from distlsh.lsh.layout import ADDED_LATER
from distlsh.lsh.spec import HashSpec
from distlsh.model.checkpoint import Watch, latest_checkpoint, read_checkpoint, write_checkpoint
from distlsh.protocol.plan import Position
from distlsh.runtime.chosen import ChosenTables, with_chosen
from distlsh.runtime.differences import differences, in_short
from distlsh.runtime.layout import comes_after_pretraining
from distlsh.runtime.restored import as_checkpoint_errors, check_tables
from distlsh.runtime.run_dir import RunDir
from distlsh.runtime.visits import VISITS
from distlsh.shm.arena import Arena

_FIXED_GROUPS = ("model", "lsh", "pretrain", "train", "rehash")
"""Settings that a run keeps when it goes on; network, tables and data are compared as they came out."""


class Write(Protocol):
    """Writes a checkpoint and returns its folder; raises what `write_checkpoint` raises."""

    def __call__(self, *, watch: Watch) -> Path: ...


class Saver:
    """Writes the arena's persistent arrays with the run's position."""

    def __init__(
        self,
        arena: Arena,
        run_dir: RunDir,
        config: Config,
        same: dict[str, Any],
        chosen: ChosenTables | None = None,
    ) -> None:
        """Take what a resumed run must share, beside settings, as JSON values.

        chosen  tables whose hash functions the run chooses, if it does
        same  ``model``: the network; ``lsh``: hash functions of the output, None if it is dense;
              ``hidden_lsh``: those of hidden layers, by their number; ``data``: of the training data
        """
        self._arena = arena
        self._run_dir = run_dir
        self._config = config
        self._same = same
        self._chosen = chosen
        self.damaged: set[str] = set()
        """Names of checkpoints that were found damaged: saving removes them before whole ones."""

    @property
    def folder(self) -> Path:
        """Where the run's checkpoints are."""
        return self._run_dir.checkpoints

    @property
    def has_choice(self) -> bool:
        """Whether the hash functions of the output are there, where the run chooses them."""
        return self._chosen is None or self._chosen.lsh is not None

    def save(self, position: Position, figures: dict[str, Any], *, live: bool) -> Write:
        """Return what writes a checkpoint of this moment's position, in any thread.

        figures  what the run's reports go on from, as JSON values: "counters", sums over the workers,
                 and what the coordinator's `restore` takes
        live     children go on changing weights and optimiser states, but nothing else
        """
        state = {
            "position": msgspec.to_builtins(position),
            **self._same,
            **self._choice(position),
            "config": msgspec.to_builtins(self._config),
            **figures,
        }
        name = _name(position)
        arrays = self._persistent()
        if VISITS in arrays:  # of this moment, as the position: what is trained later is not done yet
            arrays[VISITS] = arrays[VISITS].copy()
        if position.stage == PRETRAIN:
            arrays = {key: value for key, value in arrays.items() if not comes_after_pretraining(key)}
        if position.stage == "final" and not self._config.checkpoint.optimizer_state:
            arrays = {key: value for key, value in arrays.items() if not _is_state(key)}
        keep = self._config.checkpoint.keep
        # Its name is free again where one was removed, and that of a whole one then.
        self.damaged = {name for name in self.damaged if (self.folder / name).is_dir()}
        return partial(
            write_checkpoint,
            self.folder,
            name,
            arrays,
            state,
            keep,
            live=live,
            damaged=frozenset(self.damaged),
        )

    def _choice(self, position: Position) -> dict[str, Any]:
        return {} if self._chosen is None or position.stage == PRETRAIN else self._chosen.state()

    def restore(self) -> tuple[Position, dict[str, Any], list[str]]:
        """Fill the arena from the newest whole checkpoint; return its position, state and warnings."""
        path, warnings, damaged = latest_checkpoint(self._run_dir.path)
        self.damaged.update(damaged)
        arrays, state = read_checkpoint(path, verify=False, mmap=True)
        return self.fill(path, arrays, state), state, warnings

    def fill(self, path: Path, arrays: Mapping[str, NDArray[Any]], state: dict[str, Any]) -> Position:
        """Fill the arena from what was read from the checkpoint ``path``; return its position.

        CheckpointError where it is not of this run's settings and data, or not of a run at all.
        """
        with as_checkpoint_errors(path):
            return self._fill(path, arrays, state)

    def _fill(self, path: Path, arrays: Mapping[str, NDArray[Any]], state: dict[str, Any]) -> Position:
        self._check_same_run(path, state)
        if self._chosen is not None:
            self._chosen.restore(state)
        self._arena.reserved()
        for name, array in self._persistent().items():
            if name not in arrays and state["position"]["stage"] == "final" and _is_state(name):
                continue  # all that is left is to evaluate
            if name not in arrays and name in ADDED_LATER:
                continue
            if state["position"]["stage"] == PRETRAIN and comes_after_pretraining(name):
                continue
            if name == VISITS and name not in arrays:
                raise CheckpointError(
                    f"{path} counted no visits: run.visits cannot be turned on in a resumed run"
                )
            if name not in arrays:
                raise CheckpointError(f"{path} has no array {name}: it was saved without what resuming needs")
            if (arrays[name].shape, arrays[name].dtype) != (array.shape, array.dtype):
                raise CheckpointError(
                    f"{path}: array {name} is {_form(arrays[name])} in the checkpoint, {_form(array)} by the "
                    "run's settings now; resume with the settings that the run was started with"
                )
            array[...] = arrays[name]
        # The first worker's counters go on from all workers' sums.
        sums = state["counters"]  # older checkpoints have fewer
        self._arena["runtime.counters"][0, : len(sums)] = sums
        if state["position"]["stage"] != PRETRAIN:
            self._check_tables()
        return msgspec.convert(state["position"], Position)

    def _check_tables(self) -> None:
        config, model = self._config, self._same["model"]
        if self._chosen is not None and self._chosen.lsh is not None:
            config = with_chosen(config, self._chosen.lsh)
        check_tables(config, model["n_features"], model["n_labels"], {**self._arena, **self._persistent()})

    def _persistent(self) -> dict[str, NDArray[Any]]:
        chosen = self._chosen.persistent() if self._chosen is not None else {}
        return {**self._arena.persistent(), **chosen}

    def _check_same_run(self, path: Path, state: dict[str, Any]) -> None:
        now = dict(self._same)
        saved = {"hidden_lsh": {}, **state}  # checkpoints from before hashed hidden layers have none
        saved["lsh"] = state["lsh"] and _in_todays_fields(state["lsh"])
        saved["model"] = {"active": [], "storage": "float32", **state["model"]}
        settings = msgspec.to_builtins(self._config)
        before = _with_todays_keys(state["config"])
        if self._chosen is not None:  # of the output's tables, what was asked for must be the same
            now.pop("lsh")
        for group in _FIXED_GROUPS:
            compared = now.get(group) or {}  # as it came out: names that meant something else once, too
            for where, said in ((now, settings), (saved, before)):
                kept = fixed(group, said[group])
                where[f"config.{group}"] = {key: kept[key] for key in kept if key not in compared}
        found = [
            line for what in now for line in differences(what, saved[what], msgspec.to_builtins(now[what]))
        ]
        if found:
            raise CheckpointError(
                f"{path} was saved with other settings or data:\n  "
                + "\n  ".join(in_short(found))
                + "\nresume with what the run was started with, or start a new run"
            )


def _with_todays_keys(saved: dict[str, Any]) -> dict[str, Any]:
    """Return a saved configuration; keys that were added later have their defaults."""
    merged: dict[str, Any] = _merged(msgspec.to_builtins(Config()), saved)
    return merged


def _merged(default: Any, saved: Any) -> Any:
    if not (isinstance(default, dict) and isinstance(saved, dict)):
        return saved
    return {**default, **{key: _merged(default.get(key), value) for key, value in saved.items()}}


def _name(position: Position) -> str:
    if position.stage == PRETRAIN:
        return f"pretrained-{position.pretrained:012d}"
    return "final" if position.stage == "final" else f"samples-{position.samples:012d}"


def _form(array: NDArray[Any]) -> str:
    return f"{array.dtype}{list(array.shape)}"


def _is_state(name: str) -> bool:
    return name.endswith((".state1", ".state2", ".clock"))


def _in_todays_fields(lsh: dict[str, Any]) -> dict[str, Any]:
    return {**lsh, **msgspec.to_builtins(HashSpec.from_state(lsh))}
