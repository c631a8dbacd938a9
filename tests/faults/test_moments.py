"""Deaths and stops of every role at named moments: training goes on, and every sample is done."""

from __future__ import annotations

import re
import signal
from signal import SIGABRT, SIGKILL, SIGSEGV, SIGSTOP

import pytest
from striking import OnceThere, Steps, strike_at

from distlsh.errors import ChildError
from distlsh.runtime.failpoints import Point
from distlsh.runtime.launch import run

QUICK = {"workers": 2, "max_restarts": 100, "heartbeat_s": 0.2, "visits": True}


def struck(role, point, number):
    """Return steps: set the point, wait until the role is back."""

    def strike(watcher):
        watcher.back = watcher.count(f"{role} is back")
        strike_at(role, point, number)
        return True

    return strike, lambda watcher: watcher.count(f"{role} is back") > watcher.back


WORKER = [
    (Point.CHUNK, SIGKILL),
    (Point.STEP, SIGSEGV),
    (Point.FORWARD, SIGKILL),
    (Point.BACKWARD, SIGSTOP),
    (Point.TASK_DONE, SIGKILL),
    (Point.EVALUATE, SIGKILL),
]
REHASHER = [
    (Point.REHASH, SIGSEGV),
    (Point.ROWS, SIGKILL),
    (Point.PUBLISH_BEFORE, SIGKILL),
    (Point.PUBLISH_AFTER, SIGSTOP),
]


@pytest.mark.parametrize(
    ("role", "faults"), [("worker-1", WORKER), pytest.param("rehasher", REHASHER, marks=pytest.mark.slow)]
)
def test_a_role_struck_at_one_moment_after_the_other(config, tmp_path, role, faults):
    """Each time it is replaced; all samples are trained, those done twice are counted, and it learns."""
    watcher = Steps(*[step for point, number in faults for step in struck(role, point, number)])
    settings = config(train={"epochs": 20}, run=QUICK, eval={"interval": 4000, "final_rows": 400})
    summary = run(settings, observer=watcher, run_dir=tmp_path / "run")
    assert not watcher.steps and summary.status == "completed" and summary.samples == 120_000
    assert summary.worker_restarts == len(faults) and summary.visits_min == 20
    assert (summary.repeated_samples > 0) == (role != "rehasher")
    assert summary.p_at_1 > 0.4
    signals = {signal.Signals(number).name for _, number in faults if number != SIGSTOP}
    assert all(watcher.told(f"was ended by {name}") for name in signals)
    assert watcher.count("since a signal had stopped it") == 1


@pytest.mark.parametrize(
    ("role", "point", "number"),
    [
        ("worker-0", Point.HELLO, SIGKILL),
        pytest.param("rehasher", Point.HELLO, SIGSTOP, marks=pytest.mark.slow),
        pytest.param("worker-1", Point.INIT, SIGSEGV, marks=pytest.mark.slow),
        pytest.param("worker-0", Point.WARM_START, SIGKILL, marks=pytest.mark.slow),
        pytest.param("worker-1", Point.INIT, SIGSTOP, marks=pytest.mark.slow),
        pytest.param("worker-1", Point.PRETRAIN, SIGKILL, marks=pytest.mark.slow),
        pytest.param("worker-1", Point.PRETRAIN, SIGSTOP, marks=pytest.mark.slow),
        pytest.param("rehasher", Point.ROWS, SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_a_role_struck_while_the_run_starts(config, tmp_path, role, point, number):
    """Before the first step, too, a child is replaced, and what it had begun is done again."""
    late = (
        role != "rehasher" and point is not Point.HELLO
    )  # the other one may have done all before it is there
    roles = ["worker-0", "worker-1"] if late else [role]
    watcher = OnceThere(lambda: [strike_at(one, point, number) for one in roles])
    pretrain = {"epochs": 1, "batch_size": 256} if point is Point.PRETRAIN else {}
    summary = run(config(run=QUICK, pretrain=pretrain), observer=watcher, run_dir=tmp_path / "run")
    assert summary.status == "completed" and 1 <= summary.worker_restarts <= len(roles)
    assert summary.samples == 12_000 and summary.visits_min == 2 and summary.p_at_1 > 0.4


def test_a_role_that_crashes_twice_at_its_start_is_given_up(config, tmp_path):
    """It would crash again: the error names signal and place, and brings the end of the log."""

    class Twice(OnceThere):
        def notice(self, notice):
            super().notice(notice)
            if "was ended by SIGABRT" in notice.text:
                strike_at("worker-0", Point.HELLO, SIGABRT)

    with pytest.raises(ChildError, match="like the one before it") as caught:
        strike = Twice(lambda: strike_at("worker-0", Point.HELLO, SIGABRT))
        run(config(run=QUICK), observer=strike, run_dir=tmp_path / "run")
    assert re.search(r"it was in strike, \S+failpoints\.py, line \d+", str(caught.value))
    assert "Fatal Python error: Aborted" in str(caught.value)
