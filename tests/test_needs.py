"""No promise goes untested because a right was missing and nobody noticed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.needs import needs

TESTS = Path(__file__).parent


@pytest.mark.parametrize(("value", "outcome"), [("1", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_what_cannot_run_fails_where_no_test_may_be_skipped(monkeypatch, value, outcome):
    """Elsewhere it is skipped; what can run runs in both cases."""
    monkeypatch.setenv("DISTLSH_NO_SKIPS", value)
    needs(True, "nothing")
    with pytest.raises(outcome, match="needs a moon"):
        needs(False, "a moon")


def test_rights_are_asked_for_in_one_place():
    """No test skips itself by the user's number; `needs` and the fixture `root` are for that."""
    skips = re.compile(r"skip.{0,80}?(geteuid|getuid|can_kill)|(geteuid|getuid).{0,80}?skip", re.DOTALL)
    found = [str(path) for path in TESTS.rglob("*.py") if skips.search(path.read_text())]
    assert found == [str(Path(__file__))]
