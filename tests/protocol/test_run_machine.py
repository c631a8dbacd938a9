"""The run's state machine under orderly and random events."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from distlsh.errors import ProtocolError
from distlsh.protocol import actions as act
from distlsh.protocol import events as ev
from distlsh.protocol.machine import RunMachine
from distlsh.protocol.plan import Plan
from distlsh.protocol.steps import Tune


def plan(**changes):
    values = dict(
        n_train=1000,
        n_labels=300,
        epochs=2,
        chunk=128,
        rehash_initial=300,
        rehash_decay=0.1,
        rehash_max_drift=0.5,
        init_parts=2,
        label_chunk=100,
        eval_chunk=32,
        n_eval_rows=50,
        n_final_rows=100,
    )
    return Plan(**{**values, **changes})


class World:
    promise = 0.9  # recall of what a tuning chooses

    """Carries out actions as workers and a rehasher would, in any order the dice say."""

    def __init__(self, machine, seed=0, workers=2):
        self.machine, self.random = machine, random.Random(seed)
        self.busy = {}
        self.handing_back = set()  # workers that were asked to
        self.rehashing = self.tuning = self.saving = False
        self.done_before = []  # what was acknowledged when the last save began
        self.given_up = False
        self.tuned = []
        self.recalls = iter(())
        self.full = []
        self.trained = []
        self.saved = []
        self.evaluated = []
        self.orders = []
        self.measured = []
        self.status = None
        self.restart_later = []
        self.feed(ev.RehasherReady())
        for worker in range(workers):
            self.feed(ev.WorkerReady(worker))

    def feed(self, event):
        for action in self.machine.handle(event):
            self.carry_out(action)
        while self.measured and self.status is None:
            self.feed(ev.RecallMeasured(self.measured.pop()))

    def carry_out(self, action):
        assert self.status is None, "nothing follows the end"
        match action:
            case act.Assign(worker, task):
                assert worker not in self.busy
                self.busy[worker] = task
            case act.BeginRehash(full):
                assert not self.rehashing and not self.saving
                self.rehashing = True
                self.full.append(full)
            case act.BeginTuning(recall, number):
                assert not self.busy and not self.rehashing and not self.tuning and not self.saving
                self.tuning = True
                self.tuned.append((recall, number))
            case act.SaveCheckpoint(position, quiet, last):
                assert not self.rehashing or position.stage == "pretrain"  # that has no tables
                assert not self.tuning or last
                assert not self.saving and (not quiet or not self.busy)
                assert quiet or all(task.kind in ("train", "pretrain") for task in self.busy.values())
                assert quiet == (last or self.machine.plan.deterministic)
                self.saving, self.writing, self.last_save = True, position, last
                self.given_up = False
                self.done_before = list(self.trained)
            case act.GiveUpSave():
                assert self.saving
                self.given_up = True
            case act.WriteOrder(epoch):
                assert not self.busy
                self.orders.append(epoch)
            case act.EndEvaluation(kind, complete):
                assert not self.busy
                self.evaluated.append((kind, complete))
                if complete:
                    self.measured += [recall for recall in [next(self.recalls, None)] if recall is not None]
            case act.HandBack(worker):
                assert worker in self.busy
                self.handing_back.add(worker)
            case act.Finish(status):
                assert not self.saving
                self.status = status

    def step(self, faults=0.0):
        choices = [("worker", w) for w in self.busy] + ([("rehasher", 0)] if self.rehashing else [])
        choices += [("tuner", 0)] if self.tuning else []
        choices += [("saver", 0)] if self.saving else []
        choices += [("restart", role) for role in self.restart_later]
        kind, who = self.random.choice(choices)
        if kind == "restart":
            self.restart_later.remove(who)
            self.feed(ev.RehasherReady() if who == "rehasher" else ev.WorkerReady(who))
        elif kind == "saver":
            kept = not self.given_up and (self.last_save or self.random.random() >= faults)
            self.saving = False
            if kept:
                self.saved.append(self.writing)
            self.feed(ev.Saved(kept))
        elif self.random.random() < faults:
            self.kill(kind, who)
        elif kind == "worker":
            task = self.busy.pop(who)
            upto = self.handed_back(task) if who in self.handing_back else None
            self.handing_back.discard(who)
            last = task.last if upto is None else upto
            if task.kind == "train" and task.first < last:
                self.trained.append((task.epoch, task.first, last))
            self.feed(ev.TaskDone(who, task.id, upto))
        elif kind == "tuner":
            self.tuning = False
            self.feed(ev.TuningDone(self.promise))
        else:
            self.rehashing = False
            self.feed(ev.RehashDone(0.1))

    def handed_back(self, task):
        wholly = [task.first, task.last]  # of a pool and of an evaluation, no part is anything
        return self.random.randint(*wholly) if task.kind == "train" else self.random.choice(wholly)

    def kill(self, kind, who):
        if kind == "worker":
            del self.busy[who]
            self.handing_back.discard(who)
            self.restart_later.append(who)
            self.feed(ev.WorkerLost(who))
        else:
            self.rehashing = self.tuning = False
            self.restart_later.append("rehasher")
            self.feed(ev.RehasherLost())

    def run(self, faults=0.0, limit=100_000):
        for _ in range(limit):
            if self.status is not None:
                return self
            self.step(faults)
        raise AssertionError("the run never ends")


def stop_at(world, n_steps, faults):
    """Let ``world`` take so many steps, then ask it to stop and let it end."""
    for _ in range(n_steps):
        if world.status is None:
            world.step(faults)
    if world.status is None:
        world.feed(ev.StopRequested())
        world.run(faults)


def positions(trained, epoch):
    return sorted(p for e, first, last in trained if e == epoch for p in range(first, last))


def test_a_run_trains_every_position_of_every_epoch_once():
    """Each epoch's chunks cover [0, n) exactly once, and the run completes."""
    world = World(RunMachine(plan())).run()
    assert world.status == "completed"
    for epoch in range(2):
        assert positions(world.trained, epoch) == list(range(1000))
    assert world.orders == [0, 1]
    assert world.evaluated == [("initial", True), ("subset", True), ("final", True)]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    workers=st.integers(1, 5),
    faults=st.sampled_from([0.0, 0.05, 0.3]),
    interval=st.sampled_from([0, 170]),
    deterministic=st.booleans(),
    tables=st.booleans(),
    goal=st.sampled_from([None, 0.5]),
)
def test_random_deaths_never_lose_or_repeat_acknowledged_work(
    seed, workers, faults, interval, deterministic, tables, goal
):
    """Whatever dies, every position is acknowledged exactly once and the run completes."""
    machine = RunMachine(
        plan(
            eval_interval=interval,
            checkpoint_interval=interval,
            deterministic=deterministic and workers == 1,
            tables=tables,
            tuned_recall=goal,
            most_tunings=3,
        )
    )
    world = World(machine, seed, workers)
    world.recalls = iter(world.random.random() for _ in range(99))
    world.run(faults)
    assert len({number for _, number in world.tuned}) <= 3
    assert world.status == "completed"
    assert [positions(world.trained, e) for e in range(2)] == [list(range(1000))] * 2
    assert world.saved[-1].stage == "final"


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    workers=st.integers(1, 4),
    at=st.integers(0, 60),
    faults=st.sampled_from([0, 0.1]),
)
def test_a_stopped_run_goes_on_with_the_same_chunks(seed, workers, at, faults):
    """Stop anywhere, resume from the last position: together the epochs are covered once."""
    first = World(RunMachine(plan()), seed, workers)
    stop_at(first, at, faults)
    assert first.status in ("interrupted", "completed")
    second = World(RunMachine(plan(), first.saved[-1]), seed + 1, workers).run(faults)
    assert second.status == "completed"
    both = first.trained + second.trained
    assert [positions(both, e) for e in range(2)] == [list(range(1000))] * 2


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    at=st.integers(0, 60),
    workers=st.sampled_from([1, 2]),
)
@example(seed=17747, at=47, workers=2)  # those who are in the last evaluation finish it after the stop
def test_an_evaluation_that_a_stop_gave_up_is_made_when_the_run_goes_on(seed, at, workers):
    """Stopped anywhere and resumed, a run has made every evaluation, each once."""
    changes = dict(eval_interval=300, deterministic=True, chunk=100) if workers == 1 else {}
    whole = World(RunMachine(plan(**changes)), seed, workers).run()
    first = World(RunMachine(plan(**changes)), seed, workers)
    stop_at(first, at, 0)
    made = [kind for kind, complete in first.evaluated if complete]
    if first.status == "interrupted":
        second = World(RunMachine(plan(**changes), first.saved[-1]), seed + 1, workers).run()
        made += [kind for kind, complete in second.evaluated if complete]
    assert made == [kind for kind, _ in whole.evaluated]


