"""What a run writes as it goes on: bounded, whatever the disk says."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import msgspec
import pytest

from distlsh.config.schema import Config
from distlsh.protocol.reports import Report
from distlsh.runtime import journal
from distlsh.runtime.journal import Journal, log_line
from distlsh.runtime.rotation import append_rotated, parts
from distlsh.runtime.run_dir import RunDir


@pytest.fixture
def run_dir(tmp_path):
    return RunDir.create(tmp_path / "run", "run")


def report(train_s):
    numbers = dict.fromkeys(("epoch", "epochs", "samples", "epoch_done", "epoch_size", "samples_per_s"), 0)
    return Report(time_s=train_s, train_s=train_s, phase="train", worker_samples_per_s=[], **numbers)


class Clock:
    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def lines_of_a_day(run_dir, monkeypatch):
    """The lines of a day of training, a report a second, and one more as the run ends."""
    clock = Clock()
    monkeypatch.setattr(journal, "time", clock)
    written = Journal(run_dir, 1.0, 1000, lambda level, text: None)
    for second in range(86_400):
        clock.now = float(second)
        written.report(report(float(second)))
    written.report(report(86_400.0), last=True)
    return [msgspec.json.decode(line, type=Report) for line in run_dir.metrics.read_bytes().splitlines()]


def test_the_first_hour_is_written_in_full_and_later_ones_thinner(lines_of_a_day):
    """3,600 lines an hour at first; a day has no more than some 15,000, of which the last is the end."""
    times = [line.train_s for line in lines_of_a_day]
    assert times[:3601] == [float(second) for second in range(3601)]
    assert 12_000 < len(times) < 16_000
    assert times[-1] == 86_400.0
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert max(gaps) <= 26  # 1/3600 of a day, and the second until the next report


def test_a_log_is_kept_in_three_parts_of_bounded_size(tmp_path):
    """The newest lines are in the file, the ones before in .1 and .2, older ones are gone; none is cut."""
    path = tmp_path / "some.log"
    for i in range(100):
        append_rotated(path, f"line {i:03d}\n", 90)
    assert [part.name for part in parts(path)] == ["some.log.2", "some.log.1", "some.log"]
    assert all(part.stat().st_size <= 90 for part in parts(path))
    lines = "".join(part.read_text() for part in parts(path)).splitlines()
    assert lines == [f"line {i:03d}" for i in range(100 - len(lines), 100)] and len(lines) >= 20


def test_the_coordinators_log_says_when_and_what(run_dir):
    """Notices and errors have date, time and level, a line each."""
    log_line(run_dir, "warning", "worker-0 was ended by SIGKILL", 1000)
    text = (run_dir.logs / "coordinator.log").read_text()
    assert text.endswith(" warning: worker-0 was ended by SIGKILL\n") and text[:2] == "20"


def test_a_disk_that_refuses_is_told_once_and_ends_nothing(run_dir):
    """A log that cannot be written is one warning, however often it is tried."""
    told = []
    written = Journal(run_dir, 1.0, 1000, lambda level, text: told.append(text))
    os.rmdir(run_dir.logs)
    written.note("info", "one")
    written.note("info", "two")
    assert len(told) == 1 and "goes on without writing" in told[0]


_CHILD = """
import faulthandler, os, sys
from pathlib import Path
from distlsh.runtime import child
child._log.begin(Path(sys.argv[1]), 2000)
for i in range(200):
    child.log(f"line {i:03d}")
print("printed", flush=True)
faulthandler.dump_traceback()
assert len(os.listdir("/proc/self/fd")) < 20
"""


def test_a_childs_output_follows_the_rotation(tmp_path):
    """After rotations, prints and faults of the interpreter still go to the newest part."""
    path = tmp_path / "logs" / "worker-0.log"
    subprocess.run([sys.executable, "-c", _CHILD, str(path)], check=True)
    assert len(parts(path)) == 3
    newest = path.read_text()
    assert "line 199" in newest and "printed" in newest and "most recent call first" in newest
    assert all(part.stat().st_size < 3000 for part in parts(path))


def test_a_log_has_a_least_size():
    """A part must hold at least some lines."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"run": {"log_bytes": 10}}, Config)
