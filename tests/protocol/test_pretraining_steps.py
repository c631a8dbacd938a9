"""Pretraining in the run's state machine: in its place, once, whatever dies or stops."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.protocol import actions as act
from distlsh.protocol import events as ev
from distlsh.protocol.machine import RunMachine
from distlsh.protocol.plan import Position
from tests.protocol.test_run_machine import World, plan, positions, stop_at


class PretrainingWorld(World):
    """Notes what is pretrained, and which kinds of tasks are handed out, in order."""

    def __init__(self, *args, **kwargs):
        self.pretrained, self.kinds, self.pretrain_orders, self.handed = [], [], [], {}
        super().__init__(*args, **kwargs)

    def feed(self, event):
        if isinstance(event, ev.TaskDone):
            task = self.handed[event.task_id]
            if task.kind == "pretrain" and event.upto != task.first:
                self.pretrained.append((task.epoch, task.first, task.last))
        super().feed(event)

    def carry_out(self, action):
        if isinstance(action, act.Assign):
            self.handed[action.task.id] = action.task
            if self.kinds[-1:] != [action.task.kind]:
                self.kinds.append(action.task.kind)
        if isinstance(action, act.WriteOrder) and action.pretraining:
            assert not self.busy
            self.pretrain_orders.append(action.epoch)
            return
        super().carry_out(action)


def planned(**changes):
    return plan(**{"pretrain_epochs": 2, "pretrain_chunk": 150, **changes})


ALL = list(range(1000))


def covered(trained, epochs=2):
    return [positions(trained, epoch) for epoch in range(epochs)]


def stages(world):
    found = []
    while world.status is None:
        found += [world.machine.stage] if world.machine.stage not in found[-1:] else []
        world.step()
    return found


def test_pretraining_stands_between_the_layers_first_values_and_the_output_rows():
    """Hidden layers begin, are pretrained for all epochs, then output rows, warm start and tables follow."""
    world = PretrainingWorld(RunMachine(planned()))
    assert stages(world)[:5] == ["init", "pretrain", "init", "warm start", "tables"]
    assert world.kinds[:5] == ["init", "pretrain", "init_output", "warm_start", "warm_finish"]
    assert world.kinds.count("pretrain") == world.kinds.count("init_output") == 1
    assert world.pretrain_orders == world.orders == [0, 1]
    assert covered(world.pretrained) == covered(world.trained) == [ALL] * 2
    assert world.machine.position.pretrained == 2000 and world.machine.position.samples == 2000


def test_samples_are_numbered_over_all_epochs_of_the_pretraining():
    """A task carries the number of its first sample since the pretraining's start."""
    world = PretrainingWorld(RunMachine(planned()), 0, 1).run()
    tasks = [task for task in world.handed.values() if task.kind == "pretrain"]
    assert [task.first_sample for task in tasks] == [1000 * t.epoch + t.first for t in tasks]
    assert {task.first_sample for task in tasks} >= {0, 1000}


def test_without_epochs_there_is_no_pretraining():
    """A run that asks for none has no such task, order or stage."""
    world = PretrainingWorld(RunMachine(planned(pretrain_epochs=0))).run()
    assert "pretrain" not in world.kinds and not world.pretrain_orders
    assert world.machine.position.pretrained == 0


def test_progress_is_that_of_the_whole_pretraining():
    """The share of the step covers all its epochs, those before a resume included."""
    world, shares = PretrainingWorld(RunMachine(planned())), []
    while world.machine.stage != "warm start":
        if world.machine.stage == "pretrain":
            shares.append(world.machine.step_share)
            assert shares[-1] == world.machine.position.pretrained / 2000
        world.step()
    assert shares == sorted(shares) and shares[0] == 0.0 and shares[-1] > 0.8


def test_a_worker_that_dies_in_the_warm_start_does_not_undo_the_pretraining():
    """First values are written again only from the output rows on."""
    world = PretrainingWorld(RunMachine(planned()), 0, 2)
    while world.machine.stage != "warm start":
        world.step()
    world.kill("worker", min(world.busy))
    world.kinds.clear()
    world.run()
    assert world.kinds[:3] == ["init_output", "warm_start", "warm_finish"]
    assert "init" not in world.kinds and covered(world.pretrained) == [ALL] * 2
    assert world.status == "completed"


