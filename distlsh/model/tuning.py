"""The output layer as a tuning problem: which rows are hashed, what is asked, what counts as found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlsh.config.schema import LshConfig
from distlsh.lsh.biased import BiasedRows, as_queries
from distlsh.lsh.frame import HEADROOM, largest_from, mean_row
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.tuning.grid import MAX_PROBES, MAX_TABLES, candidates
from distlsh.lsh.tuning.neighbours import exact_neighbours
from distlsh.lsh.tuning.problem import Problem, some_of
from distlsh.model.network import Instances, Network
from distlsh.model.storage import readable

_BACKGROUND = 8192
_FIXED = ("density", "probing", "transform")
"""Settings that tuning leaves as the configuration has them."""


def pose_output(
    network: Network,
    instances: Instances,
    lsh: LshConfig,
    k: int,
    *,
    sample: int = 512,
    seed: Sequence[int] = (1,),
    without_labels: bool = True,
    beat: Callable[[], None] | None = None,
) -> Problem:
    """Return the problem of the hidden vectors of a sample of instances against all output rows.

    In hashed hidden layers the exact top is active: tables of theirs need not be there yet.

    lsh             whose ``center`` and ``transform`` rows are hashed with
    k               outputs of highest logit that are to be found
    without_labels  an instance's labels do not count: in training they are computed anyway
    beat            called every some hundred milliseconds

    No worker may be changing the network.
    """
    generator = np.random.default_rng(seed)
    chosen = some_of(instances.n_rows, sample, generator)
    hidden = network.hidden(instances, chosen)
    weights, rows = readable(network.output.weights), _hashed_rows(network, lsh)
    center = mean_row(rows) if lsh.center else np.zeros(rows.shape[1], np.float32)
    excluded = [_labels(instances, int(i)) for i in chosen] if without_labels else None
    return Problem(
        rows=rows,
        queries=as_queries(hidden, rows.shape[1]),
        metric="dot",
        neighbours=exact_neighbours(
            weights, hidden, "dot", min(k, len(weights)), excluded=excluded, bias=_bias(network), beat=beat
        ),
        background=some_of(len(weights), _BACKGROUND, generator),
        center=center,
        max_norm=HEADROOM * largest_from(center, rows) if lsh.transform != "none" else None,
        beat=beat,
    )


def output_specs(
    problem: Problem,
    lsh: LshConfig,
    families: Sequence[str],
    seed: int,
    *,
    max_tables: int = MAX_TABLES,
    max_probes: int = MAX_PROBES,
) -> list[HashSpec]:
    """Return the hash functions to try for an output, all with the settings of ``lsh`` that stay."""
    fixed = {name: getattr(lsh, name) for name in _FIXED}
    limits = {"max_tables": max_tables, "max_probes": max_probes}
    return candidates(problem, families, seed=seed, fixed=fixed, **limits)


def _hashed_rows(network: Network, lsh: LshConfig) -> Any:
    """Return what the tables hash: the output's rows, or what is read like them."""
    weights = readable(network.output.weights)
    if not network.spec.bias or lsh.transform == "none":
        return weights
    return BiasedRows(weights, network.output_bias.weights, network.spec.logit_scale)


def _labels(instances: Instances, row: int) -> NDArray[np.int64]:
    return instances.labels[instances.label_indptr[row] : instances.label_indptr[row + 1]].astype(np.int64)


def _bias(network: Network) -> NDArray[np.float32] | None:
    if not network.spec.bias:
        return None
    bias: NDArray[np.float32] = network.output_bias.weights.reshape(-1)
    return bias / np.float32(network.spec.logit_scale)
