"""The coordinator's writer of checkpoints: beside its own work, one at a time, with what goes wrong told."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from distlsh.errors import ResourceError
from distlsh.model.checkpoint import Moment
from distlsh.protocol import events as ev
from distlsh.protocol.actions import SaveCheckpoint
from distlsh.protocol.plan import Plan
from distlsh.runtime.background import Saves

POSITION = Plan(
    n_train=10, n_labels=5, epochs=1, chunk=5, rehash_initial=5, rehash_decay=0.1, rehash_max_drift=0.5
).start()
BESIDE = SaveCheckpoint(POSITION, quiet=False, last=False)
LAST = SaveCheckpoint(POSITION, quiet=True, last=True)


class Writer:
    """A saver whose writing lasts until it is allowed to end."""

    def __init__(self, error: Exception | None = None):
        self.error, self.go_on, self.live = error, threading.Event(), []

    def save(self, position, figures, *, live):
        self.live.append(live)

        def write(*, watch):
            while not self.go_on.wait(0.005):
                watch(Moment.BLOCK)
            if self.error is not None:
                raise self.error
            watch(Moment.WRITTEN)
            return Path("samples-000")

        return write


@pytest.fixture
def saves():
    """Make saves by a writer; what they told is in ``told``."""
    made = []

    def make(writer, interval_s=0.0):
        one = Saves(
            writer, interval_s, memoryview(bytearray(64)).cast("q"), lambda *told: one.told.append(told)
        )
        one.told = []
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


def until(condition):
    end = time.monotonic() + 20
    while (value := condition()) is None:
        assert time.monotonic() < end
        time.sleep(0.002)
    return value


class NoMemory(Writer):
    """A saver whose first save finds no memory for what is to be written."""

    def save(self, position, figures, *, live):
        write = super().save(position, figures, live=live)
        if len(self.live) == 1:
            raise MemoryError
        self.go_on.set()
        return write


def test_a_save_without_memory_to_begin_has_failed_and_the_next_succeeds(saves):
    """The run goes on with a warning that says what to lower."""
    one = saves(NoMemory())
    one.begin(BESIDE, {})
    assert until(one.heard) == ev.Saved(kept=False)
    ((level, text),) = one.told
    assert level == "warning" and "lower run.workers" in text
    one.begin(BESIDE, {})
    assert until(one.heard) == ev.Saved(kept=True)


def test_a_save_goes_on_beside_the_caller_and_is_told_once(saves):
    """`begin` returns at once; the end is heard once, with the checkpoint's name."""
    writer = Writer()
    one = saves(writer)
    one.begin(BESIDE, {})
    assert one.heard() is None and one.heard() is None
    writer.go_on.set()
    assert until(one.heard) == ev.Saved(kept=True)
    assert one.heard() is None and one.seconds > 0 and writer.live == [True]
    assert one.told == [("info", "checkpoint samples-000 after 0 samples")]


def test_a_full_disk_in_the_middle_of_a_run_is_a_warning(saves):
    """The run goes on: the machine hears that nothing was kept, a person why."""
    writer = Writer(ResourceError("the disk filled up"))
    writer.go_on.set()
    one = saves(writer)
    one.begin(BESIDE, {})
    assert until(one.heard) == ev.Saved(kept=False)
    ((level, text),) = one.told
    assert level == "warning" and "the disk filled up" in text and "try again" in text


NO_THREAD = RuntimeError("can't start new thread")


def refuse(*_):
    raise NO_THREAD


@pytest.mark.parametrize("error, text", [(NO_THREAD, "pids.max"), (MemoryError(), "no more memory")])
def test_a_machine_without_threads_or_memory_is_a_warning_too(saves, error, text):
    """Writing takes threads and buffers; a run must not end because none is to be had for a moment."""
    writer = Writer(error)
    writer.go_on.set()
    one = saves(writer)
    one.begin(BESIDE, {})
    assert until(one.heard) == ev.Saved(kept=False)
    ((level, told),) = one.told
    assert level == "warning" and text in told


