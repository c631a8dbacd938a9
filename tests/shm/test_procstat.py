"""What the kernel tells of processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from distlsh.shm.procstat import process_stat

NAMED = "import time; open('/proc/self/comm', 'w').write('x) Z (y'); print(flush=True); time.sleep(60)"


def test_a_name_with_brackets_is_no_state():
    """Name, parent and state are told apart; a zombie is one, and who was waited for is nobody."""
    with subprocess.Popen([sys.executable, "-c", NAMED], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = process_stat(child.pid)
        assert found is not None
        assert (found.name, found.parent) == ("x) Z (y", os.getpid())
        assert found.state in "RS"
        own = process_stat(os.getpid())
        assert own is not None and 0 < own.started <= found.started
        child.send_signal(signal.SIGKILL)
        end = time.monotonic() + 10
        while (found := process_stat(child.pid)) is not None and found.state != "Z":
            assert time.monotonic() < end
    assert process_stat(child.pid) is None
