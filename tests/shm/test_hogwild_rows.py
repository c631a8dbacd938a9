"""Rows that several processes update at once: every number stays one that whole updates can give."""

from __future__ import annotations

import os
import random
import signal
import time
import traceback

import numpy as np
import pytest

from distlsh.kernels.input_layer import input_backward
from distlsh.kernels.losses import SOFTMAX
from distlsh.kernels.optim import ADAGRAD, ADAGRAD_ROW, ADAM, MOMENTUM, SGD
from distlsh.kernels.output_layer import output_step
from distlsh.lsh.maintain import worth_hashing
from distlsh.model.storage import as_floats
from distlsh.runtime.prctl import PARENT, end_with_parent
from distlsh.shm.arena import Arena
from distlsh.shm.generation import clear_marks
from distlsh.shm.names import new_run_id
from distlsh.shm.spec import ArraySpec

N_ROWS, WIDTH, LONG = 3, 72, 200
"""Rows that all hammer, of a width that leaves a rest after every vector register, and updates a call."""

HYPER = np.array([0.9, 0.99, 1e-8], np.float32)
CODES = {"sgd": SGD, "momentum": MOMENTUM, "adagrad": ADAGRAD, "adagrad_row": ADAGRAD_ROW, "adam": ADAM}


class Rows:
    """Rows of weights with the states of all optimisers, in an arena that forked processes share."""

    def __init__(self, storage):
        shape, states = (N_ROWS, WIDTH), ("state1", "state2")
        specs = [ArraySpec("w", shape, "u2" if storage == "bfloat16" else "f4")]
        specs += [ArraySpec(name, shape, "f4") for name in states]
        specs += [ArraySpec("clock", (N_ROWS,), "i8"), ArraySpec("ready", (8,), "i8")]
        self.arena = Arena.create(new_run_id(), specs)
        self.arena.unlink()  # it lives as long as this process and its children
        self.indptr = np.arange(LONG + 1, dtype=np.int64) * N_ROWS
        self.features = np.tile(np.arange(N_ROWS, dtype=np.int32), LONG)
        self.ones, self.instances = np.ones(LONG * N_ROWS, np.float32), np.arange(LONG)
        self.seeds = np.random.default_rng(storage == "bfloat16").integers(0, 2**63, LONG).astype(np.uint64)

    @property
    def values(self):
        return as_floats(self.arena["w"]).astype(np.float64)

    def update(self, code, deltas, lr, step):
        """Step every row LONG times, along the rows of ``deltas`` f4[LONG, WIDTH]."""
        self.seeds += np.uint64(1 << 40)  # bfloat16 rows are rounded by other draws each time
        csr = (self.indptr, self.features, self.ones, self.instances, self.seeds, 1.0)
        arrays = [self.arena[name] for name in ("w", "state1", "state2", "clock")]
        if code == ADAGRAD_ROW:
            arrays[1] = arrays[1].reshape(-1)[:N_ROWS].reshape(N_ROWS, 1)
        assert input_backward(*csr, deltas, code, *arrays, lr, HYPER, step) == 0

    def meet(self, n):
        """Wait until ``n`` processes are here."""
        self.arena["ready"][n - 1] = 1
        while self.arena["ready"].sum() < n:
            time.sleep(0)


@pytest.fixture
def rows():
    made = []

    def make(storage="float32"):
        made.append(Rows(storage))
        return made[-1]

    yield make
    for one in made:
        one.arena.close()


def fork(body):
    """Run ``body`` in a child that shares this process's mappings, and ends with it; return its pid."""
    parent, pid = os.getpid(), os.fork()
    if pid:
        return pid
    try:
        os.environ[PARENT] = str(parent)
        end_with_parent()
        body()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def all_together(bodies):
    pids = [fork(body) for body in bodies]
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * len(pids)


LATTICE = {"float32": np.float32(1 + 2.0**-15), "bfloat16": np.float32(1.0)}
"""Steps whose first 255 multiples are exact, and fill both halves of a number's bits."""


def admissible(values, storage):
    """Tell of each number whether it is a whole number of steps: updates go one step up or down."""
    n = values / np.float64(LATTICE[storage])
    return (n == np.round(n)) & (np.abs(n) <= 255)


def swing(rows, storage):
    """Step all rows up and down, by turns, as if for ever."""
    deltas = np.full((LONG, WIDTH), LATTICE[storage], np.float32)
    deltas[1::2] *= -1
    return lambda: rows.update(SGD, deltas, 1.0, 1)


def test_a_torn_number_would_be_seen():
    """A number of one update's upper half and another's lower half is not admissible."""
    steps = LATTICE["float32"] * np.arange(-9, 10, dtype=np.float32)
    bits = steps.view(np.uint32)
    torn = ((bits[:, None] & 0xFFFF0000) | (bits[None, :] & 0xFFFF)).view(np.float32)
    assert admissible(steps, "float32").all()
    different = (bits[:, None] & 0xFFFF) != (bits[None, :] & 0xFFFF)
    assert not admissible(torn[different].astype(np.float64), "float32").any()


@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
def test_no_number_is_ever_torn(rows, storage):
    """While three processes step the same rows, and after, every number is that of whole updates."""
    shared = rows(storage)
    step = swing(shared, storage)

    def hammer():
        shared.meet(3)
        for _ in range(150):
            step()
            assert admissible(shared.values, storage).all()

    bodies = [lambda i=i: (shared.arena["ready"].__setitem__(i, 1), hammer()) for i in range(2)]
    all_together([*bodies, hammer])
    assert admissible(shared.values, storage).all()


