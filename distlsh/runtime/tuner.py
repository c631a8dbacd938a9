"""Choosing the output's hash functions in a run, on sampled instances against all output rows."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from distlsh.config.schema import AutoConfig, LshConfig
from distlsh.constants import TUNED_FAMILIES
from distlsh.lsh.biased import BiasedRows, as_queries
from distlsh.lsh.frame import HEADROOM, largest_from, mean_row
from distlsh.lsh.tuning import Goal, Problem, Setting, Tuning, solve
from distlsh.lsh.tuning.grid import MAX_PROBES, MAX_TABLES, candidates
from distlsh.lsh.tuning.neighbours import exact_neighbours
from distlsh.lsh.tuning.problem import some_of
from distlsh.model.network import Instances, Network
from distlsh.protocol.messages import StartTuning
from distlsh.protocol.reports import Tuned
from distlsh.runtime.child import Link
from distlsh.runtime.layout import hashes_bias, tuning_bytes
from distlsh.runtime.setup import ChildSetup

_QUERIES = 512
_BACKGROUND = 8192
_FIXED = ("density", "probing", "transform")
"""Settings that tuning leaves as the configuration has them."""


def choose(
    setup: ChildSetup, network: Network, train: Instances, link: Link, wanted: StartTuning
) -> tuple[LshConfig, Tuned]:
    """Return the ``lsh`` group with the hash functions that reach the goal, and what is told of them.

    The neighbours of an instance are the outputs of highest logit that are not its labels:
    labels are always computed, what the tables must find are the others.  No worker may be at work.
    """
    started = time.perf_counter()
    lsh = setup.config.lsh
    auto = lsh.auto or AutoConfig()
    seed = setup.config.train.seed
    problem = pose(setup, network, train, link, auto.k, seed=(seed, 0xA070, wanted.number))
    specs = candidates(
        problem, TUNED_FAMILIES, max_tables=MAX_TABLES, max_probes=MAX_PROBES, seed=seed,
        fixed={name: getattr(lsh, name) for name in _FIXED},
    )  # fmt: skip
    goal = Goal(
        recall=wanted.recall,
        k=auto.k,
        max_candidates=float(auto.n_active or lsh.n_active),
        max_bytes=tuning_bytes(setup.config, setup.n_labels),
    )
    tuning = solve(problem, goal, specs, storage="buckets", seed=seed, progress=lambda *_: link.beat())
    chosen = chosen_lsh(lsh, tuning.best)
    return chosen, _told(tuning, wanted, time.perf_counter() - started)


def pose(
    setup: ChildSetup, network: Network, train: Instances, link: Link, k: int, seed: tuple[int, ...]
) -> Problem:
    """Return the problem of a sample of instances against all output rows."""
    generator = np.random.default_rng(seed)
    instances = some_of(train.n_rows, _QUERIES, generator)
    hidden = network.hidden(train, instances)
    link.beat()
    weights = network.output.weights
    rows = _hashed_rows(setup, network)
    center = mean_row(rows) if setup.config.lsh.center else np.zeros(rows.shape[1], np.float32)
    return Problem(
        rows=rows,
        queries=as_queries(hidden, rows.shape[1]),
        metric="dot",
        neighbours=exact_neighbours(
            weights, hidden, "dot", min(k, len(weights)),
            excluded=[_labels(train, i) for i in instances], bias=_bias(network), beat=link.beat,
        ),
        background=some_of(len(weights), _BACKGROUND, generator),
        center=center,
        max_norm=HEADROOM * largest_from(center, rows) if setup.config.lsh.transform != "none" else None,
        beat=link.beat,
    )  # fmt: skip


def _hashed_rows(setup: ChildSetup, network: Network) -> Any:
    """Return what the tables hash: the output's rows, or what is read like them."""
    if not hashes_bias(setup.config):
        return network.output.weights
    return BiasedRows(network.output.weights, network.output_bias.weights, network.spec.logit_scale)


def _labels(train: Instances, row: int) -> NDArray[np.int64]:
    return train.labels[train.label_indptr[row] : train.label_indptr[row + 1]].astype(np.int64)


def _bias(network: Network) -> NDArray[np.float32] | None:
    if not network.spec.bias:
        return None
    return network.output_bias.weights.reshape(-1) / np.float32(network.spec.logit_scale)


def chosen_lsh(lsh: LshConfig, best: Setting) -> LshConfig:
    """Return the settings with those of ``best`` in their places, and nothing left to choose."""
    names = ("family", "n_hashes", "n_tables", "n_probes", "probe_order", "dim", "bin_size")
    fields = {name: getattr(best.spec, name) for name in names}
    return msgspec.structs.replace(lsh, **fields, bucket_size=best.bucket_size or lsh.bucket_size, auto=None)


def _told(tuning: Tuning, wanted: StartTuning, tune_s: float) -> Tuned:
    best = tuning.best
    return Tuned(
        samples=wanted.samples,
        target=wanted.recall,
        recall=best.recall,
        candidates=best.candidates,
        n_bytes=best.n_bytes,
        tune_s=tune_s,
        missing=tuning.out_of_reach,
    )
