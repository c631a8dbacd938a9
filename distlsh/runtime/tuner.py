"""Choosing the output's hash functions in a run, on sampled instances against all output rows."""

from __future__ import annotations

import time

import msgspec

from distlsh.config.schema import AutoConfig, LshConfig
from distlsh.constants import TUNED_FAMILIES
from distlsh.lsh.tuning import Goal, Setting, Tuning, solve
from distlsh.model.network import Instances, Network
from distlsh.model.tuning import output_specs, pose_output
from distlsh.protocol.messages import StartTuning
from distlsh.protocol.reports import Tuned
from distlsh.runtime.child import Link
from distlsh.runtime.layout import tuning_bytes
from distlsh.runtime.setup import ChildSetup

_DRAW = 0xA070
"""Sets the samples of a tuning apart from other random numbers of the run's seed."""


def choose(
    setup: ChildSetup, network: Network, train: Instances, link: Link, wanted: StartTuning
) -> tuple[LshConfig, Tuned]:
    """Return the ``lsh`` group with the hash functions that reach the goal, and what is told of them.

    The neighbours of an instance are the outputs of highest logit that are not its labels:
    labels are always computed, what the tables must find are the others.  No worker may be at work.
    """
    started = time.perf_counter()
    lsh, seed = setup.config.lsh, setup.config.train.seed
    auto = lsh.auto or AutoConfig()
    problem = pose_output(network, train, lsh, auto.k, seed=(seed, _DRAW, wanted.number), beat=link.beat)
    goal = Goal(
        recall=wanted.recall,
        k=auto.k,
        max_candidates=float(auto.n_active or lsh.n_active),
        max_bytes=tuning_bytes(setup.config, setup.n_labels),
    )
    specs = output_specs(problem, lsh, TUNED_FAMILIES, seed)
    tuning = solve(problem, goal, specs, storage="buckets", seed=seed, progress=lambda *_: link.beat())
    return chosen_lsh(lsh, tuning.best), _told(tuning, wanted, time.perf_counter() - started)


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
