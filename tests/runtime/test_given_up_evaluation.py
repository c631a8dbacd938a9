"""An evaluation that is not wanted any more."""

from __future__ import annotations

from types import SimpleNamespace

from distlsh.config.load import parse_config
from distlsh.evaluation.sums import EvalSums
from distlsh.protocol.messages import Task
from distlsh.runtime.worker import Worker


class Interrupted(Worker):
    """A worker of 64 rows, 16 a block, that is asked to hand back within its first block."""

    def __init__(self):
        self._config = parse_config("{data: {train: x}, model: {hidden: [1024]}}")
        self._setup = SimpleNamespace(n_labels=10**9)
        self._test = SimpleNamespace(n_rows=64)
        self._link = SimpleNamespace(hand_back=False, beat=self.look)
        self._line = [0, 0]
        self.upto = None
        self.blocks = 0

    def look(self):
        self._link.hand_back = True

    def _evaluate_block(self, test, rows):
        self.blocks += 1
        return EvalSums()


def test_a_worker_leaves_an_evaluation_after_the_block_in_hand():
    """It begins no other block; there is no result of a part, and all of the task is handed back."""
    worker = Interrupted()
    result = worker._evaluate(Task(id=1, kind="evaluate_final", first=0, last=64), 64)
    assert worker.blocks == 1
    assert result == b"" and worker.upto == 0
