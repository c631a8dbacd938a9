"""When the hash functions are chosen again (`lsh.auto`)."""

from __future__ import annotations

import msgspec

SLACK = 0.1
"""Share by which a recall may fall before it counts as drift: evaluations are of some thousand rows."""

HIGHEST = 0.99


class TuneSchedule(msgspec.Struct, kw_only=True):
    """What is asked of the next tuning, and whether an evaluation's recall calls for one.

    A choice is judged at the first evaluation after it.  Where that finds less than was promised
    for the sampled training instances, the next tuning is asked for as much more.  From then on
    the choice stands until the recall falls by a tenth.  At most ``most`` tunings are made
    in a run, so that a goal that cannot be met does not end in one tuning after the other.
    """

    goal: float
    most: int
    target: float = 0.0
    n: int = 0  # tunings so far
    kept: bool = False  # the last one's promise reached its target
    reference: float | None = None  # recall of the first evaluation after it, at most the goal
    due: bool = False  # an evaluation called for a tuning that is not done

    def asked(self) -> float:
        """Return the recall that the next tuning is to reach."""
        return max(self.goal, self.target)

    def tuned(self, recall: float) -> None:
        """Take note of a choice with this recall on training instances."""
        self.kept = recall >= self.asked()
        self.n, self.reference, self.due = self.n + 1, None, False

    def drifted(self, recall: float) -> bool:
        """Take note of an evaluation's recall; tell whether to tune again."""
        if self.due:  # an evaluation of the tables that are about to be replaced
            return False
        self.due = self._drifted(recall)
        return self.due

    def _drifted(self, recall: float) -> bool:
        if not self.n:
            return False
        if self.reference is not None:
            return self.n < self.most and recall < self.reference * (1 - SLACK)
        self.reference = min(recall, self.goal)
        if recall >= self.goal * (1 - SLACK) or not self.kept or self.n >= self.most:
            return False
        self.target = min(HIGHEST, self.asked() + self.goal - recall)
        return True
