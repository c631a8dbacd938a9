"""Which settings may change when a run goes on from a checkpoint; the others would make it another run."""

from __future__ import annotations

from typing import Any

GROUPS = ("run", "eval", "checkpoint")
KEYS = ("train.on_non_finite", "train.fall_back_factor", "train.max_fall_backs")
"""Beside those groups: what a run does where it met something that it cannot compute with."""

ALLOWED = ", ".join([*(f"{group}.*" for group in GROUPS), *KEYS])
"""For people."""


def may_change(key: str) -> bool:
    """Tell whether the setting ``key``, such as "run.workers", may differ from the checkpoint's."""
    return key in KEYS or key.partition(".")[0] in GROUPS


def fixed(group: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return those settings of a group that a run keeps when it goes on."""
    return {name: value for name, value in settings.items() if not may_change(f"{group}.{name}")}
