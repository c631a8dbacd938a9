"""The judgement of what a fault or a stop costs, and how parts of a long check are run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import recovery

ROOT = Path(__file__).parents[2]


def figures(**changes):
    """Return figures as they were measured, with other worst seconds for some."""
    worst = {
        "killed": 0.4,
        "usual": 1.5,
        "gap": 1.2,
        "rehasher_gap": 2.2,
        "first": 4.0,
        "second": 0.4,
        **changes,
    }

    def of(name, gap):
        return {"seconds": {"worst": worst.get(name, 3.5)}, "longest_without_chunk_s": {"worst": worst[gap]}}

    return {
        "recoveries": {
            "nothing": of("none", "usual"),
            "worker killed": of("killed", "gap"),
            "worker stopped": of("stopped", "gap"),
            "rehasher killed": of("rehasher", "rehasher_gap"),
        },
        "stops": {
            "training, first signal": {"seconds": {"worst": worst["first"]}},
            "training, second signal": {"seconds": {"worst": worst["second"]}},
        },
    }


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({}, []),
        ({"killed": 2.1}, ["a killed worker is back"]),
        ({"second": 2.1}, ["training, second signal ends"]),
        ({"rehasher_gap": 2.6}, ["the other worker's chunks, rehasher killed"]),
        ({"rehasher_gap": 2.6, "usual": 2.0}, []),
        ({"first": 9.0}, []),
    ],
)
def test_a_slow_restart_a_slow_stop_and_a_stall_fail(changes, what):
    """What is beyond two seconds, or beyond an undisturbed run's longest chunk and a second more."""
    assert [one.what for one in recovery.judge(figures(**changes)) if one.worst_s > one.bound_s] == what


@pytest.mark.parametrize(("codes", "code"), [((0, 1, 0), 1), ((0, 0, 0), 0)])
def test_a_part_that_fails_stops_no_other_and_is_named_at_the_end(codes, code):
    """Three hours of checks are not lost to the first that fails."""
    parts = "".join(f'part "part {i}" sh -c "echo ran {i}; exit {n}"\n' for i, n in enumerate(codes))
    done = subprocess.run(
        ["bash", "-uo", "pipefail", "-c", f"source .ci/parts\n{parts}verdict"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert [line for line in done.stdout.splitlines() if line.startswith("ran")] == [
        "ran 0",
        "ran 1",
        "ran 2",
    ]
    assert ("failed: part 1;" in done.stderr) == bool(code)
