"""What a dense run need not compile."""

from __future__ import annotations

import subprocess
import sys


def test_a_worker_without_hashed_layers_loads_none_of_their_kernels():
    """Importing the worker and the rehasher imports no kernel module that only hashed layers use."""
    code = (
        "import sys, distlsh.runtime.worker, distlsh.runtime.rehasher\n"
        "found = [f'distlsh.kernels.{m}' for m in ('pairs', 'hashed_layer', 'pairs_output')]\n"
        "print([m for m in found if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
