"""Imports point down the list of packages, and zmq has one importer."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "distlsh"
ORDER = [
    "errors",
    "constants",
    "files",
    "folders",
    "config",
    "kernels",
    "shm",
    "lsh",
    "model",
    "data",
    "evaluation",
    "inference",
    "predictions",
    "protocol",
    "transport",
    "runtime",
    "cli",
]
REPORTS = "distlsh.protocol.reports"
"""Plain structs that every package may speak of."""

FILES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem in ORDER)


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def package(name: str) -> str:
    return name.split(".")[1] if name.count(".") else ""


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_what_stands_before_its_package(path):
    """config may not import kernels, protocol may not import runtime, and so on."""
    mine = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for name in imported(path):
        if name.startswith("distlsh.") and not name.startswith(REPORTS) and package(name) in ORDER:
            assert ORDER.index(package(name)) <= ORDER.index(mine), f"{path} imports {name}"


def test_only_transport_imports_zmq():
    """Sockets, contexts and pollers are transport's."""
    users = {p for p in ROOT.rglob("*.py") if any(n.split(".")[0] == "zmq" for n in imported(p))}
    assert {p.parent.name for p in users} == {"transport"}


def test_only_processes_starts_processes():
    """multiprocess is imported by runtime.processes alone."""
    users = {p for p in ROOT.rglob("*.py") if any(n.startswith("multiprocess") for n in imported(p))}
    assert users == {ROOT / "runtime" / "processes.py"}
