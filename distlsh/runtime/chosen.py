"""The output's tables where the run chooses their hash functions: a segment of their own."""

from __future__ import annotations

import contextlib
from collections import ChainMap
from collections.abc import Mapping
from typing import Any

import msgspec
from numpy.typing import NDArray

from distlsh.config.schema import Config, LshConfig
from distlsh.constants import EMPTY
from distlsh.errors import ProtocolError, ResourceError
from distlsh.lsh.naming import described
from distlsh.protocol.messages import UseTables
from distlsh.runtime.layout import TableSet, output_tables
from distlsh.shm.arena import Arena
from distlsh.shm.names import segment_of

Arrays = Mapping[str, NDArray[Any]]


def with_chosen(config: Config, lsh: LshConfig) -> Config:
    """Return ``config`` with the ``lsh`` group that was chosen."""
    return msgspec.structs.replace(config, lsh=lsh)


def chosen_set(config: Config, lsh: LshConfig, n_labels: int) -> TableSet:
    """Return the output's tables as chosen."""
    found = output_tables(with_chosen(config, lsh), n_labels)
    if found is None:
        raise ProtocolError("hash functions were chosen for an output that is dense")
    return found


class ChosenTables:
    """The coordinator's side: creates the segment of each choice, and removes the one before.

    A new segment's pages are reserved before the old one's are given back, so both count.
    """

    def __init__(self, config: Config, n_labels: int, run_id: str) -> None:
        self._config = config
        self._n_labels = n_labels
        self._run_id = run_id
        self._lsh: LshConfig | None = None
        self._arena: Arena | None = None
        self._number = 0

    def use(self, lsh: LshConfig) -> None:
        """Make empty tables as chosen; ResourceError where there is no room beside those before."""
        tables = chosen_set(self._config, lsh, self._n_labels)
        self._number += 1
        try:
            arena = Arena.create(segment_of(self._run_id, self._number), tables.array_specs())
        except ResourceError as error:
            raise ResourceError(
                f"the tables chosen by lsh.auto: {error}; or lower lsh.auto.max_bytes"
            ) from error
        arena["tables.codes"][...] = EMPTY
        self.close()
        self._lsh, self._arena = lsh, arena

    @property
    def lsh(self) -> LshConfig | None:
        """What was chosen; None before the first choice."""
        return self._lsh

    def message(self) -> UseTables | None:
        """Return what children must know; None where there are no such tables."""
        if self._arena is None or self._lsh is None:
            return None
        return UseTables(segment=self._arena.name, lsh=self._lsh)

    def text(self) -> str | None:
        """Return the choice in words."""
        if self._lsh is None:
            return None
        spec = chosen_set(self._config, self._lsh, self._n_labels).spec
        return described(spec, self._lsh.bucket_size)

    def persistent(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that a checkpoint holds."""
        return {} if self._arena is None else self._arena.persistent()

    @property
    def n_bytes(self) -> int:
        """Size of the segment."""
        return 0 if self._arena is None else self._arena.n_bytes

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint says of the choice, as JSON values; empty without one."""
        if self._lsh is None:
            return {}
        tables = chosen_set(self._config, self._lsh, self._n_labels)
        return {"lsh": tables.state(), "chosen": msgspec.to_builtins(self._lsh)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Make tables as a checkpoint's state says; nothing where it names no choice, or the present one."""
        if state.get("chosen") is None:
            return
        lsh = msgspec.convert(state["chosen"], LshConfig)
        if self._arena is None or lsh != self._lsh:
            self.use(lsh)

    def close(self) -> None:
        """Remove the segment."""
        if self._arena is not None:
            self._arena.unlink()
            self._arena.close()
            self._arena = None


class AttachedTables:
    """A child's side: the segment that the coordinator named last, seen with the run's other arrays."""

    def __init__(self, config: Config, n_labels: int, arena: Arena) -> None:
        self._n_labels = n_labels
        self._shared = arena
        self._own: Arena | None = None
        self._given = config
        self.config = config
        self.arrays: Arrays = arena

    def attach(self, message: UseTables) -> None:
        """Use the tables of ``message``; those before must be in nobody's hands here.

        None, where others have taken their place already: the message that names these is on its way.
        """
        if self._own is not None and self._own.name == message.segment:
            return
        self.detach()
        tables = chosen_set(self._given, message.lsh, self._n_labels)
        with contextlib.suppress(FileNotFoundError):
            self._own = Arena.attach(message.segment, tables.array_specs())
            self.config = with_chosen(self._given, message.lsh)
            self.arrays = ChainMap(dict(self._own), dict(self._shared))

    def detach(self) -> None:
        """Let go of the tables before."""
        self.config, self.arrays = self._given, self._shared
        if self._own is not None:
            self._own.close()
            self._own = None
