"""The judgement of a long run, and a short run that is judged."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soak


def rows(memory, descriptors=10, n=200, interval_s=18.0):
    """Return samples over an hour: ``memory(hours)`` bytes, and descriptors likewise or constant."""
    found = []
    for i in range(n):
        hours = i * interval_s / 3600
        count = descriptors(hours) if callable(descriptors) else descriptors
        found.append(
            {
                "at_s": i * interval_s,
                "memory": {"worker-0": {"Anonymous": memory(hours)}},
                "counts": {"descriptors of worker-0": count, "segments": 1},
                "run_bytes": 5_000_000,
            }
        )
    return found


def series(found, name):
    return next(one for one in soak.judge(found) if one.name == name)


def test_memory_that_grows_slowly_is_found():
    """A leak of 8 MiB an hour is more than allocators' noise, whatever the level."""
    noise = np.random.default_rng(1)
    found = rows(lambda hours: 100e6 + 8 * soak.MIB * hours + noise.normal(0, 1e6))
    one = series(found, "memory of worker-0")
    assert not one.flat and one.per_hour == pytest.approx(8 * soak.MIB, rel=0.2)


def test_a_step_is_told_by_first_and_last_where_the_slope_says_nothing():
    """What a process took once late in an hour has no slope, and is 4 MiB more all the same."""
    found = soak.judge(rows(lambda hours: (100 + 4 * (hours > 0.9)) * soak.MIB))
    assert soak.memory(found) == {
        "worker-0": {"first": 100.0, "last": 104.0, "grown_by_slope": 0.0, "an_hour": 0.0}
    }


def test_memory_that_comes_and_goes_is_flat():
    """Evaluations that take 50 MiB for a moment, and growth in the warm-up, say nothing of a leak."""
    noise = np.random.default_rng(2)
    peaks = rows(lambda hours: 100e6 + 50e6 * (noise.random() < 0.2) + 30e6 * min(hours, 0.15) / 0.15)
    assert series(peaks, "memory of worker-0").flat


def test_descriptors_that_stay_open_are_found_and_those_of_a_moment_are_not():
    """A descriptor more at the end than at the start is a leak, a checkpoint's file is none."""
    leaking = rows(lambda hours: 1e8, lambda hours: 10 + int(3 * hours))
    assert not series(leaking, "descriptors of worker-0").flat
    noise = np.random.default_rng(3)
    passing = rows(lambda hours: 1e8, lambda hours: 10 + int(noise.random() < 0.3))
    assert series(passing, "descriptors of worker-0").flat
    assert series(passing, "segments").flat


def run(tmp_path, minutes, interval_s):
    output = tmp_path / "soak.json"
    code = soak.main(["--minutes", str(minutes), "--interval", str(interval_s), "--output", str(output)])
    found = json.loads(output.read_text())
    grown = [one for one in found["series"] if one["growth"] > one["bound"]]
    return code, found, grown


@pytest.mark.slow
def test_twenty_seconds_leak_no_descriptor_segment_or_file(tmp_path):
    """Evaluations, checkpoints and refreshes leave counts as they were; memory is judged in longer runs."""
    _, found, grown = run(tmp_path, 1 / 3, 0.5)
    assert [one["name"] for one in grown if not one["name"].startswith("memory")] == []
    assert found["left"] == []
    assert found["evaluations"] >= 2 and found["checkpoints"] >= 2


@pytest.mark.slow
def test_two_minutes_are_flat(tmp_path):
    """The whole judgement, memory too, over two minutes; an hour of it is ``benchmarks/soak.py``."""
    code, found, grown = run(tmp_path, 2, 1)
    assert grown == [] and found["left"] == []
    assert code == 0
