"""Numbers as people read them."""

from __future__ import annotations

NOTHING = "-"


def count(value: float | None) -> str:
    """Write a count with thousands separators: ``448,049``."""
    return NOTHING if value is None else f"{value:,.0f}"


def metric(value: float | None) -> str:
    """Write a metric between 0 and 1 with four digits: ``0.2912``."""
    return NOTHING if value is None else f"{value:.4f}"


def share(value: float | None) -> str:
    """Write a share as percents, with as many digits as tell something: ``1.2%``, ``0.034%``."""
    if value is None:
        return NOTHING
    percent = 100 * value
    digits = 1 if percent >= 1 or percent == 0 else 2 if percent >= 0.1 else 3
    return f"{percent:.{digits}f}%"


def duration(seconds: float | None) -> str:
    """Write a time: ``0.4 s``, ``12 s``, ``1m20s``, ``2h05m``."""
    if seconds is None:
        return NOTHING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def number(value: float | None) -> str:
    """Write a number with four significant digits."""
    return NOTHING if value is None else f"{value:.4g}"
