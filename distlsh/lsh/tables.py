"""Hash tables in flat, shared arrays: two buffers, one of them current."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlsh.constants import CACHE_LINE_BYTES
from distlsh.errors import ConfigError, ShapeError
from distlsh.kernels.tables import FIFO, RESERVOIR, copy_changed, insert_rows, move_rows, remove_rows
from distlsh.lsh.spec import HashSpec
from distlsh.shm.generation import GENERATION_WIDTH
from distlsh.shm.spec import ArraySpec

Ids = NDArray[np.int32]
Marks = NDArray[np.uint8]

POLICIES = {"fifo": FIFO, "reservoir": RESERVOIR}
N_BUFFERS = 2
GENERATION = "tables.generation"


def table_specs(spec: HashSpec, n_rows: int, bucket_size: int) -> list[ArraySpec]:
    """Return the shared arrays that hold both buffers of the tables of ``n_rows`` ids.

    tables.ids         i4[2, n_tables, n_buckets, bucket_size]: ids, oldest to newest
    tables.sizes       i4[2, n_tables, n_buckets]: ids that a bucket holds
    tables.seen        i4[2, n_tables, n_buckets]: ids that belong to it, held or not
    tables.unpaired    i4[2, n_tables, n_buckets]: removals that no insertion made good (reservoir)
    tables.codes       i4[n_rows, n_tables]: code of each row as last inserted, EMPTY (-1): none
    tables.center      f4[2, n_dims]: what rows were hashed relative to
    tables.max_norm    f4[2, 16]: place 0 is the length that a transform took for the longest row's
    tables.generation  i8[8]: place 0 is the current generation

    New memory is zeros, which is right for all but ``tables.codes``: fill that with EMPTY.
    """
    buckets = (N_BUFFERS, spec.n_tables, spec.n_buckets)
    narrower = "lsh.n_hashes" + (" or lsh.dim" if spec.family == "cross_polytope" else "")

    def array(name: str, shape: tuple[int, ...], dtype: str, lower: str) -> ArraySpec:
        return ArraySpec(f"tables.{name}", shape, dtype, persistent=True, lower=lower)

    return [
        array("ids", (*buckets, bucket_size), "i4", f"lsh.bucket_size, lsh.n_tables or {narrower}"),
        array("sizes", buckets, "i4", f"lsh.n_tables or {narrower}"),
        array("seen", buckets, "i4", f"lsh.n_tables or {narrower}"),
        array("unpaired", buckets, "i4", f"lsh.n_tables or {narrower}"),
        array("codes", (n_rows, spec.n_tables), "i4", "lsh.n_tables"),
        array("center", (N_BUFFERS, spec.n_dims), "f4", "model.hidden"),
        array("max_norm", (N_BUFFERS, CACHE_LINE_BYTES // 4), "f4", ""),
        array("generation", (GENERATION_WIDTH,), "i8", ""),
    ]


@dataclass(frozen=True)
class TableStats:
    """How full one buffer is; shares are of all buckets of all tables."""

    n_ids: int  # held, summed over tables
    n_seen: int  # inserted and not removed, summed over tables
    size_mean: float  # of the buckets that hold any
    size_max: int
    used_share: float  # buckets that hold any
    full_share: float  # buckets that hold as many as they can
    overflow_share: float  # of the ids seen, those that no bucket holds


class Tables:
    """One buffer of the tables.

    ``arrays`` maps the names of `table_specs` to arrays; ``buffer`` is 0 or 1; ``policy``
    "fifo" or "reservoir"; ``seed`` is of the reservoir's choices, which depend on the
    bucket, its population and the id alone, so no random state is kept.

    Views, writable by one process at a time:
    ids       i4[n_tables, n_buckets, bucket_size]
    sizes     i4[n_tables, n_buckets]
    center    f4[n_dims]
    max_norm  f4[16], of which place 0 is used
    codes     i4[n_rows, n_tables], shared by both buffers; callers keep it, the methods do not touch it
    """

    def __init__(
        self, arrays: Mapping[str, NDArray[Any]], buffer: int, policy: str = "fifo", seed: int = 1
    ) -> None:
        if policy not in POLICIES:
            raise ConfigError(f"lsh.bucket_policy is {policy!r}; it must be one of {', '.join(POLICIES)}")
        if buffer not in range(N_BUFFERS):
            raise ShapeError(f"tables have buffers 0 and 1, not {buffer}")
        self.ids: Ids = arrays["tables.ids"][buffer]
        self.sizes: Ids = arrays["tables.sizes"][buffer]
        self.seen: Ids = arrays["tables.seen"][buffer]
        self.unpaired: Ids = arrays["tables.unpaired"][buffer]
        self.center: NDArray[np.float32] = arrays["tables.center"][buffer]
        self.max_norm: NDArray[np.float32] = arrays["tables.max_norm"][buffer]
        self.codes: Ids = arrays["tables.codes"]
        self._policy = POLICIES[policy]
        self._seed = np.uint64(seed & 0xFFFFFFFFFFFFFFFF)
        self._changed: Marks = np.zeros((0, 0), np.uint8)  # none kept until there is a copy to compare with
        self._copied_with: Tables | None = None

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
        """Empty every bucket; leaves the center, ``max_norm`` and ``codes``."""
        for array in (self.sizes, self.seen, self.unpaired):
            array[...] = 0
        self._changed[...] = 1

    def insert(self, ids: Ids, codes: Ids) -> None:
        """Insert ``ids`` i4[n], none of them in the tables, by ``codes`` i4[n, n_tables]; -1 skips a table.

        Fast for many ids a call: it goes table by table.
        Raises ShapeError for other shapes, and for ids or codes out of range.
        """
        self._check(ids, codes)
        insert_rows(*self._arrays(), self._changed, self._policy, self._seed, ids, codes)

    def remove(self, ids: Ids, codes: Ids) -> None:
        """Take out ``ids`` i4[n] inserted with ``codes`` i4[n, n_tables]; the others keep their order.

        Raises ShapeError for other shapes, and for ids or codes out of range.
        """
        self._check(ids, codes)
        remove_rows(*self._arrays(), self._changed, self._policy, ids, codes)

    def move(self, ids: Ids, old_codes: Ids, new_codes: Ids) -> int:
        """Remove and insert ``ids`` where their code changed; return how many (id, table) pairs moved.

        -1 in ``old_codes`` means not in the table, in ``new_codes`` that it shall leave it.
        Raises ShapeError for other shapes, and for ids or codes out of range.
        """
        self._check(ids, old_codes)
        self._check(ids, new_codes)
        return int(
            move_rows(*self._arrays(), self._changed, self._policy, self._seed, ids, old_codes, new_codes)
        )

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

    def stats(self) -> TableStats:
        """Return how full the buckets are."""
        n_ids, n_seen = int(self.sizes.sum(dtype=np.int64)), int(self.seen.sum(dtype=np.int64))
        n_used = int(np.count_nonzero(self.sizes))
        return TableStats(
            n_ids=n_ids,
            n_seen=n_seen,
            size_mean=n_ids / max(1, n_used),
            size_max=int(self.sizes.max(initial=0)),
            used_share=n_used / self.sizes.size,
            full_share=float(np.mean(self.sizes == self.bucket_size)),
            overflow_share=(n_seen - n_ids) / max(1, n_seen),
        )

    def _check(self, ids: Ids, codes: Ids) -> None:
        if ids.ndim != 1 or codes.shape != (len(ids), self.n_tables):
            raise ShapeError(
                f"ids of shape {ids.shape} with codes of shape {codes.shape}; "
                f"these tables take (n,) and (n, {self.n_tables})"
            )
        if len(ids) and (ids.min() < 0 or ids.max() >= self.n_rows):
            raise ShapeError(f"ids from {ids.min()} to {ids.max()}; these tables take [0, {self.n_rows})")
        if codes.size and codes.max() >= self.n_buckets:
            raise ShapeError(f"codes reach {codes.max()}; these tables have {self.n_buckets} buckets")