def test_a_save_without_a_thread_of_its_own_fails_and_the_next_one_works(saves, monkeypatch):
    """It is heard like any other failed save, and nobody waits for the thread that never was."""
    writer = Writer()
    writer.go_on.set()
    one = saves(writer)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        one.begin(BESIDE, {})
    assert one.heard() == ev.Saved(kept=False) and "no thread" in one.told[0][1]
    assert one.heard() is None
    one.close()
    one.begin(BESIDE, {})
    assert until(one.heard) == ev.Saved(kept=True)


@pytest.mark.parametrize("error", [NO_THREAD, MemoryError(), KeyError("a bug")])
def test_a_rescue_without_a_thread_hides_no_first_error(saves, error, monkeypatch):
    """Whatever fails in it is a warning, whether its thread starts or not."""
    writer = Writer(error)
    writer.go_on.set()
    one = saves(writer)
    if error is NO_THREAD:
        monkeypatch.setattr(threading.Thread, "start", refuse)
    one.rescue(lambda _: POSITION, dict)
    one.close()
    ((level, told),) = one.told
    assert level == "warning" and "could not be saved" in told


@pytest.mark.parametrize("asked, error", [(LAST, ResourceError("full")), (BESIDE, KeyError("a bug"))])
def test_the_last_ones_error_and_any_that_is_no_disks_is_raised(saves, asked, error):
    """Where no other save follows, and where the program is wrong, the run must end."""
    writer = Writer(error)
    writer.go_on.set()
    one = saves(writer)
    one.begin(asked, {})
    with pytest.raises(type(error)):
        until(one.heard)


def test_a_save_that_is_given_up_ends_soon_and_keeps_nothing(saves):
    """The writer is stopped between two blocks; nothing is told, since nobody asked for it any more."""
    one = saves(Writer())
    one.begin(LAST, {})
    one.give_up()
    assert until(one.heard) == ev.Saved(kept=False) and not one.told


def test_time_asks_for_a_save_once_an_interval_and_never_while_one_is_written(saves):
    """The interval is from the end of one save to the next."""
    writer = Writer()
    one = saves(writer, interval_s=0.1)
    assert one.heard() is None
    assert until(one.heard) == ev.SaveDue()
    one.begin(BESIDE, {})
    time.sleep(0.15)
    assert one.heard() is None
    writer.go_on.set()
    assert until(one.heard) == ev.Saved()
    assert one.heard() is None
    assert until(one.heard) == ev.SaveDue()


def test_without_an_interval_time_never_asks(saves):
    """0 seconds mean none."""
    one = saves(Writer())
    time.sleep(0.05)
    assert one.heard() is None


def test_waiting_is_counted_only_while_work_waits(saves):
    """Seconds between the notes, and none outside of them."""
    one = saves(Writer())
    one.waited_for(False)
    time.sleep(0.02)
    one.waited_for(True)
    time.sleep(0.05)
    one.waited_for(True)
    one.waited_for(False)
    waited = one.stalled_s
    time.sleep(0.02)
    one.waited_for(False)
    assert 0.05 <= waited == one.stalled_s


def test_a_rescue_ends_the_save_under_way_and_then_writes_what_was_learned(saves):
    """Two checkpoints, the second of the position after the failure, exact."""
    writer = Writer()
    one = saves(writer)
    one.begin(BESIDE, {})
    writer.go_on.set()
    asked = []
    one.rescue(lambda final_saved: asked.append(final_saved) or POSITION, dict)
    assert asked == [False] and writer.live == [True, False] and len(one.told) == 2


def test_a_rescue_that_fails_is_told_and_does_not_hide_the_first_error(saves):
    """Its own error is a warning: the run ends with the one that made it fail."""
    writer = Writer(ResourceError("the disk filled up"))
    writer.go_on.set()
    one = saves(writer)
    one.rescue(lambda _: POSITION, dict)
    ((level, text),) = one.told
    assert level == "warning" and "could not be saved: the disk filled up" in text