def test_a_worker_that_dies_while_pretraining_gives_its_chunk_to_another():
    """The chunk is acknowledged once, and nothing starts over."""
    world = PretrainingWorld(RunMachine(planned()), 0, 2)
    while world.machine.position.pretrained < 300:
        world.step()
    world.kill("worker", min(world.busy))
    assert world.run().status == "completed"
    assert world.kinds.count("init") == 1 and covered(world.pretrained) == [ALL] * 2


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    workers=st.integers(1, 5),
    faults=st.sampled_from([0.0, 0.05, 0.3]),
    goal=st.sampled_from([None, 0.5]),
    warm=st.booleans(),
)
def test_random_deaths_lose_or_repeat_no_acknowledged_pretraining(seed, workers, faults, goal, warm):
    """Whatever dies, both epochs of both trainings are acknowledged exactly once."""
    machine = RunMachine(planned(tuned_recall=goal, most_tunings=3, warm_start=warm))
    world = PretrainingWorld(machine, seed, workers).run(faults)
    assert world.status == "completed"
    assert covered(world.pretrained) == covered(world.trained) == [ALL] * 2


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    workers=st.integers(1, 4),
    at=st.integers(0, 60),
    faults=st.sampled_from([0, 0.1]),
)
def test_a_run_stopped_anywhere_goes_on_with_what_is_left_of_the_pretraining(seed, workers, at, faults):
    """Stop at any step, resume: together the epochs of both trainings are covered once."""
    first = PretrainingWorld(RunMachine(planned()), seed, workers)
    stop_at(first, at, faults)
    stage = first.saved[-1].stage
    second = PretrainingWorld(RunMachine(planned(), first.saved[-1]), seed + 1, workers).run(faults)
    assert second.status == "completed"
    assert ("init_output" in second.kinds) == (stage == "pretrain")
    assert covered(first.pretrained + second.pretrained) == [ALL] * 2
    assert covered(first.trained + second.trained) == [ALL] * 2


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_stop_in_pretraining_asks_for_the_chunks_in_work_back(deterministic):
    """Nothing more is handed out; the position holds whole chunks. Deterministic runs end theirs."""
    world = PretrainingWorld(RunMachine(planned(deterministic=deterministic)), 1, 1 if deterministic else 2)
    while world.machine.position.pretrained < 450:
        world.step()
    handed, busy = len(world.handed), dict(world.busy)
    world.handed_back = lambda task: task.first
    world.feed(ev.StopRequested())
    assert world.handing_back == (set() if deterministic else set(busy))
    world.run()
    assert world.status == "interrupted" and len(world.handed) == handed
    (position,) = world.saved
    assert position.stage == "pretrain" and position.samples == 0
    left = sum(last - first for first, last in position.chunks)
    assert position.pretrained == 1000 - left and position.pretrain_epoch == 0
    in_work = {(task.first, task.last) for task in busy.values()}
    assert in_work.isdisjoint(position.chunks) if deterministic else in_work <= set(position.chunks)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), at=st.integers(0, 60))
def test_a_run_that_fails_anywhere_is_rescued_with_what_it_pretrained(seed, at):
    """From the rescued position what was not acknowledged is done, and nothing twice."""
    first = PretrainingWorld(RunMachine(planned()), seed, 2)
    for _ in range(at):
        if first.status is None:
            first.step()
    position = first.machine.rescue(final_saved=first.status is not None)
    if position is None:
        assert not first.pretrained or first.status is not None
        return
    second = PretrainingWorld(RunMachine(planned(), position), seed + 1, 2).run()
    assert second.status == "completed"
    assert covered(first.pretrained + second.pretrained) == [ALL] * 2
    assert covered(first.trained + second.trained) == [ALL] * 2


def test_positions_of_runs_before_there_was_pretraining_load():
    """A checkpoint's position without the newer fields resumes as it did."""
    world = World(RunMachine(plan()))
    while len(world.trained) < 4:
        world.step()
    world.feed(ev.StopRequested())
    world.run()
    state = msgspec.to_builtins(world.saved[-1])
    del state["pretrain_epoch"], state["pretrained"]
    again = World(RunMachine(plan(), msgspec.convert(state, Position)), 0, 2).run()
    assert again.status == "completed"
    assert covered(world.trained + again.trained) == [ALL] * 2


@pytest.mark.parametrize("stage", ["init", "warm start", "tuning", "tables"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_a_stop_between_pretraining_and_training_waits_for_the_tasks_in_hand_alone(stage, deterministic):
    """A checkpoint of the pretraining's end is saved beside a busy rehasher; the rest is begun anew."""
    settings = planned(tuned_recall=0.5, deterministic=deterministic)
    world = PretrainingWorld(RunMachine(settings), 1, 1 if deterministic else 2)
    while not (world.kinds[-1] != "init" and world.machine.stage == stage):
        world.step()
    handed = len(world.handed)
    world.feed(ev.StopRequested())
    while world.busy:
        worker, task = world.busy.popitem()
        world.feed(ev.TaskDone(worker, task.id))
    assert world.saving and world.writing.stage == "pretrain"
    assert world.tuning == (stage == "tuning") and world.rehashing == (stage == "tables")
    assert world.run().status == "interrupted" and len(world.handed) == handed
    position = world.saved[-1]
    assert position.pretrained == 2000 and position.tuning == settings.start().tuning
    again = PretrainingWorld(RunMachine(settings, position), 2, 1 if deterministic else 2).run()
    assert again.status == "completed" and again.kinds[0] == "init_output" and again.tuned[0] == (0.5, 0)
    assert again.evaluated[0] == ("initial", True) and covered(again.trained) == [ALL] * 2
