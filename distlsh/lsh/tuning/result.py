"""What a tuning found, and how it is shown."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from distlsh.lsh.tuning.choose import Setting
from distlsh.lsh.tuning.curves import CollisionCurve
from distlsh.lsh.tuning.goal import Goal
from distlsh.lsh.tuning.measure import Measured
from distlsh.lsh.tuning.shown import LEGEND, markdown_table

_KEYS = {
    "cross_polytope": ("dim",),
    "wta": ("bin_size",),
    "dwta": ("bin_size",),
    "l2": ("l2_width", "code_bits"),
}
"""Settings that tuning chooses for some families only."""


@dataclass(frozen=True)
class Tuning:
    """The trade-off of all hash functions that were tried.

    best      the setting to use: the cheapest that meets ``goal``, or the nearest to it
    table     a setting for each kind of hash functions, best first
    measured  recall and candidates of every number of tables and probes, for each kind
    curves    collision probability of single hashes, for each family and width
    """

    goal: Goal
    metric: str
    n_rows: int
    n_dims: int
    n_queries: int
    best: Setting
    table: list[Setting]
    measured: list[Measured] = field(repr=False)
    curves: list[CollisionCurve] = field(repr=False)

    @property
    def out_of_reach(self) -> str | None:
        """What of the goal no setting reached, in a sentence; None if it is met."""
        if self.best.meets:
            return None
        goal, best = self.goal, self.best
        limits = " and ".join(self._limits()) or "the tables and probes tried"
        text = (
            f"recall {goal.recall:g} of the exact top {goal.k} is out of reach within {limits}: "
            f"the best found has {best.recall:.3f} (+-{best.error:.3f}) "
            f"with {best.candidates:,.0f} candidates a query"
        )
        needed = self._least_candidates()
        if needed is None:
            return f"{text}; no setting tried reaches it with any number of candidates"
        if needed <= goal.candidates_of(self.n_rows):
            return f"{text}; with more memory, {needed:,.0f} candidates reach it"
        return f"{text}; it takes about {needed:,.0f} candidates ({needed / self.n_rows:.2%} of the rows)"

    def _limits(self) -> list[str]:
        goal = self.goal
        found = []
        if goal.max_candidates is not None:
            found.append(f"{goal.candidates_of(self.n_rows):,.0f} candidates")
        if goal.max_bytes is not None:
            found.append(f"{goal.max_bytes / 2**20:,.0f} MiB")
        return found

    def _least_candidates(self) -> float | None:
        enough = [m.candidates[m.recall - m.error >= self.goal.recall] for m in self.measured]
        all_of = np.concatenate([each.ravel() for each in enough]) if enough else np.empty(0)
        return float(all_of.min()) if len(all_of) else None

    def to_yaml(self) -> str:
        """Return the lines of a configuration's ``lsh`` group that use the best setting."""
        spec = self.best.spec
        lines = ["lsh:", f"  family: {spec.family}"]
        lines += [f"  {name}: {getattr(spec, name)}" for name in ("n_hashes", "n_tables", "n_probes")]
        lines += [f"  {name}: {getattr(spec, name)}" for name in _KEYS.get(spec.family, ())]
        if spec.transform != "none":
            lines.append(f"  transform: {spec.transform}")
        if self.best.bucket_size is not None:
            lines.append(f"  bucket_size: {self.best.bucket_size}")
        return "\n".join(lines) + "\n"

    def to_markdown(self, rows: int | None = None) -> str:
        """Return the trade-off as a Markdown table, best first; the first ``rows`` of it."""
        head = (
            f"{self.n_rows:,} rows of {self.n_dims} dimensions, metric {self.metric}, "
            f"{self.n_queries:,} queries; recall of the exact top {self.goal.k}\n\n"
        )
        note = f"\n{self.out_of_reach}\n" if self.out_of_reach else ""
        return f"{head}{markdown_table(self.table[:rows], self.n_rows)}\n{LEGEND}\n{note}"

    def to_dict(self) -> dict[str, Any]:
        """Return the goal, the best setting and the table as JSON values."""
        from distlsh.lsh.tuning.shown import plain

        return {
            "goal": plain(self.goal),
            "metric": self.metric,
            "n_rows": self.n_rows,
            "n_dims": self.n_dims,
            "n_queries": self.n_queries,
            "out_of_reach": self.out_of_reach,
            "best": plain(self.best),
            "table": [plain(each) for each in self.table],
        }

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """Write a picture of recall against candidates and of the collision curves; needs matplotlib."""
        from distlsh.lsh.tuning.picture import draw

        return draw(self, Path(path))
