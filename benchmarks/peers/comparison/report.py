"""What the comparison prints and draws."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comparison import found
from comparison.peers import Peer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#ff7f0e", "#7f7f7f")
HEAD = ("peer", "setting", "P@1 / 3 / 5", "train s", "samples/s", "peak GB", "rows/s", "single ms")


def collect(folder: Path) -> list[dict[str, Any]]:
    """Return the results kept in a folder, in order of name; predictions' paths and logs stay behind."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    for result in found:
        result.get("notes", {}).pop("run_dir", None)
    return found


def best_prediction(result: dict[str, Any]) -> dict[str, Any]:
    """Return the prediction a result is judged by: exact inference, or the only one there is."""
    ways = result.get("predictions", {})
    return ways.get("exact") or next(iter(ways.values()), {})


def cells(result: dict[str, Any]) -> tuple[str, ...]:
    """Return a line of the table."""
    name = (result["peer"], result["setting_name"])
    if result.get("error"):
        return (*name, f"failed: {result['error'][:80]}", "", "", "", "", "")
    ways = result["predictions"]
    train = result["phases"].get("train", {})
    latency = result["latency"]
    scores = best_prediction(result)
    return (
        *name,
        " / ".join(f"{scores[f'p_at_{k}']:.3f}" for k in (1, 3, 5)),
        f"{train_s(result):,.0f}" + (" (extrapolated)" if result.get("partly_trained") else ""),
        f"{train['samples_per_s']:,.0f}" if "samples_per_s" in train else "",
        f"{result['peak_memory_bytes'].get('whole', 0) / 1e9:.1f}",
        ", ".join(f"{way} {found['rows_per_s']:,.0f}" for way, found in ways.items()),
        ", ".join(f"{way} {found['median_ms']:.2f}" for way, found in latency.items()),
    )


def train_s(result: dict[str, Any]) -> float:
    """Return seconds of training; of a part of an epoch, what the epoch would take."""
    notes = result.get("notes", {})
    return float(notes.get("epoch_s_extrapolated", result["train_s"]))


def line(result: dict[str, Any]) -> str:
    """Return a result in one line."""
    return ", ".join(f"{head} {cell}" for head, cell in zip(HEAD[2:], cells(result)[2:], strict=True) if cell)


def print_table(results: Sequence[dict[str, Any]]) -> None:
    """Print all results as a Markdown table."""
    for row in (HEAD, ["---"] * len(HEAD), *map(cells, results)):
        print(f"| {' | '.join(row)} |")


def figure(results: Sequence[dict[str, Any]], name: str) -> Figure:
    """Draw P@1 against seconds of training, peak memory and prediction speed."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    drawn = Figure(figsize=(15, 4.6), layout="constrained")
    axes = drawn.subplots(1, 3)
    good = [r for r in results if not r.get("error") and r.get("predictions")]
    names = sorted({r["peer"] for r in good})
    for result in good:
        color = COLORS[names.index(result["peer"]) % len(COLORS)]
        _draw(axes, result, color)
    for axis, label in zip(axes, ("training (s)", "peak memory (GB)", "prediction (rows/s)"), strict=True):
        axis.margins(x=0.25, y=0.15)
        axis.set(xlabel=label, xscale="log", ylim=(0, None))
        axis.xaxis.set_minor_formatter(NullFormatter())  # else a narrow range's labels overlap
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("P@1")
    axes[0].set_title(name)
    return drawn


def _draw(axes: Any, result: dict[str, Any], color: str) -> None:
    if result.get("partly_trained"):
        return
    look = {"color": color, "marker": "o" if result["setting_name"].startswith("default") else "D"}
    label = f"{result['peer']}, {result['setting_name']}"
    p_at_1 = best_prediction(result)["p_at_1"]
    curve = [(point["train_s"], point["p_at_1"]) for point in result["curve"]]
    axes[0].plot(*zip(*curve, (train_s(result), p_at_1), strict=True), color=color, linewidth=1, alpha=0.6)
    _mark(axes[0], train_s(result), p_at_1, label, look)
    _mark(axes[1], result["peak_memory_bytes"]["whole"] / 1e9, p_at_1, label, look)
    for way, prediction in result["predictions"].items():
        _mark(axes[2], prediction["rows_per_s"], prediction["p_at_1"], f"{label}, {way}", look)


def _mark(axis: Any, x: float, y: float, label: str, look: dict[str, Any]) -> None:
    axis.plot(x, y, linestyle="none", **look)
    axis.annotate(label, (x, y), fontsize=7, xytext=(4, 4), textcoords="offset points")


def print_plan(peers: Sequence[Peer], args: argparse.Namespace) -> None:
    """Print what a command would run, and about how long on two cores if rows are like enwiki-para's."""
    total = 0.0
    for peer in peers:
        known = found.read(args.name, peer.name)
        for name in args.settings:
            if name == "early" and not peer.early:
                continue
            seconds, how = expected(peer, name, args)
            if name == "found" and known is None:
                how += f", and a search of {args.trials} trials first"
            total += seconds
            print(f"{peer.name:14} {name:8} {seconds:6.0f} s  {how}")
    print(f"{'all':14} {'':8} {total:6.0f} s, {total / 60:.0f} minutes; kept results are not measured again")


def expected(peer: Peer, name: str, args: argparse.Namespace) -> tuple[float, str]:
    """Return about how many seconds a measurement takes, and what that rests on."""
    suffix = "-epoch" if peer.name == "torch-dense" and not args.samples else ""
    kept = args.out / args.name / "measured" / f"{peer.name}.{name}{suffix}.json"
    if kept.exists():
        phases = json.loads(kept.read_text()).get("phases", {})
        return sum(phase["seconds"] for phase in phases.values()), "as it took before"
    training, per_thousand = peer.expected_s
    if peer.name == "torch-dense" and args.samples:
        training *= args.samples / 448_049
    return 15 + training + per_thousand * (args.rows or 113_203) / 1000, "as known for enwiki-para"
