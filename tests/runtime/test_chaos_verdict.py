"""What a chaos run must not let pass."""

from __future__ import annotations

import os
import subprocess

import pytest

from distlsh.runtime.chaos import sight
from distlsh.runtime.chaos.faults import Choices, plan_faults
from distlsh.runtime.chaos.figures import Seconds, figures
from distlsh.runtime.chaos.prepare import Calm
from distlsh.runtime.chaos.strikes import Outcome
from distlsh.runtime.chaos.target import Life, Target
from distlsh.runtime.chaos.verdict import judge, recoveries


def outcome(number, **fields):
    common = {
        "at_s": 1.0,
        "role": "worker-0",
        "kind": "kill",
        "moment": "any",
        "part": "middle",
        "samples": 5,
    }
    return Outcome(number=number, **{**common, **fields})


SUMMARY = {
    "status": "completed",
    "samples": 40,
    "visits_min": 2,
    "visits_repeated": 3,
    "repeated_samples": 3,
    "p_at_1": 0.5,
    "worker_restarts": 1,
}
CALM = Calm(p_at_1=[0.49, 0.5, 0.51], total_s=[1.0, 1.0, 1.0])


@pytest.fixture
def target(tmp_path):
    found = Target(tmp_path, "run")
    yield found
    found.close()


def failing(target, summary=SUMMARY, outcomes=None, wrong=(), unasked=(), left=(), late=False):
    plan = plan_faults(1, 3, Choices(n_workers=2))
    outcomes = [outcome(i, again_s=0.5) for i in (1, 2, 3)] if outcomes is None else outcomes
    checks = judge(target, summary, plan, late, outcomes, wrong, unasked, CALM, 2, left)
    return [check.what for check in checks if not check.holds]


def test_a_run_that_kept_everything_passes(target):
    """The other tests change one thing each."""
    assert failing(target) == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"status": "failed"}, "the run completed"),
        ({"visits_min": 1}, "every sample was trained in every epoch"),
        ({"p_at_1": 0.46}, "P@1 is that of calm runs"),
        ({"worker_restarts": 99}, "restarts are counted"),
        ({"repeated_samples": 3000}, "repeated samples are counted"),
    ],
)
def test_what_the_summary_says_is_judged(target, change, what):
    """An epoch with a sample left out, or P@1 beyond the spread, fails the run."""
    assert failing(target, {**SUMMARY, **change}) == [what]


def test_what_was_seen_is_judged(target):
    """Faults that were not survived, deaths that nobody asked for, leftovers, and faults never injected."""
    assert failing(target, outcomes=[outcome(i, wrong=["hangs"]) for i in (1, 2, 3)]) == [
        "each fault was survived"
    ]
    assert failing(target, wrong=["ended by itself"]) == ["each fault was survived"]
    assert failing(target, unasked=["worker-1: SIGSEGV"]) == ["nothing died that was not struck"]
    assert failing(target, left=["segment x"]) == ["nothing is left"]
    assert failing(target, outcomes=[outcome(1), outcome(2, struck=False)]) == ["the faults were injected"]
    assert "the run completed" in failing(target, summary=None)


def test_when_the_time_is_over_only_faults_whose_turn_came_are_asked_for(target):
    """A slow machine meets fewer faults, which is said; but those must strike."""
    assert failing(target, outcomes=[outcome(1)], late=True) == []
    missed = [outcome(1), outcome(2, struck=False)]
    assert failing(target, outcomes=missed, late=True) == ["the faults were injected"]
    assert failing(target, outcomes=[], late=True)[0] == "the faults were injected"


def test_recoveries_are_told_by_role_without_pauses():
    """Workers together, a stopped one by itself, and the time until a resumed run trained."""
    found = recoveries(
        [
            outcome(1, again_s=0.1),
            outcome(2, role="worker-1", again_s=0.3),
            outcome(3, kind="pause", again_s=9.0),
            outcome(4, kind="stop", again_s=0.8),
            outcome(5, role="coordinator", again_s=4.0, exit_code=-9),
            outcome(6, struck=False),
        ]
    )
    assert {one.role: (one.n, one.median_s, one.worst_s) for one in found} == {
        "worker": (2, 0.2, 0.3),
        "worker found by its silence": (1, 0.8, 0.8),
        "run resumed": (1, 4.0, 4.0),
    }


def lived(target, **looks):
    """Give the target a life of a process in which each role was seen with so many descriptors."""
    popen = subprocess.Popen(["true"])
    popen.wait()
    life = Life(popen, target.own)
    life.descriptors = {(role.replace("_", "-"), i): list(n) for i, (role, n) in enumerate(looks.items())}
    target.lives.append(life)
    return life


@pytest.mark.parametrize("role", ["coordinator", "worker_1", "rehasher", "forkserver"])
def test_descriptors_that_grow_in_any_process_fail_the_run(target, role):
    """One a fault is a leak; a file that is open for a moment, and few looks at a child, say nothing."""
    lived(target, coordinator=[30, 41, 30, 30, 38], worker_0=[12], rehasher=[12, 13])
    assert failing(target) == []
    lived(target, **{role: [20, 21, 22, 23, 24, 25]})
    assert failing(target) == ["no process's descriptors grow"]


def test_zombies_fail_the_run(target):
    """Those that were there a second later."""
    lived(target, coordinator=[30, 30]).zombies.add(4711)
    assert failing(target) == ["no zombie"]


def test_figures_tell_what_each_promise_came_to(target):
    """Only kills of the coordinator count for how long its children stayed; roles are told together."""
    lived(target, coordinator=[30, 32], worker_0=[12, 12, 14, 14], worker_1=[12, 12])
    outcomes = [
        outcome(1, role="coordinator", exit_code=-9, children_gone_s=0.5),
        outcome(2, role="coordinator", exit_code=-9, children_gone_s=1.5),
        outcome(3, role="coordinator", exit_code=130, children_gone_s=9.0),
    ]
    found = figures(target, SUMMARY, outcomes, [], CALM, 2, ["segment x"])
    assert found.children_gone == Seconds(n=2, median_s=1.0, worst_s=1.5)
    assert (found.samples, found.visits_min, found.visits_repeated, found.repeated_samples) == (40, 2, 3, 3)
    assert found.left == ["segment x"] and found.restarts == found.matched == found.resumes == 0
    assert [
        (one.role, one.processes, one.looks, one.least, one.most, one.grown) for one in found.descriptors
    ] == [
        ("coordinator", 1, 2, 30, 32, 2),
        ("worker", 2, 6, 12, 14, 2),
    ]
    assert figures(target, None, [], [], CALM, 2, []).children_gone is None


def test_leftovers_are_found(target, tmp_path):
    """Files in the run's own folders, temporary files of its directory, and processes that carry its mark."""
    assert target.left() == []
    (target.own / "tmp" / "pymp-x").mkdir()
    target.run_dir.mkdir()
    (target.run_dir / "summary.json.tmp").touch()
    process = subprocess.Popen(["sleep", "60"], env={**os.environ, sight.MARKER: target.token})
    try:
        while not target.processes():  # its environment can be read a moment after it has begun
            assert process.poll() is None
        target_left = target.left()
    finally:
        process.kill()
        process.wait()
    assert any(f"process {process.pid} (sleep" in text for text in target_left)
    assert "tmp/pymp-x" in target_left and any("summary.json.tmp" in text for text in target_left)
