"""Limits of control groups: either version, nested, and from inside a container."""

from __future__ import annotations

import pytest

from distlsh.shm import cgroup
from distlsh.shm.cgroup import Limit, tightest
from distlsh.shm.memory import Machine

GIB = 1 << 30


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Make this process's groups: the lines of /proc/self/cgroup, and files below /sys/fs/cgroup."""

    def make(lines, files):
        monkeypatch.setattr(cgroup, "ROOT", tmp_path / "sys")
        monkeypatch.setattr(cgroup, "GROUPS", tmp_path / "groups")
        (tmp_path / "groups").write_text("\n".join(lines) + "\n")
        for name, content in files.items():
            file = tmp_path / "sys" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{content}\n")

    return make


def test_the_tightest_of_nested_groups_counts(groups):
    """A service in a slice: the slice above may have less left than the service's own limit."""
    groups(
        ["0::/user.slice/job.service"],
        {
            "user.slice/memory.max": 8 * GIB,
            "user.slice/memory.current": 7 * GIB,
            "user.slice/job.service/memory.max": 4 * GIB,
            "user.slice/job.service/memory.current": GIB,
        },
    )
    assert tightest("memory") == Limit(8 * GIB, 7 * GIB)


def test_a_container_sees_its_own_limit_at_the_root(groups):
    """The path is the host's, and does not exist inside."""
    groups(["0::/docker/0123"], {"memory.max": 2 * GIB, "memory.current": GIB})
    assert tightest("memory") == Limit(2 * GIB, GIB)


def test_groups_of_the_first_version(groups):
    """Files of other names, one tree a controller; the number that stands for no limit is none."""
    files = {
        "memory/job/memory.limit_in_bytes": 3 * GIB,
        "memory/job/memory.usage_in_bytes": GIB,
        "memory/memory.limit_in_bytes": 9223372036854771712,
        "pids/job/pids.max": 100,
        "pids/job/pids.current": 40,
    }
    groups(["4:memory:/job", "8:pids:/job", "1:name=systemd:/"], files)
    assert tightest("memory") == Limit(3 * GIB, GIB) and tightest("pids") == Limit(100, 40)


def test_clean_pages_of_files_are_not_used(groups):
    """The kernel gives them back: a machine that has read a large file is not full."""
    groups(
        ["0::/"],
        {"memory.max": 2 * GIB, "memory.current": 2 * GIB, "memory.stat": f"anon 5\ninactive_file {GIB}"},
    )
    assert tightest("memory") == Limit(2 * GIB, GIB) and tightest("memory").left == GIB


@pytest.mark.parametrize("text", ["max", "", "-1", "lots"])
def test_no_limit_is_none(groups, text):
    """ "max", and whatever else is no number."""
    groups(["0::/"], {"memory.max": text})
    assert tightest("memory") is None


def test_a_machine_is_no_larger_than_its_group(groups):
    """RAM and what is free of it are those of the group, where that has less."""
    groups(["0::/job"], {"job/memory.max": GIB, "job/memory.current": GIB // 4})
    machine = Machine.measure()
    assert machine.ram_bytes == GIB and machine.ram_free_bytes == GIB - GIB // 4
