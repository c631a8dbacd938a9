"""Going back to a checkpoint in the run's state machine: when everybody is quiet, with smaller rates."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.errors import ProtocolError
from distlsh.protocol import actions as act
from distlsh.protocol import events as ev
from distlsh.protocol.machine import RunMachine
from tests.protocol.test_pretraining_steps import PretrainingWorld, planned
from tests.protocol.test_run_machine import World, plan, positions

ALL = list(range(1000))


class FallingBack:
    """A world whose arrays are those of the last checkpoint after each return to it."""

    def __init__(self, *args, **kwargs):
        self.restored, self.scales = [], []
        super().__init__(*args, **kwargs)

    def carry_out(self, action):
        match action:
            case act.Restore():
                assert not self.busy and not self.rehashing and not self.tuning, "everybody is quiet"
                saved = self.saved[-1] if self.saved else None
                self.forget(saved)
                self.restored.append(saved)
                self.measured.clear()
            case act.Assign(_, task):
                self.scales.append(task.lr_scale)
                super().carry_out(action)
            case _:
                super().carry_out(action)

    def feed(self, event):
        n = len(self.restored)
        super().feed(event)
        if len(self.restored) > n:
            self.feed(ev.Restored(self.restored[-1]))

    def forget(self, saved):
        """What was trained after the checkpoint is not in the arrays any more."""
        self.trained = [] if saved is None else [one for one in self.trained if was_done(one, saved)]


def was_done(chunk, saved):
    epoch, first, last = chunk
    if saved.stage != "train" or epoch != saved.epoch:
        return saved.stage == "final" or epoch < saved.epoch
    left = {p for a, b in (saved.chunks if saved.chunks is not None else [(0, 1000)]) for p in range(a, b)}
    return not left.intersection(range(first, last))


class FallingWorld(FallingBack, World):
    pass


class FallingPretraining(FallingBack, PretrainingWorld):
    pass


def until(world, condition):
    while not condition():
        world.step()
    return world


def test_training_goes_back_to_the_checkpoint_with_half_the_rates():
    """Chunks in work are waited for, then the position is the checkpoint's, and all rates are halved."""
    world = FallingWorld(RunMachine(plan(checkpoint_interval=300)), 1)
    until(world, lambda: world.saved and len(world.trained) > 4 and len(world.busy) == 2)
    world.feed(ev.FallBack())
    until(world, lambda: world.restored)
    position = world.machine.position
    assert position.samples == world.saved[-1].samples and position.chunks == world.saved[-1].chunks
    assert (position.lr_scale, position.fall_backs, position.rebuild) == (0.5, 1, True)
    n_before, n_full = len(world.scales) - len(world.busy), len(world.full)
    assert world.run().status == "completed"
    assert set(world.scales[:n_before]) == {1.0} and set(world.scales[n_before:]) == {0.5, 1.0}
    assert world.full[n_full] is True
    assert [positions(world.trained, e) for e in range(2)] == [ALL] * 2
    assert world.saved[-1].lr_scale == 0.5


def test_without_a_checkpoint_training_begins_with_the_first_values():
    """Before the first checkpoint a return writes all first values again, and the tables whole."""
    world = FallingWorld(RunMachine(plan()), 2)
    until(world, lambda: len(world.trained) > 2)
    world.feed(ev.FallBack())
    until(world, lambda: world.restored)
    assert world.restored == [None] and world.machine.stage == "init"
    assert world.run().status == "completed" and world.full[:1] == [True]
    assert [positions(world.trained, e) for e in range(2)] == [ALL] * 2


def test_returns_to_the_same_checkpoint_multiply():
    """Each return shrinks the rates of the run, not those of the checkpoint."""
    world = FallingWorld(RunMachine(plan(fall_back_factor=0.25, checkpoint_interval=300)), 3)
    until(world, lambda: world.saved)
    for n in (1, 2):
        until(world, lambda: world.machine.stage == "train" and world.busy)
        world.feed(ev.FallBack())
        until(world, lambda n=n: len(world.restored) == n)
    assert world.restored[0] is world.restored[1]
    assert world.machine.position.lr_scale == 0.0625 and world.machine.position.fall_backs == 2
    assert world.run().status == "completed"


