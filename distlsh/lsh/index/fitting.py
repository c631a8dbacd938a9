"""Make an encoder from data and parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from distlsh.errors import ConfigError
from distlsh.kernels.index_sketch import LARGEST, LINE
from distlsh.lsh import transforms
from distlsh.lsh.index import arrays, settings
from distlsh.lsh.index.encoder import FIRST, SECOND, Encoder, set_bytes
from distlsh.lsh.index.inputs import as_dense
from distlsh.lsh.index.metrics import normalised
from distlsh.lsh.index.projection import SAMPLE, Projection
from distlsh.lsh.index.segment import taken
from distlsh.lsh.rows import Floats, Rows, SparseRows, block, n_rows
from distlsh.lsh.spec import HashSpec

_CLIPPED = 1e-4
"""Share of a sketch's first component that its int8 may clip."""

_MEMBERS_A_LINE = 1.0
"""Cache lines of bits that take as long to compare as a member takes to look up, roughly."""

_NEAR_SAMPLE, _NEAR = 2_000, 10
"""Rows compared with one another, and neighbours of each, to find how far near ones are."""


def fit_encoder(rows: Rows, params: dict[str, Any]) -> Encoder:
    """Return the encoder of an index with parameters ``params`` whose first rows, as stored, are given.

    Raises ConfigError for parameters that do not go together.
    """
    metric = params["metric"]
    settings.check_metric(metric)
    family = settings.choose_family(params["family"], metric)
    max_norm = (transforms.largest_norm(rows) or 1.0) if metric == "dot" else 0.0
    projection, components = _projection(rows, family, params, max_norm)
    n_dims = rows.n_dims if isinstance(rows, SparseRows) else rows.shape[1]
    hashed = components.shape[1] if components is not None else n_dims
    given = {name: params[name] for name in ("n_hashes", "n_tables", "n_probes", "dim")}
    chosen = settings.choose_hashes(family, n_rows(rows), hashed, given)
    others = {name: params[name] for name in ("seed", "bin_size", "density", "code_bits")}
    spec = HashSpec(
        family=family,
        n_dims=hashed,
        l2_width=params["l2_width"] or _l2_width(components if components is not None else _sample(rows)),
        **chosen,
        **others,
    )
    if projection is None or components is None:
        kept = _set_bytes(rows) if metric == "jaccard" else 0
        return Encoder(spec, metric, max_norm, _center(rows, family, metric), set_bytes=kept)
    # Sparse rows are scored as fast as sketches of them would be.
    scale = 0.0 if isinstance(rows, SparseRows) else _scale(components)
    return Encoder(spec, metric, max_norm, None, projection, scale)


def stored_rows(rows: Rows, metric: str) -> Rows:
    """Return checked rows as an index keeps them, in arrays of its own."""
    if metric == "cosine":
        rows = normalised(rows)
    if isinstance(rows, SparseRows):
        return SparseRows(rows.indptr.copy(), rows.indices.copy(), rows.values.copy(), rows.n_dims)
    return arrays.copied(rows)


def _projection(
    rows: Rows, family: str, params: dict[str, Any], max_norm: float
) -> tuple[Projection | None, Floats | None]:
    """Return the projection and the components of a sample that are to be hashed; None: no projection."""
    asked = params["n_components"]
    if asked is not None and asked < 0:
        raise ConfigError(f"n_components is {asked}; it must be 0 (none), more, or None to choose")
    if asked and family not in settings.ROTATIONAL:
        raise ConfigError(
            f"n_components is {asked}, but {family} does not hash principal components; set it to 0"
        )
    sparse = isinstance(rows, SparseRows)
    if isinstance(rows, SparseRows) and asked is None:
        asked = settings.sparse_components(family, rows.n_dims)
    if asked == 0 or family not in settings.ROTATIONAL:
        return None, None
    sample = _sample(rows)
    if params["metric"] == "dot":
        sample = transforms.rows("simple", sample, max_norm)
    most = (asked or 0) if sparse else max(FIRST + SECOND, asked or 0)
    projection = Projection.fit(sample, most, params["seed"])
    hashed = settings.choose_components(asked, projection, n_rows(rows))
    return (projection, projection(sample)[:, :hashed]) if hashed else (None, None)


def _sample(rows: Rows) -> Rows:
    n = n_rows(rows)
    if n <= SAMPLE:
        return rows
    chosen = np.random.default_rng(0).choice(n, SAMPLE, replace=False)
    return taken(rows, np.sort(chosen))


def _scale(components: Floats) -> float:
    largest = float(np.quantile(np.abs(components[:, 0]), 1 - _CLIPPED))
    return LARGEST / largest if largest > 0 else 1.0


def _center(rows: Rows, family: str, metric: str) -> Floats | None:
    """Return the mean of dense rows where directions about it say more; None: the origin."""
    if isinstance(rows, SparseRows) or family not in settings.ANGULAR:
        return None
    center: Floats = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    return center


def _set_bytes(rows: Rows) -> int:
    """Return the bytes of a set as bits where comparing these is cheaper than going over its members."""
    assert isinstance(rows, SparseRows)
    n_bytes = set_bytes(rows.n_dims)
    return n_bytes if n_bytes // LINE <= _MEMBERS_A_LINE * len(rows.indices) / rows.n_rows else 0


def _l2_width(vectors: Rows) -> float:
    """Return a width of slots that neighbours seldom straddle: twice the usual distance of near ones."""
    some = as_dense(block(vectors, 0, min(n_rows(vectors), _NEAR_SAMPLE)))
    squares = np.einsum("ij,ij->i", some, some)
    gaps = squares[:, None] + squares - 2 * some @ some.T
    np.fill_diagonal(gaps, np.inf)
    near = np.sqrt(np.maximum(np.partition(gaps, min(_NEAR, len(some) - 1), axis=1)[:, :_NEAR], 0.0))
    typical = float(np.median(near[np.isfinite(near)])) if np.isfinite(near).any() else 0.0
    return 2 * typical if typical > 0 else 1.0
