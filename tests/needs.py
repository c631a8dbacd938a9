"""What a test needs of the machine and the user: one place where such tests are left out, or not."""

from __future__ import annotations

import os

import pytest


def needs(there: bool, what: str) -> None:
    """Go on only where ``what`` is there: else the test is skipped, or fails where `.ci/run` sees to it.

    With ``DISTLSH_NO_SKIPS=1`` no promise goes untested because nobody noticed that a right was missing.
    """
    if there:
        return
    if os.environ.get("DISTLSH_NO_SKIPS") == "1":
        pytest.fail(f"needs {what}; without, set DISTLSH_NO_SKIPS= to skip such tests")
    pytest.skip(f"needs {what}")
