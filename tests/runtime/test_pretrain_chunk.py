"""Sizes of the pretraining's tasks."""

from __future__ import annotations

import pytest

from distlsh.config.load import parse_config
from distlsh.runtime.assembly import make_plan
from distlsh.runtime.layout import Sizes


def n_tasks(n_train, workers, batch, pool):
    """Return how many tasks an epoch has, after a look at their sizes."""
    text = f"pretrain: {{epochs: 1, batch_size: {batch}, pool: {pool}}}, run: {{workers: {workers}}}"
    plan = make_plan(parse_config(f"{{data: {{train: x}}, {text}}}"), Sizes(100, 5000, n_train, 0, 1))
    found = -(-n_train // plan.pretrain_chunk)
    last = n_train - (found - 1) * plan.pretrain_chunk
    assert 0 < last <= plan.pretrain_chunk and plan.pretrain_chunk - last < found, "all of one size"
    return found


@pytest.mark.parametrize(
    ("n_train", "workers", "batch", "pool", "tasks"),
    [
        (448_049, 2, 1024, 0, 110),
        (448_049, 2, 1024, 65_536, 8),  # seven would leave a worker idle
        (448_049, 1, 1024, 65_536, 7),
        (448_049, 2, 1024, 1_000_000, 2),  # a pool of more than all instances is all of a worker's
        (10_000, 4, 1024, 0, 4),
        (1_000, 4, 1024, 0, 1),  # fewer than a batch are not divided
        (3_000, 8, 1024, 2048, 2),
    ],
)
def test_tasks_are_large_and_every_worker_has_as_many(n_train, workers, batch, pool, tasks):
    """At most a pool, or four batches; never so small that few instances are compared."""
    assert n_tasks(n_train, workers, batch, pool) == tasks
