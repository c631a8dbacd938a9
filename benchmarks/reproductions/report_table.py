"""A table of results, on the terminal and in a report."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table


def show(console: Console, title: str, head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Print a table, and return it in Markdown, without its title."""
    shown = Table(*head, title=title)
    for line in lines:
        shown.add_row(*line)
    console.print(shown)
    marks = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, marks, *lines))
