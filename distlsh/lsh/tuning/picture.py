"""The plot of a tuning: recall against candidates, and the collision curves."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distlsh.errors import UsageError
from distlsh.lsh.naming import name_of
from distlsh.lsh.tuning.measure import Doubles, Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from distlsh.lsh.tuning.result import Tuning

MISSING = "matplotlib is not installed; install it with: pip install 'distlsh[plot]'"


def require() -> None:
    """Raise UsageError where matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError(MISSING)


def draw(tuning: Tuning, path: Path) -> Path:
    """Write the picture; UsageError where matplotlib is missing or the file cannot be written."""
    require()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    _trade_off(left, tuning)
    _collisions(right, tuning)
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: the plot could not be written: {error}") from None
    return path


def _trade_off(axes: Axes, tuning: Tuning) -> None:
    for family in dict.fromkeys(m.spec.family for m in tuning.measured):
        x, y = envelope([m for m in tuning.measured if m.spec.family == family])
        axes.step(100 * x / tuning.n_rows, y, where="post", label=family)
    best, goal = tuning.best, tuning.goal
    axes.plot(100 * best.candidates / tuning.n_rows, best.recall, "k*", markersize=12, label="chosen")
    axes.axhline(goal.recall, color="grey", linestyle=":", label="goal")
    if goal.max_candidates is not None:
        axes.axvline(100 * goal.candidates_of(tuning.n_rows) / tuning.n_rows, color="grey", linestyle=":")
    axes.set_xscale("log")
    axes.set(xlabel="rows found by a query (%)", ylabel=f"recall of the exact top {goal.k}", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend()


def envelope(measured: list[Measured]) -> tuple[Doubles, Doubles]:
    """Return candidates, ascending, and the highest recall that any setting has with so many."""
    x = np.concatenate([m.candidates.ravel() for m in measured])
    y = np.concatenate([m.recall.ravel() for m in measured])
    order = np.lexsort((-y, x))
    x, y = x[order], np.maximum.accumulate(y[order])
    rises = np.concatenate([[True], y[1:] > y[:-1]]) & (x > 0)
    return x[rises], y[rises]


def _collisions(axes: Axes, tuning: Tuning) -> None:
    for number, curve in enumerate(tuning.curves):
        colour = f"C{number % 10}"
        seen = curve.pairs >= _LEAST_PAIRS
        axes.plot(
            curve.similarity[seen], curve.probability[seen], "o", color=colour, label=name_of(curve.spec)
        )
        axes.plot(curve.similarity[seen], curve.expected()[seen], "-", color=colour, alpha=0.6)
    axes.set(xlabel=_AXIS[tuning.curves[0].of], ylabel="one hash agrees (line: closed form)", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


_LEAST_PAIRS = 20
_AXIS = {"cosine": "cosine", "distance": "Euclidean distance", "jaccard": "Jaccard similarity"}