def test_deterministic_runs_refresh_while_nobody_trains():
    """In deterministic mode a refresh begins only when the worker is quiet."""
    machine = RunMachine(plan(deterministic=True))
    world = World(machine, 3, 1)
    original = world.carry_out

    def check(action):
        if isinstance(action, act.BeginRehash):
            assert not world.busy
        original(action)

    world.carry_out = check
    world.run()
    assert len(world.full) > 3 and world.full[0] and not any(world.full[1:])


def tuned_world(recalls, workers=2, **changes):
    world = World(RunMachine(plan(tuned_recall=0.6, most_tunings=4, **changes)), 0, workers)
    world.recalls = iter(recalls)
    return world


def test_hash_functions_are_chosen_before_the_first_tables():
    """With a goal of recall a tuning stands between warm start and tables, and the tables are built whole."""
    world = tuned_world([])
    stages = []
    while world.status is None:
        stages += [world.machine.stage] if world.machine.stage not in stages[-1:] else []
        world.step()
    assert stages[:5] == ["init", "warm start", "tuning", "tables", "evaluate"]
    assert world.tuned == [(0.6, 0)] and world.full[0]


def test_a_recall_that_drifts_is_followed_by_a_tuning_while_nobody_trains():
    """A recall a tenth below that of the first evaluation holds training for a tuning and a full refresh."""
    world = tuned_world([0.7, 0.5], eval_interval=300)
    world.run()
    assert world.status == "completed" and world.tuned == [(0.6, 0), (0.6, 1)]
    assert [positions(world.trained, e) for e in range(2)] == [list(range(1000))] * 2
    assert world.full.count(True) == 2 and world.saved[-1].tuning.n == 2