def test_a_second_finding_before_the_return_is_the_same_one():
    """Findings while chunks of the bad weights are still in work cause one return."""
    world = FallingWorld(RunMachine(plan()), 4)
    until(world, lambda: len(world.trained) > 2 and len(world.busy) == 2)
    world.feed(ev.FallBack())
    world.feed(ev.FallBack())
    world.run()
    assert len(world.restored) == 1 and world.status == "completed"


def test_nothing_is_rescued_of_a_run_that_fails_on_its_way_back():
    """Between finding and restoring, what the arrays hold is not worth a checkpoint."""
    world = FallingWorld(RunMachine(plan()), 5)
    until(world, lambda: len(world.trained) > 2 and world.busy)
    assert world.machine.rescue(final_saved=False) is not None
    world.feed(ev.FallBack())
    assert world.machine.rescue(final_saved=False) is None


def test_a_stop_on_the_way_back_saves_the_restored_state():
    """A stop between finding and restoring ends the run with the checkpoint's state and the new rates."""
    world = FallingWorld(RunMachine(plan(checkpoint_interval=300)), 6)
    until(world, lambda: world.saved and len(world.trained) > 6 and world.busy)
    samples = world.saved[-1].samples
    world.feed(ev.FallBack())
    world.feed(ev.StopRequested())
    assert world.run().status == "interrupted"
    assert world.saved[-1].samples == samples and world.saved[-1].lr_scale == 0.5


@pytest.mark.parametrize("stage", ["init", "warm start", "tuning", "tables"])
def test_a_stop_after_a_return_to_first_values_saves_what_a_resume_takes(stage):
    """Wherever it comes before any training, nothing is saved, or a position of a stage that there is."""
    world = FallingWorld(RunMachine(plan(tuned_recall=0.6, most_tunings=4)), 7)
    world.recalls = iter([])
    until(world, lambda: len(world.trained) > 2)
    world.feed(ev.FallBack())
    until(world, lambda: world.restored and world.machine.stage == stage)
    world.feed(ev.StopRequested())
    assert world.run().status == "interrupted"
    assert all(position.stage in ("train", "final") for position in world.saved)


def test_restored_arrays_that_nobody_asked_for_are_refused():
    """A restored checkpoint without a request raises ProtocolError."""
    with pytest.raises(ProtocolError, match="nobody asked for"):
        RunMachine(plan()).handle(ev.Restored(None))


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    workers=st.integers(1, 4),
    faults=st.sampled_from([0.0, 0.05, 0.3]),
    findings=st.lists(st.integers(0, 40), max_size=4),
    stop=st.one_of(st.none(), st.integers(0, 80)),
    interval=st.sampled_from([0, 170]),
    pretrain=st.booleans(),
    goal=st.sampled_from([None, 0.5]),
)
def test_random_findings_and_deaths_end_in_whole_epochs(
    seed, workers, faults, findings, stop, interval, pretrain, goal
):
    """Whatever dies or stops around a return, the arrays hold every position once at the end."""
    changes = {"eval_interval": interval, "checkpoint_interval": interval, "tuned_recall": goal}
    kind, made = (FallingPretraining, planned) if pretrain else (FallingWorld, plan)
    world = kind(RunMachine(made(**changes)), seed, workers)
    world.recalls = iter(world.random.random() for _ in range(99))
    for n_steps in findings:
        for _ in range(n_steps):
            if world.status is None:
                world.step(faults)
        if world.status is None:
            world.feed(ev.FallBack())
    if stop is not None:
        for _ in range(stop):
            if world.status is None:
                world.step(faults)
        if world.status is None:
            world.feed(ev.StopRequested())
    world.run(faults)
    trained = world.trained
    if world.status == "interrupted":
        again = kind(RunMachine(made(**changes), world.saved[-1]), seed + 1, workers)
        again.run(faults)
        trained = trained + again.trained
        assert again.status == "completed" or world.saved[-1].stage == "final"
    assert [positions(trained, e) for e in range(2)] == [ALL] * 2
    assert world.machine.position.lr_scale == 0.5 ** len(world.restored)
