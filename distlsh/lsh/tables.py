"""Hash tables in flat arrays, which processes may share: two buffers, one of them current."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from distlsh.config.schema import Policy
from distlsh.constants import EMPTY
from distlsh.errors import ConfigError, ShapeError, UsageError
from distlsh.kernels.tables import FIFO, RESERVOIR, copy_changed, insert_rows, move_rows, remove_rows
from distlsh.lsh.layout import GENERATION, N_BUFFERS, table_specs
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.stats import TableStats
from distlsh.lsh.storage import ARRAYS, read_tables, write_tables

__all__ = ["GENERATION", "N_BUFFERS", "POLICIES", "TableStats", "Tables", "table_specs"]

Ids = NDArray[np.int32]
Floats = NDArray[np.float32]
Marks = NDArray[np.uint8]

POLICIES: tuple[str, ...] = get_args(Policy)
_CODES = {"fifo": FIFO, "reservoir": RESERVOIR}

_MANY = 4096
"""Ids whose insertion into empty buckets is worth a sort by rank, and a pass over all counts."""


class Tables:
    """One buffer of the tables.

    arrays  maps the names of `table_specs` to arrays
    buffer  0 or 1
    policy  what a full bucket keeps: "fifo" the newest ids, "reservoir" a uniform sample of all,
            "bottom_k" a sample weighted by the ids' weights
    seed    of the choices of "reservoir", which depend on the bucket, its population and the id alone,
            and of "bottom_k", which depend on table and id alone: no random state is kept
    spec    how rows are hashed; needed by `save` alone

    Views, writable by one process at a time:
    ids      i4[n_tables, n_buckets, bucket_size]
    sizes    i4[n_tables, n_buckets]
    center   f4[n_dims]
    max_norm f4[16], of which place 0 is used
    codes    i4[n_rows, n_tables], shared by both buffers; callers keep it, the methods do not touch it
    weights  f4[n_rows] with "bottom_k", shared by both buffers, kept by the methods; None otherwise
    sketch   u8[n_rows, words], shared by both buffers, kept by callers; None where there is none
    """

    def __init__(
        self,
        arrays: Mapping[str, NDArray[Any]],
        buffer: int,
        policy: str = "fifo",
        seed: int = 1,
        spec: HashSpec | None = None,
    ) -> None:
        if policy not in POLICIES:
            raise ConfigError(f"lsh.bucket_policy is {policy!r}; it must be one of {', '.join(POLICIES)}")
        if buffer not in range(N_BUFFERS):
            raise ShapeError(f"tables have buffers 0 and 1, not {buffer}")
        self.ids: Ids = arrays["tables.ids"][buffer]
        self.sizes: Ids = arrays["tables.sizes"][buffer]
        self.seen: Ids = arrays["tables.seen"][buffer]
        self.unpaired: Ids = arrays["tables.unpaired"][buffer]
        self.center: Floats = arrays["tables.center"][buffer]
        self.max_norm: Floats = arrays["tables.max_norm"][buffer]
        self.codes: Ids = arrays["tables.codes"]
        self.weights: Floats | None = arrays["tables.weights"] if policy == "bottom_k" else None
        self.sketch: NDArray[np.uint64] | None = arrays.get("tables.sketch")
        self.policy, self.seed, self.spec = policy, seed, spec
        self._policy = _CODES.get(policy)
        self._seed = np.uint64(seed & 0xFFFFFFFFFFFFFFFF)
        self._changed: Marks = np.zeros((0, 0), np.uint8)  # none kept until there is a copy to compare with
        self._copied_with: Tables | None = None

    @classmethod
    def create(
        cls,
        spec: HashSpec,
        n_rows: int,
        bucket_size: int = 64,
        policy: str = "fifo",
        seed: int = 1,
        *,
        sketch: bool = False,
    ) -> Tables:
        """Return empty tables of one buffer in this process's own memory: `table_bytes` of it."""
        specs = table_specs(spec, n_rows, bucket_size, policy=policy, sketch=sketch, buffers=1)
        arrays = {item.name: np.zeros(item.shape, item.dtype) for item in specs}
        arrays["tables.codes"][...] = EMPTY
        return cls(arrays, 0, policy, seed, spec)

    @classmethod
    def load(cls, path: str | os.PathLike[str], mmap: bool = True, *, verify: bool = True) -> Tables:
        """Return tables that `save` wrote.

        mmap    map the files read-only, so that all processes that do share their pages; the tables
                can then be read, not changed
        verify  compare checksums and look at every id, which reads the files; sizes are always compared

        Raises StoreError, naming the file, for a damaged or foreign folder.
        """
        arrays, spec, settings = read_tables(Path(path), mmap=mmap, verify=verify)
        return cls(arrays, 0, settings["policy"], settings["seed"], spec)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tables to a folder: ``.npy`` files and a manifest; tables saved there are replaced.

        Nobody may write to the tables meanwhile.  Raises UsageError for tables made without
        a ``spec`` and for a folder of something else, ResourceError where it cannot be written.
        """
        if self.spec is None:
            raise UsageError("only tables that know how rows were hashed can be saved; give Tables a spec")
        arrays = {name: getattr(self, name) for name in ARRAYS if getattr(self, name) is not None}
        write_tables(Path(path), arrays, self.spec, {"policy": self.policy, "seed": self.seed})

    @property
    def n_tables(self) -> int:
        """Tables, L."""
        return int(self.ids.shape[0])

    @property
    def n_buckets(self) -> int:
        """Buckets of a table."""
        return int(self.ids.shape[1])

    @property
    def bucket_size(self) -> int:
        """Ids that a bucket holds at most."""
        return int(self.ids.shape[2])

    @property
    def n_rows(self) -> int:
        """Ids that there are: [0, n_rows)."""
        return int(self.codes.shape[0])

    def clear(self) -> None:
        """Empty every bucket; leaves all that is not of buckets."""
        self._check_writable()
        for array in (self.sizes, self.seen, self.unpaired):
            array[...] = 0
        self._changed[...] = 1

    def insert(self, ids: Ids, codes: Ids, weights: Floats | None = None) -> None:
        """Insert ``ids`` i4[n], none of them in the tables, by ``codes`` i4[n, n_tables]; -1 skips a table.

        weights  f4[n], of the ids; needed by, and only used with, policy "bottom_k"

        Fast for many ids a call: it goes table by table.
        Raises ShapeError for other shapes, and for ids or codes out of range; UsageError for
        missing weights and for tables that are mapped read-only.
        """
        self._check(ids, codes)
        if self._policy is not None:
            insert_rows(*self._arrays(), self._changed, self._policy, self._seed, ids, codes)
            return
        stored = self._weights_of(ids, weights)
        stored[ids] = weights
        if len(ids) >= _MANY and not self.seen.any():
            self._fill_ranked(ids, np.arange(len(ids), dtype=np.int32), codes)
            return
        from distlsh.kernels.bottom_k import insert_ranked

        insert_ranked(*self._ranked(), self._changed, self._seed, stored, ids, codes)

    def fill(self, order: Ids, weights: Floats) -> None:
        """Insert all rows by `codes` into empty buckets of policy "bottom_k", faster than one by one.

        order    i4[n_rows], the row numbers in any order; it decides among equal ranks
        weights  f4[n_rows], of rows 0, 1, ...

        The same as ``insert(order, codes[order], weights[order])``, without a copy of the codes.
        Raises what `insert` raises, and UsageError where buckets hold ids or the policy is another.
        """
        if self.weights is None or self.seen.any():
            raise UsageError("only empty tables of policy bottom_k can be filled; clear them, or insert")
        self._check(order, self.codes)
        self._weights_of(order, weights)[...] = weights
        self._fill_ranked(order, order, self.codes)

    def _fill_ranked(self, ids: Ids, places: Ids, codes: Ids) -> None:
        from distlsh.kernels.bottom_k_fill import fill_ranked

        fill_ranked(*self._ranked(), self._changed, self._seed, self.weights, ids, places, codes)

    def remove(self, ids: Ids, codes: Ids) -> None:
        """Take out ``ids`` i4[n] inserted with ``codes`` i4[n, n_tables]; the others keep their order.

        Raises ShapeError for other shapes, and for ids or codes out of range.
        """
        self._check(ids, codes)
        if self._policy is not None:
            remove_rows(*self._arrays(), self._changed, self._policy, ids, codes)
            return
        from distlsh.kernels.bottom_k import remove_ranked

        remove_ranked(*self._ranked(), self._changed, ids, codes)

    def move(self, ids: Ids, old_codes: Ids, new_codes: Ids, weights: Floats | None = None) -> int:
        """Remove and insert ``ids`` where their code changed; return how many (id, table) pairs moved.

        -1 in ``old_codes`` means not in the table, in ``new_codes`` that it shall leave it.
        weights  as `insert`; an id whose weight changed takes its new place in all its buckets
        Raises what `insert` raises.
        """
        self._check(ids, old_codes)
        self._check(ids, new_codes)
        if self._policy is not None:
            rest = (self._policy, self._seed, ids, old_codes, new_codes)
            return int(move_rows(*self._arrays(), self._changed, *rest))
        return self._move_ranked(ids, old_codes, new_codes, weights)

    def _move_ranked(self, ids: Ids, old: Ids, new: Ids, weights: Floats | None) -> int:
        from distlsh.kernels.bottom_k import move_ranked

        stored = self._weights_of(ids, weights)
        assert weights is not None
        same = stored[ids] == weights
        rest = (stored, ids[same], old[same], new[same])
        moved = int(move_ranked(*self._ranked(), self._changed, self._seed, *rest))
        if not same.all():
            # Buckets are in the order of the weights as stored: all out, then the new weights, then in.
            other = ~same
            self.remove(ids[other], old[other])
            self.insert(ids[other], new[other], weights[other])
            moved += int(np.count_nonzero(old[other] != new[other]))
        return moved

    def copy_from(self, other: Tables) -> None:
        """Become a copy of the other buffer, its center and ``max_norm`` included.

        The first call copies all that the other holds.  From then on both objects remember the
        buckets that they write, and a call copies those alone: it costs what changed since the
        last one.  So all writing to the two buffers must go through these two objects; whoever
        makes new ones, as a process that starts anew does, begins with a whole copy.
        """
        if other._copied_with is not self or self._copied_with is not other:
            self._remember(other)
            other._remember(self)
        self.center[...] = other.center
        self.max_norm[...] = other.max_norm
        copy_changed(*other._arrays(), *self._arrays(), other._changed, self._changed)

    def _remember(self, other: Tables) -> None:
        self._copied_with = other
        self._changed = np.ones(self.sizes.shape, np.uint8)

    def _arrays(self) -> tuple[Ids, Ids, Ids, Ids]:
        return self.ids, self.sizes, self.seen, self.unpaired

    def counts(self) -> tuple[int, int]:
        """Return how many ids are held, and how many belong to buckets; summed over tables."""
        return int(self.sizes.sum(dtype=np.int64)), int(self.seen.sum(dtype=np.int64))

    def stats(self) -> TableStats:
        """Return how full the buckets are."""
        return TableStats.of(self.sizes, self.seen, self.bucket_size)

    def _ranked(self) -> tuple[Ids, Ids, Ids, Floats]:
        return self.ids, self.sizes, self.seen, self.unpaired.view(np.float32)

    def _weights_of(self, ids: Ids, weights: Floats | None) -> Floats:
        assert self.weights is not None
        if weights is None or weights.shape != ids.shape:
            found = "none" if weights is None else f"an array of shape {weights.shape}"
            raise UsageError(
                f"{len(ids)} ids for buckets that keep by weight, but their weights are {found}; "
                "give one an id, such as the norms of the rows"
            )
        return self.weights

    def _check_writable(self) -> None:
        if not self.ids.flags.writeable:
            raise UsageError("these tables are mapped read-only; load them with mmap=False to change them")

    def _check(self, ids: Ids, codes: Ids) -> None:
        self._check_writable()
        if ids.ndim != 1 or codes.shape != (len(ids), self.n_tables):
            raise ShapeError(
                f"ids of shape {ids.shape} with codes of shape {codes.shape}; "
                f"these tables take (n,) and (n, {self.n_tables})"
            )
        if len(ids) and (ids.min() < 0 or ids.max() >= self.n_rows):
            raise ShapeError(f"ids from {ids.min()} to {ids.max()}; these tables take [0, {self.n_rows})")
        if codes.size and codes.max() >= self.n_buckets:
            raise ShapeError(f"codes reach {codes.max()}; these tables have {self.n_buckets} buckets")
