"""When hash functions are chosen again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from distlsh.protocol.tune_schedule import HIGHEST, TuneSchedule


def chosen(promise=0.65, **fields):
    schedule = TuneSchedule(**{"goal": 0.6, "most": 4, **fields})
    schedule.tuned(promise)
    return schedule


def test_a_recall_at_its_goal_leaves_the_choice():
    """Evaluations at or a little below the goal change nothing."""
    schedule = chosen()
    assert not any(schedule.drifted(recall) for recall in (0.62, 0.58, 0.55, 0.7))


def test_a_fall_by_a_tenth_is_drift():
    """Once the first evaluation is seen, a recall a tenth below it asks for a tuning, to the same goal."""
    schedule = chosen()
    assert not schedule.drifted(0.62) and not schedule.drifted(0.545) and schedule.drifted(0.53)
    assert schedule.asked() == 0.6


def test_what_evaluations_lack_is_asked_for_beyond_the_goal():
    """A promise that the first evaluation does not keep raises the target by what is missing."""
    schedule = chosen()
    assert schedule.drifted(0.4)
    assert abs(schedule.asked() - 0.8) < 1e-9
    schedule.tuned(0.8)
    assert not schedule.drifted(0.59)


def test_an_evaluation_before_a_due_tuning_asks_for_nothing_more():
    """Until the tuning is done the recall of the tables before counts no more: one tuning, one target."""
    schedule = chosen()
    assert schedule.drifted(0.4) and not schedule.drifted(0.1)
    assert schedule.due and abs(schedule.asked() - 0.8) < 1e-9
    schedule.tuned(0.8)
    assert not schedule.due and not schedule.drifted(0.6)


def test_a_goal_out_of_reach_is_not_tried_again_and_again():
    """Where the tuning itself says that the goal is not met, only a fall below what it gives is drift."""
    schedule = chosen(promise=0.3)
    assert not schedule.drifted(0.3) and not schedule.drifted(0.28) and schedule.drifted(0.26)


@given(st.lists(st.floats(0, 1), max_size=60), st.floats(0.01, 0.98), st.integers(0, 5))
def test_no_more_tunings_than_allowed_and_never_two_for_one_evaluation(recalls, goal, most):
    """Whatever recalls come, ``most`` bounds the tunings after the first one, and targets stay below 1."""
    schedule = TuneSchedule(goal=goal, most=most)
    schedule.tuned(schedule.asked())
    for recall in recalls:
        if schedule.drifted(recall):
            assert goal <= schedule.asked() <= max(goal, HIGHEST)
            schedule.tuned(schedule.asked())
    assert schedule.n <= max(1, most)
