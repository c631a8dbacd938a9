"""A short chaos run: the whole of `distlsh bench chaos` with a few faults."""

from __future__ import annotations

import msgspec
import pytest

from distlsh.cli.chaos import fault_line, show, write_json
from distlsh.runtime.chaos.bench import run_chaos
from distlsh.runtime.chaos.prepare import base_config
from distlsh.runtime.prctl import adopt_orphans


@pytest.fixture
def own_orphans():
    """Chaos adopts what its run leaves; give that back."""
    before = adopt_orphans(True)
    yield
    adopt_orphans(before)


@pytest.mark.slow
def test_eight_faults_lose_nothing_and_leave_nothing(tmp_path, own_orphans, capsys):
    """All checks of the verdict hold: completion, visits, P@1, leftovers, descriptors, restarts."""
    told = []
    config = base_config(None, [], 2, tmp_path / "cache")
    report = run_chaos(config, tmp_path / "chaos", seed=5, n_faults=8, n_calm=1, on_fault=told.append)
    assert [(check.what, check.found) for check in report.checks if not check.holds] == []
    assert report.struck >= 8 and report.holds
    assert len(report.checks) >= 9
    show(report)
    write_json(report, tmp_path / "chaos.json")
    written = msgspec.json.decode((tmp_path / "chaos.json").read_bytes())
    assert written["seed"] == 5 and len(written["outcomes"]) == len(told)
    assert all(str(one.number) in fault_line(one) for one in told)
    assert "every sample was trained in every epoch" in capsys.readouterr().out
