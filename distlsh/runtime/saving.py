"""Checkpoints of a run: what is saved, and how a run goes on from one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from distlsh.config.schema import Config
from distlsh.errors import CheckpointError
from distlsh.model.checkpoint import latest_checkpoint, read_checkpoint, write_checkpoint
from distlsh.protocol.plan import Position
from distlsh.runtime.run_dir import RunDir
from distlsh.shm.arena import Arena


class Saver:
    """Writes the arena's persistent arrays with the run's position."""

    def __init__(
        self, arena: Arena, run_dir: RunDir, config: Config, model: dict[str, Any], lsh: Any
    ) -> None:
        self._arena = arena
        self._run_dir = run_dir
        self._config = config
        self._model = model
        self._lsh = lsh
        self.base_train_s = 0.0  # of before a resume
        self.base_totals: NDArray[np.float64] | None = None

    def save(self, position: Position, train_s: float, totals: NDArray[np.float64]) -> Path:
        """Write a checkpoint and return its folder; no child may be at work."""
        state = {
            "position": msgspec.to_builtins(position),
            "model": self._model,
            "lsh": self._lsh,
            "config": msgspec.to_builtins(self._config),
            "train_s": train_s,
            "totals": self.totals(totals).tolist(),
        }
        name = "final" if position.stage == "final" else f"samples-{position.samples:012d}"
        arrays = self._arena.persistent()
        if position.stage == "final" and not self._config.checkpoint.optimizer_state:
            arrays = {key: value for key, value in arrays.items() if not _is_state(key)}
        return write_checkpoint(self._run_dir.checkpoints, name, arrays, state, self._config.checkpoint.keep)

    def totals(self, since_resume: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the counters' sums over the whole training, f8[16]."""
        return since_resume if self.base_totals is None else since_resume + self.base_totals

    def restore(self) -> tuple[Position, list[str]]:
        """Fill the arena from the newest whole checkpoint; return its position, and warnings."""
        path, warnings = latest_checkpoint(self._run_dir.path)
        arrays, state = read_checkpoint(path, verify=False, mmap=True)
        _check_same_model(path, state, self._model, self._lsh)
        for name, array in self._arena.persistent().items():
            if name not in arrays and state["position"]["stage"] == "final" and _is_state(name):
                continue  # all that is left is to evaluate
            if name not in arrays:
                raise CheckpointError(f"{path} has no array {name}: it was saved without what resuming needs")
            if arrays[name].shape != array.shape:
                raise CheckpointError(
                    f"{path}: array {name} has shape {arrays[name].shape}, but the run's settings give "
                    f"{array.shape}; resume with the settings that the run was started with"
                )
            array[...] = arrays[name]
        self.base_train_s = state["train_s"]
        self.base_totals = np.array(state["totals"])
        return msgspec.convert(state["position"], Position), warnings


def _is_state(name: str) -> bool:
    return name.endswith((".state1", ".state2", ".clock"))


def _check_same_model(path: Path, state: dict[str, Any], model: dict[str, Any], lsh: Any) -> None:
    for group, now in (("model", model), ("lsh", lsh)):
        saved = state[group]
        if saved == msgspec.to_builtins(now):
            continue
        different = sorted(
            k for k in {**(saved or {}), **(now or {})} if (saved or {}).get(k) != (now or {}).get(k)
        )
        raise CheckpointError(
            f"{path} was saved with other settings: {group} differs in {', '.join(different)}; "
            "resume with the settings that the run was started with"
        )