@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
@pytest.mark.parametrize("optimizer", CODES)
def test_lost_updates_lose_no_more_than_the_others_work(rows, optimizer, storage):
    """Three processes come as far as one at least and as all three at most; states agree with that."""
    calls, n, lr = 20, 3, 0.01
    code, k = CODES[optimizer], calls * LONG
    ones = np.ones((LONG, WIDTH), np.float32)
    alone, shared = rows(storage), rows(storage)

    def work(where):
        for call in range(calls):
            where.update(code, ones, lr, call + 1)

    work(alone)
    all_together([lambda: work(shared)] * n)
    one, all_ = alone.values, shared.values
    largest = lr * {"momentum": 1 / (1 - 0.9), "adam": 2.0}.get(optimizer, 1.0)
    # A bfloat16's last place is up to a 128th of it, and moves at random: standard deviations of the sum.
    farthest = n * k * largest
    spread = 0.01 if storage == "float32" else 6 * np.sqrt(farthest * farthest / 128)
    assert (all_ < 0).all() and (all_ >= -farthest - spread).all()
    assert np.median(all_) <= 0.9 * np.median(one)
    state, second, clock = (shared.arena[name] for name in ("state1", "state2", "clock"))
    if optimizer == "adagrad":
        assert (state == np.round(state)).all() and (state >= 1).all() and (state <= n * k).all()
        assert np.median(state) >= 0.95 * k
    elif optimizer == "adagrad_row":
        sums = state.reshape(-1)[:N_ROWS]
        assert (np.abs(sums - np.round(sums)) < 1e-3 * sums).all() and (sums <= 1.001 * n * k).all()
    elif optimizer == "momentum":
        assert (state > 0).all() and (state <= 10.001).all() and (clock <= calls).all() and (clock >= 1).all()
    elif optimizer == "adam":
        assert (state > 0).all() and (state <= 1.001).all() and (clock <= calls).all() and (clock >= 1).all()
        assert (second > 0).all() and (second <= 1.001).all()


@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
def test_processes_killed_in_the_middle_of_updates_leave_whole_numbers(rows, storage):
    """Forty kills at random moments beside a process that goes on: nothing torn, and training continues."""
    shared, dice = rows(storage), random.Random(5)
    step = swing(shared, storage)

    def for_ever():
        while True:
            step()

    survivor = fork(for_ever)
    try:
        for _ in range(40):
            victim = fork(for_ever)
            time.sleep(dice.random() * 0.01)
            os.kill(victim, signal.SIGKILL)
            assert os.waitpid(victim, 0)[1] == signal.SIGKILL
            assert admissible(shared.values, storage).all()
            shared.arena["w"][...] = 0  # lost updates add up; 255 steps can be told apart
    finally:
        os.kill(survivor, signal.SIGKILL)
        os.waitpid(survivor, 0)
    before = shared.values
    shared.update(SGD, np.full((LONG, WIDTH), 2.0**-6, np.float32), 0.5, 1)
    assert shared.values.mean() < before.mean() - 1 and np.isfinite(shared.values).all()


N_LABELS, D = 40, 48


def test_a_changed_row_is_always_marked():
    """Copies made as a refresh makes them, while two processes train, lack no change of an unmarked row."""
    arena = Arena.create(
        new_run_id(),
        [
            ArraySpec("w", (N_LABELS, D), "f4"),
            ArraySpec("squares", (N_LABELS, D), "f4"),
            ArraySpec("copy", (N_LABELS, D), "f4"),
            ArraySpec("dirty", (N_LABELS,), "u1"),
            ArraySpec("turn", (3, 8), "i8"),
        ],
    )
    arena.unlink()
    w, squares, copy, dirty, turn = (arena[name] for name in ("w", "squares", "copy", "dirty", "turn"))
    turns = 300

    def train(worker):
        rng = np.random.default_rng(worker)
        active = np.stack([rng.permutation(N_LABELS)[:12] for _ in range(16)]).astype(np.int32)
        bounds = np.tile(np.int32([1, 12, 12]), (16, 1))
        hidden = rng.standard_normal((16, D)).astype(np.float32)
        one, clock = np.zeros((1, 1), np.float32), np.zeros(1, np.int64)
        scratch = (np.empty(12, np.float32), np.empty(12, np.int32), np.empty((16, D), np.float32))
        rate = (0.05, HYPER, 1, *scratch, np.zeros(24))
        layer = (w, squares, one, clock, one, one, one, clock, False, dirty)
        for number in range(turns):
            while turn[0, 0] <= number:
                time.sleep(0)
            for _ in range(5):
                seeds = rng.integers(0, 2**63, 16).astype(np.uint64)
                head = (active, bounds, hidden, seeds, SOFTMAX, False, 1.0, 0.0)
                output_step(*head, ADAGRAD, *layer, *rate)
            turn[1 + worker, 0] = number + 1

    pids, copied = [fork(lambda i=i: train(i)) for i in range(2)], 0
    try:
        for number in range(turns):
            turn[0, 0] = number + 1
            while (turn[1:, 0] <= number).any():
                ids = worth_hashing(dirty)
                clear_marks(dirty, ids)
                copy[ids] = w[ids]
                copied += len(ids)
            unmarked = dirty == 0
            np.testing.assert_array_equal(copy[unmarked], w[unmarked])
    finally:
        turn[0, 0] = turns
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0]
    assert copied > 10 * N_LABELS and np.isfinite(w).all() and w.any(axis=1).all()
    arena.close()