def test_a_rehasher_that_dies_while_it_tunes_is_asked_again():
    """The tuning begins anew with the next rehasher, under the same number."""
    world = tuned_world([])
    while not world.tuning:
        world.step()
    world.kill("rehasher", 0)
    assert world.run().status == "completed" and world.tuned == [(0.6, 0), (0.6, 0)]


def test_a_stop_does_not_wait_for_a_tuning_that_has_not_begun():
    """Stopped with a tuning due, the run saves its state and ends; resumed, it tunes before it trains."""
    world = tuned_world([0.7, 0.5], eval_interval=300)
    while not any(isinstance(step, Tune) for step in world.machine._wanted):
        world.step()
    assert world.busy
    world.feed(ev.StopRequested())
    assert world.run().status == "interrupted" and len(world.tuned) == 1
    again = World(RunMachine(plan(tuned_recall=0.6, most_tunings=4), world.saved[-1]), 0, 2)
    assert again.tuning and not again.busy
    assert again.run().status == "completed" and again.tuned == [(0.6, 1)]


@pytest.mark.parametrize("answers", [False, True])
def test_a_stop_does_not_wait_for_a_tuning_in_the_middle_of_the_run(answers):
    """The tables before are saved, whatever the tuner says; resumed, the run tunes before it trains."""
    world = tuned_world([0.7, 0.5], eval_interval=300)
    while len(world.tuned) < 2:
        world.step()
    world.feed(ev.StopRequested())
    assert world.tuning and world.saving and not world.machine.tunes
    if answers:
        world.tuning = False
        world.feed(ev.TuningDone(0.9))
    assert world.run().status == "interrupted"
    position = world.saved[-1]
    assert position.tuning.n == 1 and position.tuning.due and not position.rebuild
    again = World(RunMachine(plan(tuned_recall=0.6, most_tunings=4), position), 0, 2)
    assert again.tuning and not again.busy
    assert again.run().status == "completed" and again.tuned == [(0.6, 1)]
    assert positions(world.trained + again.trained, 1) == list(range(1000))


def test_a_run_that_fails_before_new_tables_are_filled_fills_them_first_when_it_goes_on():
    """The position of such a failure asks for a full refresh before any training."""
    world = tuned_world([0.7, 0.5], eval_interval=300)
    while len(world.tuned) < 2 or world.tuning or world.machine.stage != "tables":
        world.step()
    position = world.machine.rescue(final_saved=False)
    again = World(RunMachine(plan(tuned_recall=0.6, most_tunings=4), position), 0, 2)
    assert again.full == [True] and not again.busy
    assert again.run().status == "completed" and not again.tuned


def test_a_dead_rehasher_is_followed_by_a_full_refresh():
    """A refresh cut off half-way is followed by one from scratch."""
    world = World(RunMachine(plan()), 0, 1)
    while not (world.rehashing and world.trained):
        world.step()
    world.kill("rehasher", 0)
    world.run()
    position = world.full.index(False)
    assert world.full[position + 1] is True


