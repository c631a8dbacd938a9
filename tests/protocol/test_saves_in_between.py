"""Checkpoints that are written while the workers go on: what may happen meanwhile, and what they leave."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.errors import ProtocolError
from distlsh.protocol import actions as act
from distlsh.protocol import events as ev
from distlsh.protocol.machine import RunMachine
from tests.protocol.test_pretraining_steps import PretrainingWorld, planned
from tests.protocol.test_run_machine import plan, positions

ALL = list(range(1000))


class SavingWorld(PretrainingWorld):
    """Time passes at random; keeps each finished checkpoint with what was acknowledged when it began."""

    clock = 0.0

    def __init__(self, *args, clock=0.0, **kwargs):
        self.kept, self.begun = [], None
        self.clock = clock
        super().__init__(*args, **kwargs)

    def carry_out(self, action):
        if isinstance(action, act.SaveCheckpoint):
            self.begun = (action.position, list(self.trained), list(self.pretrained))
        assert not (self.saving and isinstance(action, act.Assign)) or action.task.kind in (
            "train",
            "pretrain",
            "evaluate_subset",
            "evaluate_final",
        )
        super().carry_out(action)

    def step(self, faults=0.0):
        if self.random.random() < self.clock:
            self.feed(ev.SaveDue())
        n, begun = len(self.saved), self.begun
        super().step(faults)
        if len(self.saved) > n:
            self.kept.append(begun)


def covers(trained, epoch):
    return set(ALL) <= set(positions(trained, epoch))


def until(world, condition):
    while not condition():
        world.step()
    return world


def saving(world):
    return until(world, lambda: world.saving)


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    workers=st.integers(1, 4),
    faults=st.sampled_from([0.0, 0.1, 0.3]),
    clock=st.sampled_from([0.02, 0.3]),
    interval=st.sampled_from([0, 170]),
    which=st.floats(0, 1, exclude_max=True),
    goal=st.sampled_from([None, 0.5]),
    deterministic=st.booleans(),
    stop=st.one_of(st.none(), st.integers(0, 80)),
)
def test_from_any_checkpoint_every_position_is_done_at_least_once(
    seed, workers, faults, clock, interval, which, goal, deterministic, stop
):
    """Deaths, refreshes, stops: what a checkpoint counts as done was acknowledged, the rest follows."""
    changes = dict(
        checkpoint_interval=interval,
        eval_interval=interval,
        tuned_recall=goal,
        deterministic=deterministic and workers == 1,
    )
    first = SavingWorld(RunMachine(planned(**changes)), seed, workers, clock=clock)
    first.recalls = iter(first.random.random() for _ in range(99))
    for _ in range(10**9 if stop is None else stop):
        if first.status is not None:
            break
        first.step(faults)
    if first.status is None:
        first.feed(ev.StopRequested())
        first.run(faults)
    position, trained, pretrained = first.kept[int(which * len(first.kept))]
    second = SavingWorld(RunMachine(planned(**changes), position.copy()), seed + 1, workers).run(faults)
    assert second.status == "completed"
    for epoch in range(2):
        assert covers(trained + second.trained, epoch)
        assert covers(pretrained + second.pretrained, epoch)
    before = sum(last - first for _, first, last in trained)
    assert position.samples == before, "the position counts what was acknowledged and nothing else"
    left = [e for e in second.trained if e[0] == position.epoch]
    done = [e for e in trained if e[0] == position.epoch]
    assert not set(positions(left, position.epoch)) & set(positions(done, position.epoch))


def test_workers_are_handed_chunks_while_a_checkpoint_is_written():
    """Both workers go from chunk to chunk until the save ends, and nothing waits for it."""
    world = saving(SavingWorld(RunMachine(plan(checkpoint_interval=200)), 1))
    n = len(world.trained)
    while len(world.trained) < n + 4:
        role = min(world.busy)
        task = world.busy.pop(role)
        world.trained.append((task.epoch, task.first, task.last))
        world.feed(ev.TaskDone(role, task.id))
        assert len(world.busy) == 2 and not world.machine.waits_for_save
    assert world.saving and world.machine.saving


def test_saves_that_take_longer_than_their_interval_leave_room_for_refreshes():
    """Where the next save is due before the last has ended, a refresh that is due comes between them."""
    world = saving(SavingWorld(RunMachine(plan(checkpoint_interval=200, rehash_initial=200, chunk=50)), 1))
    before, position = len(world.full), world.machine.position
    while not (world.machine._save_due and position.schedule.due(position.samples)):
        role = min(world.busy)
        world.feed(ev.TaskDone(role, world.busy.pop(role).id))
    assert world.saving and not world.rehashing
    world.saving = False
    world.feed(ev.Saved())
    assert world.rehashing and not world.saving and len(world.full) == before + 1
    world.rehashing = False
    world.feed(ev.RehashDone(0.1))
    assert world.saving


def test_a_refresh_that_falls_due_begins_when_the_checkpoint_is_written():
    """Tables are not touched during a save; the refresh that was due begins at its end."""
    world = SavingWorld(RunMachine(plan(rehash_initial=300, checkpoint_interval=200)), 1)
    saving(world)
    n = len(world.full)
    while world.machine.position.samples < world.machine.position.schedule.next_at:
        role = min(world.busy)
        task = world.busy.pop(role)
        world.feed(ev.TaskDone(role, task.id))
    assert len(world.full) == n and not world.rehashing
    world.saving = False
    world.feed(ev.Saved())
    assert world.rehashing and len(world.full) == n + 1


def test_a_checkpoint_that_falls_due_in_a_refresh_begins_at_its_end_with_the_position_of_then():
    """Workers go on meanwhile, and what they acknowledge meanwhile counts as done."""
    world = SavingWorld(RunMachine(plan(epochs=1)), 2)
    until(world, lambda: world.rehashing and world.trained and world.busy)
    world.feed(ev.SaveDue())
    assert not world.saving
    role = min(world.busy)
    task = world.busy.pop(role)
    world.feed(ev.TaskDone(role, task.id))
    assert not world.saving and len(world.busy) == 2
    samples = world.machine.position.samples
    world.rehashing = False
    world.feed(ev.RehashDone(0.1))
    assert world.saving and world.writing.samples == samples
    left = sum(last - first for first, last in world.writing.chunks)
    assert left == 1000 - samples


def test_time_alone_saves_in_the_pretraining_and_never_the_same_twice():
    """A checkpoint of the pretraining holds what is left of it; without progress no other is written."""
    world = SavingWorld(RunMachine(planned()), 3)
    until(world, lambda: world.machine.position.pretrained)
    world.feed(ev.SaveDue())
    assert world.saving and world.writing.stage == "pretrain"
    left = sum(last - first for first, last in world.writing.chunks)
    assert left == 1000 - world.writing.pretrained
    world.saving = False
    world.feed(ev.Saved())
    world.feed(ev.SaveDue())
    assert not world.saving


def test_first_values_of_the_output_wait_for_a_checkpoint_of_the_pretraining():
    """They reset what the checkpoint is reading; this is waiting, and is told as such."""
    world = SavingWorld(RunMachine(planned(pretrain_epochs=1)), 3)
    until(world, lambda: world.machine.position.pretrained >= 600)
    world.feed(ev.SaveDue())
    assert world.saving
    while world.busy:
        role = min(world.busy)
        world.feed(ev.TaskDone(role, world.busy.pop(role).id))
    assert world.machine.stage == "init" and world.machine.waits_for_save
    world.saving = False
    world.feed(ev.Saved())
    assert world.busy and not world.machine.waits_for_save


def test_a_stop_waits_for_the_checkpoint_under_way_and_writes_an_exact_one():
    """The last position leaves nothing to be done twice."""
    world = saving(SavingWorld(RunMachine(plan(checkpoint_interval=200)), 4))
    world.feed(ev.StopRequested())
    while world.busy:
        role = min(world.busy)
        task = world.busy.pop(role)
        world.trained.append((task.epoch, task.first, task.last))
        world.feed(ev.TaskDone(role, task.id))
    assert world.status is None and world.machine.waits_for_save
    first = world.writing
    world.run()
    assert world.status == "interrupted" and world.saved[-2:] == [first, world.writing]
    again = SavingWorld(RunMachine(plan(checkpoint_interval=200), world.saved[-1]), 0).run()
    assert [positions(world.trained + again.trained, e) for e in range(2)] == [ALL] * 2


def test_the_final_evaluation_begins_while_the_final_checkpoint_is_written_and_the_end_waits_for_it():
    """Nobody changes the weights any more; the run is not over before they are saved."""
    world = SavingWorld(RunMachine(plan()), 5)
    until(world, lambda: world.saving and world.writing.stage == "final")
    assert world.machine.stage == "evaluate" and world.busy
    while world.busy:
        role = min(world.busy)
        world.feed(ev.TaskDone(role, world.busy.pop(role).id))
    assert world.status is None and world.evaluated[-1] == ("final", True)
    world.saving = False
    world.feed(ev.Saved())
    assert world.status == "completed" and world.machine.stage == "finish"


def test_a_checkpoint_that_could_not_be_written_is_tried_again_without_progress():
    """After a failed save the clock strikes even where nothing was acknowledged since."""
    world = saving(SavingWorld(RunMachine(plan(checkpoint_interval=200)), 6))
    world.saving = False
    world.feed(ev.Saved(kept=False))
    assert not world.saving
    world.feed(ev.SaveDue())
    assert world.saving


def test_numbers_that_go_bad_end_the_checkpoint_under_way():
    """What is being written is given up, and the arrays are restored only when its writer has ended."""
    restored = []
    world = saving(SavingWorld(RunMachine(plan(checkpoint_interval=200)), 7))
    original = world.carry_out
    world.carry_out = lambda a: restored.append(a) if isinstance(a, act.Restore) else original(a)
    world.feed(ev.FallBack())
    assert world.given_up
    while world.busy:
        role = min(world.busy)
        world.feed(ev.TaskDone(role, world.busy.pop(role).id))
    assert not restored
    world.saving = False
    world.feed(ev.Saved(kept=False))
    assert restored


def test_a_written_checkpoint_that_nobody_asked_for_is_refused():
    """Such an event raises ProtocolError."""
    with pytest.raises(ProtocolError, match="nobody asked for"):
        RunMachine(plan()).handle(ev.Saved())
