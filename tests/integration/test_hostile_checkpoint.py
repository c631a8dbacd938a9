"""A checkpoint whose checksums are right and whose content cannot be: refused before any child starts."""

from __future__ import annotations

import pytest
from watching import Watcher

from distlsh.errors import CheckpointError, RunInterrupted
from distlsh.model.checkpoint import latest_checkpoint, read_checkpoint, write_checkpoint
from distlsh.runtime.launch import run
from tests.integration.test_whole_run import signal_self


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, cache):
    """Stop a run in the middle; return its directory, its checkpoint's arrays and state."""
    from tests.integration.conftest import BASE, Config, msgspec

    config = msgspec.convert({**BASE, "data": {**BASE["data"], "cache_dir": str(cache)}}, Config)
    path = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(RunInterrupted):
        run(config, observer=Watcher(2500, signal_self()), run_dir=path)
    return config, path, *read_checkpoint(latest_checkpoint(path).path)


def put(arrays, name, value, place=0):
    changed = arrays[name].copy()
    changed.reshape(-1)[place] = value
    arrays[name] = changed


def everywhere(arrays, name, value):
    arrays[name] = arrays[name].copy()
    arrays[name][...] = value


HOSTILE = {
    "an id beyond the rows": (lambda a, s: everywhere(a, "tables.ids", 1500), r"tables\.ids"),
    "a negative id": (lambda a, s: everywhere(a, "tables.ids", -7), r"tables\.ids"),
    "a bucket too full": (lambda a, s: everywhere(a, "tables.sizes", 33), r"tables\.ids"),
    "a code beyond the buckets": (lambda a, s: put(a, "tables.codes", 1 << 30), r"tables\.codes"),
    "a negative generation": (lambda a, s: put(a, "tables.generation", -1), r"tables\.generation"),
    "the last generation": (lambda a, s: put(a, "tables.generation", 2**63 - 1), r"tables\.generation"),
    "rows of another width": (
        lambda a, s: a.update({"output.weights": a["output.weights"][:, :60]}),
        r"output\.weights is float32\[1500, 60\] in the checkpoint, float32\[1500, 64\]",
    ),
    "weights of another type": (
        lambda a, s: a.update({"output.weights": a["output.weights"].astype("f8")}),
        r"output\.weights is float64",
    ),
    "a chunk beyond the data": (lambda a, s: s["position"].update(chunks=[[5990, 6100]]), "a chunk"),
    "a chunk from behind": (lambda a, s: s["position"].update(chunks=[[-5, 10]]), "a chunk"),
    "an epoch too many": (lambda a, s: s["position"].update(epoch=9), "epoch is 9"),
    "an unknown stage": (lambda a, s: s["position"].update(stage="lunch"), "stage is lunch"),
    "no position": (lambda a, s: s.pop("position"), "does not describe a run"),
    "no model": (lambda a, s: s.pop("model"), "does not describe a run"),
    "a configuration of text": (lambda a, s: s.update(config="mine"), "does not describe a run"),
    "counters too many": (lambda a, s: s.update(counters=[0.0] * 999), "does not describe a run"),
    "a counter beyond floats": (lambda a, s: s.update(counters=[10**400]), "does not describe a run"),
    "a counter without end": (lambda a, s: s.update(counters=[float("inf")]), "counter SAMPLES is inf"),
    "a task that no message names": (lambda a, s: s["position"].update(next_task=-1), "next_task is -1"),
    "seconds in words": (lambda a, s: s.update(eval_s="x"), "does not describe a run"),
    "another schedule": (
        lambda a, s: s["position"].update(schedule={**s["position"]["schedule"], "initial": 10**400}),
        "schedule is",
    ),
    "no figures": (lambda a, s: s.pop("meter"), "does not describe a run"),
}


def test_what_cannot_be_is_refused_by_name(stopped):
    """Ids, sizes, codes, generation, shapes, position, figures: each is found, and named."""
    config, path, arrays, state = stopped
    for what, (change, words) in HOSTILE.items():
        hostile, said = dict(arrays), {**state, "position": dict(state["position"])}
        change(hostile, said)
        write_checkpoint(path / "checkpoints", "hostile", hostile, said, keep=1)
        with pytest.raises(CheckpointError, match=words):
            run(config, resume=path)
            pytest.fail(f"{what}: nothing was found")
