"""A fork server where descriptors run out, where somebody else has waited for it, or its start is cut off."""

from __future__ import annotations

import errno
import os
import resource
from contextlib import contextmanager

import pytest

from distlsh.errors import ResourceError
from distlsh.runtime.exhausted import exhaustion
from distlsh.runtime.processes import ForkServer

ENOUGH = 12


def nothing(packed):
    pass


@pytest.fixture
def server():
    server = ForkServer()
    assert server.folder.is_dir()
    yield server
    server.stop()


@contextmanager
def left(n):
    """Let this process open ``n`` descriptors more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + n, hard))
    taken = []
    try:
        while True:
            try:
                taken.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        for _ in range(n):
            os.close(taken.pop())
        yield
    finally:
        for one in taken:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def refusals(action):
    """Call with ever more descriptors until it succeeds; return what the others raised, and the result."""
    errors = []
    for n in range(ENOUGH):
        before = len(os.listdir("/proc/self/fd"))
        try:
            with left(n):
                result = action()
        except ResourceError as error:
            errors.append(str(error))
            assert len(os.listdir("/proc/self/fd")) == before
        else:
            return errors, result
    raise AssertionError(f"not even {ENOUGH} descriptors are enough")


def test_a_server_without_descriptors_is_an_error_that_says_what_to_raise(server):
    """With none to some left, and none is lost; with enough it starts."""
    errors, _ = refusals(server.start)
    assert len(errors) >= 3 and all("ulimit -n" in text and "fork server" in text for text in errors)
    assert server.pid is not None


def test_a_child_without_descriptors_is_an_error_that_says_what_to_raise(server):
    """It names the child; no descriptor of those it got is lost; with enough the server is asked."""
    server.start()
    errors, child = refusals(lambda: server.ask(nothing, b"", "distlsh-worker-0"))
    child.close()
    assert len(errors) == 6 and all("ulimit -n" in text and "distlsh-worker-0" in text for text in errors)


@pytest.mark.parametrize(
    "number, words",
    [
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "fs.file-max"),
        (errno.EAGAIN, "pids.max"),
        (errno.ENOMEM, "free some memory"),
    ],
)
def test_exhaustion_is_told_with_the_setting_to_raise(number, words):
    """What failed, why, what to raise, and what to lower instead."""
    with pytest.raises(ResourceError) as caught, exhaustion("the server cannot be started"):
        raise OSError(number, os.strerror(number))
    assert str(caught.value).startswith("the server cannot be started: ")
    assert words in str(caught.value) and "lower run.workers" in str(caught.value)
    assert os.strerror(number) in str(caught.value)


def test_other_errors_stay_what_they_are():
    """What no limit is to blame for is not hidden."""
    with pytest.raises(FileNotFoundError), exhaustion("the server cannot be started"):
        raise FileNotFoundError(errno.ENOENT, "no such file")


def test_a_server_that_others_waited_for_is_stopped_without_an_error(server):
    """Whoever embeds a run may wait for all its children; the pid may be another's then."""
    server.start()
    server.kill()
    os.waitpid(server.pid, 0)
    server.kill()
    server.stop()
    assert server.pid is None


def test_a_start_that_is_cut_off_leaves_nothing(server, monkeypatch):
    """An interrupt between the launch and the descriptor that watches: the end still ends the server."""

    def interrupted(pid):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "pidfd_open", interrupted)
        with pytest.raises(KeyboardInterrupt):
            server.start()
    assert server.pid is not None
    server.stop()
    assert server.pid is None
