"""Settings as text: columns that the command, Markdown and JSON share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from distlsh.lsh.naming import name_of
from distlsh.lsh.tuning.choose import Setting

COLUMNS = (
    "family", "K", "L", "probes", "bucket", "recall", "+-", "candidates", "us", "MiB",
    "P1", "L0", "L0 formula", "goal",
)  # fmt: skip

LEGEND = (
    "us: of a query, by the cost model; P1: one hash agrees on a query and a neighbour; "
    "L0: tables that reach the goal without probes, measured and by log(1 - recall) / log(1 - P1^K)"
)


def cells(setting: Setting, n_rows: int) -> tuple[str, ...]:
    """Return a row of the table, in the order of `COLUMNS`."""
    spec, s = setting.spec, setting
    return (
        name_of(spec), str(spec.n_hashes), str(spec.n_tables), str(spec.n_probes),
        _or_dash(s.bucket_size), f"{s.recall:.3f}", f"{s.error:.3f}",
        f"{s.candidates:,.0f} ({s.candidates / n_rows:.2%})", f"{s.query_us:,.1f}",
        f"{s.n_bytes / 2**20:,.1f}",
        "-" if s.one_hash is None else f"{s.one_hash:.3f}", _or_more(s.tables_unprobed),
        _or_more(s.tables_by_formula), "met" if s.meets else "no" if s.within else "over",
    )  # fmt: skip


def markdown_table(settings: Sequence[Setting], n_rows: int) -> str:
    """Return settings as a Markdown table."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(cells(each, n_rows) for each in settings)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def plain(value: Any) -> dict[str, Any]:
    """Return a dataclass as JSON values."""
    return asdict(value)


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)


def _or_more(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
