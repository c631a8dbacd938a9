"""Which signals ask, which end, and which are one."""

from __future__ import annotations

import os
import signal
import time

import pytest

from distlsh.runtime.stop_signals import StopNow, StopSignals


def send(number=signal.SIGTERM):
    os.kill(os.getpid(), number)
    time.sleep(0.001)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_first_signal_asks_where_there_is_something_to_save(number):
    """Ctrl-C, SIGTERM and a closed terminal are alike; the descriptor wakes whoever polls."""
    with StopSignals() as signals:
        signals.patient = True
        send(number)
        assert signals.requested and signals.name == signal.Signals(number).name
        signals.drain()
        with pytest.raises(BlockingIOError):
            signals.drain()


def test_signals_within_a_moment_are_one():
    """A process group sends a signal to itself and to its members: that is no second request."""
    with StopSignals() as signals:
        signals.patient = True
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGHUP):
            send(number)
        assert signals.requested and signals.name == "SIGINT"


def test_a_later_signal_ends_at_once():
    """Who asks again will not wait."""
    with StopSignals() as signals:
        signals.patient = True
        send()
        time.sleep(0.35)
        with pytest.raises(StopNow):
            send(signal.SIGINT)
        signals.deaf = True
        send()


def test_a_signal_ends_at_once_where_nothing_is_to_be_saved():
    """Before training, the first one leaves; the group's copies of it do not disturb the cleaning up."""
    with StopSignals() as signals:
        with pytest.raises(StopNow):
            send()
        send()
        assert not signals.requested


def test_a_signal_waits_for_the_end_of_what_changes_together():
    """Within the block nothing is raised, at its end StopNow; once out of it, signals end at once again."""
    with StopSignals() as signals:
        done = False
        with pytest.raises(StopNow), signals.held():
            send()
            done = True
        assert done
        time.sleep(0.35)
        with pytest.raises(StopNow):
            send()


def test_an_error_is_not_hidden_by_a_signal_that_waited():
    """What ends a run is told, though somebody wanted its end anyway."""
    with StopSignals() as signals, pytest.raises(LookupError), signals.held():
        send()
        raise LookupError


def test_nohup_is_respected():
    """A run that was started to survive its terminal does."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            signals.patient = True
            send(signal.SIGHUP)
            assert not signals.requested
    finally:
        signal.signal(signal.SIGHUP, before)