def test_a_worker_that_dies_while_first_values_are_written_starts_them_over():
    """A half-done warm start would count instances twice: all of it is done again, before training."""
    world = World(RunMachine(plan()), 0, 2)
    while world.machine.stage != "warm start":
        world.step()
    world.kill("worker", min(world.busy))
    kinds = []
    original = world.carry_out

    def note(action):
        if isinstance(action, act.Assign):
            kinds.append(action.task.kind)
        original(action)

    world.carry_out = note
    world.run()
    assert kinds[0] == "init" and kinds.index("warm_start") < kinds.index("warm_finish") < kinds.index(
        "train"
    )
    assert world.status == "completed"


def test_acknowledging_what_one_does_not_have_is_refused_with_the_history():
    """An impossible event raises ProtocolError that shows the events before it."""
    machine = RunMachine(plan())
    machine.handle(ev.WorkerReady(0))
    with pytest.raises(ProtocolError, match=r"(?s)task 99.*WorkerReady\(worker=0\)"):
        machine.handle(ev.TaskDone(0, 99))


def test_a_stop_gives_up_the_final_evaluation_but_not_the_model():
    """Stopping in the last evaluation ends the run as interrupted; its model is saved already."""
    world = World(RunMachine(plan()), 0, 2)
    while world.machine.stage != "evaluate" or not world.saved or world.saved[-1].stage != "final":
        world.step()
    world.feed(ev.StopRequested())
    world.run()
    assert world.status == "interrupted"
    assert world.evaluated[-1] == ("final", False)
    again = World(RunMachine(plan(), world.saved[-1]), 0, 2).run()
    assert again.status == "completed" and not again.trained


def training(**changes):
    """Return a world of two workers in the middle of the first epoch, both at work."""
    world = World(RunMachine(plan(**changes)), 0, 2)
    while not (len(world.trained) >= 2 and len(world.busy) == 2 and world.machine.stage == "train"):
        world.step()
    return world


def test_a_stop_ends_chunks_where_they_stand():
    """Workers are asked once each; a part done counts, and the resumed run trains exactly the rest."""
    world = training()
    tasks = dict(world.busy)
    world.feed(ev.StopRequested())
    assert world.handing_back == {0, 1}
    for worker, task in tasks.items():
        del world.busy[worker]
        world.trained.append((0, task.first, task.first + 32))
        world.feed(ev.TaskDone(worker, task.id, task.first + 32))
    rest = [(task.first + 32, task.last) for task in tasks.values()]
    world.run()
    assert world.saved[-1].samples == len(positions(world.trained, 0))
    assert set(rest) <= set(world.saved[-1].chunks)
    again = World(RunMachine(plan(), world.saved[-1]), 0, 2).run()
    assert positions(world.trained + again.trained, 0) == list(range(1000))
    assert positions(again.trained, 1) == list(range(1000))


def test_the_rest_of_a_chunk_keeps_its_samples_numbers():
    """Rates and draws follow from a sample's number, which does not depend on who was stopped where."""
    world = training()
    worker, task = next(iter(world.busy.items()))
    world.feed(ev.StopRequested())
    del world.busy[worker]
    world.feed(ev.TaskDone(worker, task.id, task.first + 32))
    world.run()
    machine = RunMachine(plan(), world.saved[-1])
    again = World(machine, 0, 1)
    given = []
    while machine.finished is None and machine.stage != "evaluate":
        given += [one for one in again.busy.values() if one.epoch == 0]
        again.step()
    assert any(one.first == task.first + 32 for one in given)
    assert all(one.first_sample == one.first for one in given)


def test_a_deterministic_run_ends_its_chunks_when_it_is_stopped():
    """Schedules look at the position between chunks: a part of one would be another run."""
    world = World(RunMachine(plan(deterministic=True)), 0, 1)
    while not (world.busy and world.machine.stage == "train"):
        world.step()
    world.feed(ev.StopRequested())
    assert not world.handing_back


def test_an_evaluation_is_given_up_at_once_when_the_run_is_stopped():
    """Who evaluates is asked to end; what it did so far is no evaluation."""
    world = World(RunMachine(plan()), 0, 2)
    while not (world.busy and world.machine.stage == "evaluate"):
        world.step()
    busy = dict(world.busy)
    world.feed(ev.StopRequested())
    assert world.handing_back == set(busy)
    for worker, task in busy.items():
        del world.busy[worker]
        world.feed(ev.TaskDone(worker, task.id, task.first))
    assert world.run().status == "interrupted" and (world.evaluated or [("", False)])[-1][1] is False


@pytest.mark.parametrize("upto", [-1, 10**6])
def test_an_end_outside_the_task_is_refused(upto):
    """A worker cannot acknowledge what it was not given."""
    world = training()
    worker, task = next(iter(world.busy.items()))
    with pytest.raises(ProtocolError, match="which is not in it"):
        world.feed(ev.TaskDone(worker, task.id, upto))
