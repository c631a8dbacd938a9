"""Children that end by themselves before they are ready: reported at once, with what they said."""

from __future__ import annotations

import pytest
from striking import OnceThere
from watching import Watcher

from distlsh.errors import ChildError
from distlsh.runtime.launch import run


def failure(config, tmp_path):
    watcher = Watcher()
    with pytest.raises(ChildError) as caught:
        run(config(), observer=watcher, run_dir=tmp_path / "run")
    return str(caught.value), [notice.text for notice in watcher.notices]


def test_an_exit_before_the_hello_is_not_tried_again(config, tmp_path, worker_runs):
    """The error has the exit code and the end of the log."""
    worker_runs("    print('cannot find my hat', flush=True)\n    import os\n    os._exit(3)\n")
    text, notices = failure(config, tmp_path)
    assert "exited with code 3 before it was ready" in text and "cannot find my hat" in text
    assert not any("is back" in notice for notice in notices)


def test_a_failing_import_is_reported_with_its_traceback(config, tmp_path, worker_runs):
    """What a child cannot import it will not find the next time."""
    worker_runs("    import no_such_module\n")
    text, _ = failure(config, tmp_path)
    assert "Traceback" in text and "No module named 'no_such_module'" in text and "other_worker.py" in text


def test_a_child_without_memory_is_started_again_until_the_limit(config, tmp_path, worker_runs):
    """MemoryError is a death, not a mistake: tried again, then given up with what to lower."""
    worker_runs("    raise MemoryError\n")
    text, notices = failure(config, tmp_path)
    assert "could get no more memory; lower run.workers" in text and "restarted 3 times within 600 s" in text
    assert sum("could get no more memory" in notice for notice in notices) >= 3


def test_a_child_that_dies_while_others_wait_does_not_stop_them(config, tmp_path, worker_runs):
    """The first of a role's processes dies unseen; the run is complete with its successor."""
    worker_runs(
        "    from pathlib import Path\n    import os, signal\n"
        "    from distlsh.runtime.worker import serve\n"
        "    mark = Path(setup.log).with_suffix('.died')\n"
        "    if not mark.exists() and setup.index == 1:\n"
        "        mark.touch()\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    serve(setup, arena, link)\n"
    )
    watcher = OnceThere(lambda: None)
    summary = run(config(), observer=watcher, run_dir=tmp_path / "run")
    assert summary.status == "completed" and summary.worker_restarts == 1
