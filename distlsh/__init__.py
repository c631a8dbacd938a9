"""Train networks with very wide outputs on CPU cores, computing only the neurons that hashing finds.

    import distlsh

    summary = distlsh.train("configs/quickstart.yaml", workers=2)
    ids, scores = distlsh.Model.load(summary.run_dir).predict(X, k=5)

Importing this package compiles and loads nothing; each name is imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from distlsh._version import __version__

if TYPE_CHECKING:
    from distlsh.api import train
    from distlsh.data.opening import open_dataset
    from distlsh.inference import Model
    from distlsh.lsh.index import LSHIndex
    from distlsh.predictions import predict_to_file

_HOMES = {
    "LSHIndex": "distlsh.lsh.index",
    "train": "distlsh.api",
    "Model": "distlsh.inference",
    "predict_to_file": "distlsh.predictions",
    "open_dataset": "distlsh.data.opening",
}

__all__ = ["LSHIndex", "Model", "__version__", "open_dataset", "predict_to_file", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
