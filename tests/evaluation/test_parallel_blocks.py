"""Rows handed to threads in blocks."""

from __future__ import annotations

import threading

import pytest

from distlsh.evaluation.parallel import in_blocks


@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize("n_rows", [0, 1, 63, 64, 65, 1024, 5000])
def test_every_row_is_in_one_block(n_rows: int, n_threads: int) -> None:
    """The blocks cover all rows once, and none is empty or too large."""
    seen: list[tuple[int, int]] = []
    in_blocks(n_rows, lambda first, last: seen.append((first, last)), n_threads)
    seen.sort()
    assert [row for first, last in seen for row in range(first, last)] == list(range(n_rows))
    assert all(0 < last - first <= 1024 for first, last in seen)


def test_an_error_reaches_the_caller_and_ends_the_threads() -> None:
    """The exception of a block is raised, and no thread outlives the call."""

    def work(first: int, last: int) -> None:
        if first > 0:
            raise ValueError(f"block {first}")

    before = threading.active_count()
    with pytest.raises(ValueError, match="block"):
        in_blocks(5000, work, 2)
    assert threading.active_count() == before
