"""The example of the documentation runs."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[3] / "docs" / "lsh.md"


def test_the_documented_example_runs_and_returns_what_it_says(tmp_path, monkeypatch):
    """The code below the heading "LSHIndex" runs as it stands, and its comments hold."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## LSHIndex\n")[2]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert code is not None
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code[1], names)
    assert names["ids"].shape == (5, 10) and names["ids"].dtype == "int64"
    assert names["new"].tolist() == [20000, 20001, 20002] and len(names["index"]) == 20001
