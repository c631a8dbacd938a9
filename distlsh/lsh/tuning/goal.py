"""What a user wants of the tables."""

from __future__ import annotations

from dataclasses import dataclass

from distlsh.errors import UsageError


@dataclass(frozen=True)
class Goal:
    """What the chosen setting must reach, in the order in which it is given up if it cannot.

    recall          share of a query's k exact neighbours that its buckets hold, in (0, 1)
    k               neighbours
    max_candidates  distinct rows found a query, in the mean: a number of rows, or below 1 a share of all
    max_bytes       of the tables
    """

    recall: float
    k: int = 10
    max_candidates: float | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.recall < 1:
            raise UsageError(f"target_recall is {self.recall}; it must be above 0 and below 1, such as 0.9")
        if self.max_candidates is not None and not self.max_candidates > 0:
            raise UsageError(
                f"max_candidates is {self.max_candidates}; give a number of rows, or a share below 1"
            )
        if self.max_bytes is not None and self.max_bytes < 1:
            raise UsageError(f"max_bytes is {self.max_bytes}; give a size in bytes, such as 1_000_000_000")

    def candidates_of(self, n_rows: int) -> float:
        """Return the largest number of candidates of a query among ``n_rows``."""
        limit = self.max_candidates
        if limit is None:
            return float(n_rows)
        return limit * n_rows if limit < 1 else min(limit, float(n_rows))
