"""Small runs, as the integration tests have them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from distlsh.runtime import assembly

for folder in (Path(__file__).parent, Path(__file__).parents[1] / "integration"):
    sys.path.insert(0, str(folder))

from tests.integration.conftest import cache, config  # noqa: E402

__all__ = ["cache", "config"]


@pytest.fixture
def worker_runs(monkeypatch, tmp_path):
    """Have workers begin in a function of a module that is written here."""

    def use(body: str):
        (tmp_path / "other_worker.py").write_text(
            "from distlsh.runtime.child import run_child\n"
            "def main(packed):\n    run_child(packed, body)\n"
            f"def body(setup, arena, link):\n{body}"
        )
        monkeypatch.syspath_prepend(tmp_path)
        module = importlib.import_module("other_worker")
        monkeypatch.setattr(assembly, "worker_main", module.main)

    yield use
    sys.modules.pop("other_worker", None)
