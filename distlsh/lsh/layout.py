"""The arrays that tables are made of, and what they take, before anything is allocated."""

from __future__ import annotations

from distlsh.constants import CACHE_LINE_BYTES
from distlsh.errors import ConfigError
from distlsh.lsh.sketch import sketch_spec
from distlsh.lsh.spec import HashSpec
from distlsh.shm.generation import GENERATION_WIDTH
from distlsh.shm.spec import ArraySpec

N_BUFFERS = 2
GENERATION = "tables.generation"
SHARED = ("tables.codes", "tables.weights", "tables.sketch")
"""Arrays that both buffers share."""

ADDED_LATER = ("tables.max_norm",)
"""Arrays that checkpoints from before there were transforms lack; zeros say the same."""


def table_specs(
    spec: HashSpec,
    n_rows: int,
    bucket_size: int,
    *,
    policy: str = "fifo",
    sketch: bool = False,
    buffers: int = N_BUFFERS,
) -> list[ArraySpec]:
    """Return the arrays that hold all buffers of the tables of ``n_rows`` ids.

    tables.ids         i4[buffers, n_tables, n_buckets, bucket_size]: ids, oldest to newest
    tables.sizes       i4[buffers, n_tables, n_buckets]: ids that a bucket holds
    tables.seen        i4[buffers, n_tables, n_buckets]: ids that belong to it, held or not
    tables.unpaired    i4[buffers, n_tables, n_buckets]: what the policy keeps of a bucket: removals that no
                       insertion made good (reservoir), the bits of a float32 bound (bottom_k)
    tables.codes       i4[n_rows, n_tables]: code of each row as last inserted, EMPTY (-1): none
    tables.center      f4[buffers, n_dims]: what rows were hashed relative to
    tables.max_norm    f4[buffers, 16]: place 0 is the length that a transform took for the longest row's
    tables.weights     f4[n_rows], with policy bottom_k: weight of each row as last inserted
    tables.sketch      u8[n_rows, words], with ``sketch``: see `lsh.sketch`
    tables.generation  i8[8]: place 0 is the current generation

    New memory is zeros, which is right for all but ``tables.codes``: fill that with EMPTY.
    Raises ConfigError for a ``bucket_size`` below 1.
    """
    if bucket_size < 1 or n_rows < 0:
        raise ConfigError(
            f"tables of {n_rows} rows with buckets of {bucket_size} cannot be; "
            "lsh.bucket_size must be 1 or more, and the rows 0 or more"
        )
    buckets = (buffers, spec.n_tables, spec.n_buckets)

    def array(name: str, shape: tuple[int, ...], dtype: str, lower: str) -> ArraySpec:
        return ArraySpec(f"tables.{name}", shape, dtype, persistent=True, lower=lower)

    found = [
        array("ids", (*buckets, bucket_size), "i4", f"lsh.bucket_size, lsh.n_tables or {spec.narrower}"),
        array("sizes", buckets, "i4", f"lsh.n_tables or {spec.narrower}"),
        array("seen", buckets, "i4", f"lsh.n_tables or {spec.narrower}"),
        array("unpaired", buckets, "i4", f"lsh.n_tables or {spec.narrower}"),
        array("codes", (n_rows, spec.n_tables), "i4", "lsh.n_tables"),
        array("center", (buffers, spec.n_dims), "f4", "model.hidden"),
        array("max_norm", (buffers, CACHE_LINE_BYTES // 4), "f4", ""),
    ]
    if policy == "bottom_k":
        found.append(array("weights", (n_rows,), "f4", ""))
    if sketch:
        found.append(sketch_spec(n_rows, spec.n_dims))
    return [*found, array("generation", (GENERATION_WIDTH,), "i8", "")]


def table_bytes(
    spec: HashSpec,
    n_rows: int,
    bucket_size: int,
    *,
    policy: str = "fifo",
    sketch: bool = False,
    buffers: int = 1,
) -> int:
    """Return the bytes of the arrays of a set of tables: what `Tables.create` allocates, with one buffer.

    The tables never take more, whatever is inserted.  Pages of an array that nothing was
    written to take no memory, so large tables of few ids take less.
    """
    arrays = table_specs(spec, n_rows, bucket_size, policy=policy, sketch=sketch, buffers=buffers)
    return sum(array.n_bytes for array in arrays)
