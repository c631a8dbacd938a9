"""Nothing that distlsh reads can make it run code: no pickle, no eval, no shell."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "distlsh"

PICKLES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle"}
"""Modules whose reading runs what was written.

Two ways to pickle remain, neither from a file or socket that others can write.  The fork server hands a
child its start through a pipe between two processes of this user (`runtime.processes`): multiprocess pickles
the entry function's name and a packed struct.  And numba reads its cache of compiled kernels by pickle: that
folder is the user's alone, and another one is refused.
"""

RUNS_TEXT = {"eval", "exec", "compile", "__import__"}
SHELLS = {"system", "popen", "getoutput", "getstatusoutput", "create_subprocess_shell"}
UNSAFE_YAML = {"load", "load_all", "unsafe_load", "unsafe_load_all", "full_load", "full_load_all"}
PICKLING_LOADERS = {"load", "read_array", "NpzFile"}
PICKLING_PARTS = {"reduction", "connection", "Connection"}
PERMITTED = {
    "multiprocess.context.reduction.dump(multiprocess.spawn.get_preparation_data(name), buffer)",
    "multiprocess.context.reduction.dump(process, buffer)",
}
"""The start of a child, through a pipe."""

SAFE_LOADERS = {"yaml.SafeLoader", "yaml.CSafeLoader", "_Loader"}
RECEIVERS = {"recv_pyobj", "send_pyobj", "recv_serialized"}


def problems(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in PICKLES]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += _import_from(node.module, {alias.name for alias in node.names})
        elif isinstance(node, ast.Call):
            found += _call(node)
    return found


def _import_from(module: str, names: set[str]) -> list[str]:
    package = module.split(".")[0]
    if package in PICKLES or (package == "numpy" and names & PICKLING_LOADERS):
        return [module]  # of NumPy's, a bare `load` in a call would not show whose it is
    if package in ("multiprocess", "multiprocessing") and names & PICKLING_PARTS:
        return [module]
    return []


def _call(node: ast.Call) -> list[str]:
    text = ast.unparse(node)
    given = {word.arg: ast.unparse(word.value) for word in node.keywords}
    if isinstance(node.func, ast.Name):
        return [text] if node.func.id in RUNS_TEXT else []
    if not isinstance(node.func, ast.Attribute):
        return []
    module, name = ast.unparse(node.func.value), node.func.attr
    loads = module in ("np", "numpy", "npy", "format", "np.lib.format") and name in PICKLING_LOADERS
    wrong = [
        loads and given.get("allow_pickle") != "False",
        given.get("allow_pickle", "False") != "False",
        module == "yaml" and name in UNSAFE_YAML and given.get("Loader") not in SAFE_LOADERS,
        name == "import_module" and any(f"'{pickling}" in text for pickling in PICKLES),
        name in ("dump", "dumps", "loads", "load") and "reduction" in module and text not in PERMITTED,
        name in RECEIVERS,
        name in SHELLS and module in ("os", "subprocess", "asyncio"),
        given.get("shell", "False") != "False",
    ]
    return [text] if any(wrong) else []


def test_nothing_read_can_run_code():
    """No pickle or its like, no text run as code, no shell; NumPy loads with allow_pickle=False."""
    found = {str(path): problems(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}
    assert len(found) > 200 and {path: what for path, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from multiprocessing import x; import dill as y",
        "from joblib import load",
        "np.load(file)",
        "np.load(file, allow_pickle=True)",
        "npy.read_array(file)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.load(text, Loader=yaml.Loader)  # Safe",
        "yaml.load('Safe')",
        "yaml.unsafe_load(text)",
        "from numpy import load",
        "importlib.import_module('pickle')",
        "from multiprocessing import reduction",
        "from multiprocessing.connection import Connection",
        "multiprocess.context.reduction.loads(data)",
        "eval(text)",
        "socket.recv_pyobj()",
        "subprocess.run(line, shell=True)",
        "os.system(line)",
    ],
)
def test_the_check_finds_what_it_is_for(line):
    """Each way to run what was read is found."""
    assert problems(line)
