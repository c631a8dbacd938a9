"""Samples that are trained again are counted once each."""

from __future__ import annotations

import numpy as np

from distlsh.model.counters import N_COUNTERS, Counter
from distlsh.runtime.repeats import Repeats


def count(counters, worker, samples=0, pretrained=0):
    counters[worker, Counter.SAMPLES] += samples
    counters[worker, Counter.PRETRAINED] += pretrained


def test_only_what_was_not_acknowledged_counts():
    """Acknowledged samples of a worker that dies are not repeated; those of its last task are."""
    counters = np.zeros((2, N_COUNTERS))
    counters[0, Counter.SAMPLES] = 1000  # of before a resume
    repeats = Repeats(counters)
    count(counters, 0, 512, 100)
    repeats.acknowledged(0)
    count(counters, 0, 37)
    count(counters, 1, 5, 9)
    repeats.lost(0)
    assert (repeats.samples, repeats.pretrained) == (37, 0)
    repeats.lost(0)  # its successor died before it had work
    repeats.all_lost()
    assert (repeats.samples, repeats.pretrained) == (42, 9)


def test_counts_go_on_after_a_resume():
    """A resumed run adds to the repeats of the parts before it."""
    before = Repeats(np.zeros((1, N_COUNTERS)))
    counters = np.zeros((1, N_COUNTERS))
    repeats = Repeats(counters)
    before._repeated[:] = 7, 8
    repeats.restore(before.state(np.zeros((1, N_COUNTERS))))
    count(counters, 0, 3)
    repeats.lost(0)
    assert (repeats.samples, repeats.pretrained) == (10, 8)
