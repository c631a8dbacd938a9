"""The best of a peer's few settings on held-out training rows, kept so that a search need not be repeated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

KEPT = Path(__file__).parents[1] / "found.json"


def best_of(trials: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the trial with the highest P@1 by any of its ways to predict; None if all failed."""
    good = [trial for trial in trials if p_at_1(trial) is not None]
    return max(good, key=lambda trial: p_at_1(trial) or 0.0) if good else None


def p_at_1(result: dict[str, Any]) -> float | None:
    """Return a result's P@1, that of exact inference where there are several."""
    found = result.get("predictions", {})
    first = found.get("exact") or next(iter(found.values()), None)
    return None if first is None or "error" in result else float(first["p_at_1"])


def read(data: str, peer: str, path: Path = KEPT) -> dict[str, Any] | None:
    """Return what an earlier search found for a peer on some data, or None."""
    if not path.exists():
        return None
    kept: dict[str, Any] = json.loads(path.read_text())
    return kept.get(data, {}).get(peer)


def keep(data: str, peer: str, trials: list[dict[str, Any]], path: Path = KEPT) -> dict[str, Any] | None:
    """Write a search's outcome: the best setting, and each trial's P@1; return it, None if all failed."""
    best = best_of(trials)
    if best is None:
        return None
    outcome = {
        "setting": best["setting"],
        "p_at_1": p_at_1(best),
        "trials": [{"setting": t["setting"], "p_at_1": p_at_1(t), "error": t.get("error")} for t in trials],
    }
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept.setdefault(data, {})[peer] = outcome
    path.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    return outcome
