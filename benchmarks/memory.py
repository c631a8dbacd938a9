"""What a run holds in memory against its parameters: weights, state, tables, data, other.

    python benchmarks/memory.py              # estimates of all, and measured peaks of the small ones
    python benchmarks/memory.py --estimates  # no runs
    python benchmarks/memory.py --all        # also runs the large ones, which need up to 16 GiB

Estimates are those of ``--dry-run``.  A measured peak is ``peak_memory_bytes`` of a run on generated data of
that shape: shared arrays, mapped data and private memory of all processes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

from results import write

from distlsh.cli.dry_run import measure
from distlsh.config.load import load_config
from distlsh.model.spec import NetworkSpec, array_shapes
from distlsh.runtime.layout import memory_plan

GIB = 1 << 30
PARTS = ("weights", "state", "tables", "data", "other")
COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#7f7f7f")
WORKERS = 2
LARGE_BYTES = 4 * GIB


@dataclass(frozen=True)
class Case:
    """One configuration: a shipped one, and what is changed."""

    name: str
    config: str
    changes: list[str] = field(default_factory=list)


def _generated(n_labels: int, n_features: int, n_train: int, nonzeros: int, labels: float) -> list[str]:
    numbers = {
        "n_labels": n_labels,
        "n_features": n_features,
        "n_train": n_train,
        "n_test": 2000,
        "n_nonzeros": nonzeros,
        "n_labels_mean": labels,
    }
    return ["data.train=null", "data.test=null", *(f"data.synth.{key}={n}" for key, n in numbers.items())]


ENWIKI = _generated(220_084, 95_070, 448_049, 48, 1.0)
AMAZON = _generated(670_091, 135_909, 490_449, 71, 5.0)
ROW_STATE = ["train.optimizer=adagrad_row"]
HALVES = ["model.storage=bfloat16"]
CASES = [
    Case("quickstart", "quickstart"),
    Case("enwiki-para 1024", "enwiki-para", ENWIKI),
    Case("enwiki-para 1024, row-wise state", "enwiki-para", [*ENWIKI, *ROW_STATE]),
    Case("enwiki-para 1024, row-wise, bfloat16", "enwiki-para", [*ENWIKI, *ROW_STATE, *HALVES]),
    Case("enwiki-para 256", "enwiki-para", [*ENWIKI, "model.hidden=[256]"]),
    Case("amazon-670k 128", "amazon-670k", AMAZON),
    Case("amazon-670k 128, row-wise state", "amazon-670k", [*AMAZON, *ROW_STATE]),
    Case("amazon-670k 128, row-wise, bfloat16", "amazon-670k", [*AMAZON, *ROW_STATE, *HALVES]),
    Case("amazon-670k 128, row-wise, 16 tables", "amazon-670k", [*AMAZON, *ROW_STATE, "lsh.n_tables=16"]),
    Case("10,000,000 x 128, Adam", "ten-million", ["train.optimizer=adam"]),
    Case("10,000,000 x 128, Adagrad", "ten-million", ["train.optimizer=adagrad"]),
    Case("10,000,000 x 128, row-wise state", "ten-million"),
    Case("10,000,000 x 128, row-wise, bfloat16", "ten-million", HALVES),
    Case("10,000,000 x 128, row-wise, bfloat16, 8 tables", "ten-million", [*HALVES, "lsh.n_tables=8"]),
]


def part_of(name: str) -> str:
    """Return which part of the picture an item of the memory plan belongs to."""
    last = name.rsplit(".", 1)[-1]
    if "tables" in name:
        return "tables"
    if name == "data":
        return "data"
    return (
        "state"
        if last in ("state1", "state2", "clock")
        else "weights"
        if last in ("weights", "bias")
        else "other"
    )


def estimate(case: Case) -> dict[str, Any]:
    """Return parameters and bytes of each part."""
    config = load_config(case.config, [*case.changes, f"run.workers={WORKERS}"])
    sizes, data_bytes = measure(config)
    plan = memory_plan(config, sizes, data_bytes)
    parts = dict.fromkeys(PARTS, 0)
    for item in plan.items:
        parts[part_of(item.name)] += item.n_bytes
    shapes = array_shapes(NetworkSpec.from_config(config, sizes.n_features, sizes.n_labels))
    parameters = sum(a * b for a, b in shapes.values())
    return {"case": case.name, "parameters": parameters, "bytes": parts, "total_bytes": plan.total_bytes}


def run(case: Case, n_train: int | None) -> dict[str, Any]:
    """Train on generated data in processes of their own, and return the measured peak."""
    short = [] if n_train is None else [f"data.synth.n_train={n_train}"]
    changes = [*case.changes, *short, "train.epochs=1", "eval.n_rows=200", "eval.final_rows=200"]
    with tempfile.TemporaryDirectory(prefix="distlsh-memory-") as folder:
        changes += [f"data.cache_dir={folder}/cache"]
        command = [
            sys.executable,
            "-m",
            "distlsh.cli.launch",
            "--config",
            case.config,
            "--workers",
            str(WORKERS),
        ]
        command += [
            "--quiet",
            "--run-dir",
            f"{folder}/run",
            *(a for change in changes for a in ("--set", change)),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        summary = json.loads(Path(folder, "run", "summary.json").read_text())
    return {key: summary[key] for key in ("peak_memory_bytes", "samples_per_s", "total_s")}


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Draw the parts of each configuration over its parameters' bytes, with measured peaks."""
    figure = Figure(figsize=(9, 0.45 * len(rows) + 1.2), layout="constrained")
    axis = figure.subplots()
    names = [f"{row['case']}\n{row['parameters'] / 1e6:,.0f} M parameters" for row in rows]
    left = [0.0] * len(rows)
    for part, color in zip(PARTS, COLORS, strict=True):
        sizes = [row["bytes"][part] / GIB for row in rows]
        axis.barh(names, sizes, left=left, color=color, label=part)
        left = [a + b for a, b in zip(left, sizes, strict=True)]
    for name, row in zip(names, rows, strict=True):
        if "peak_memory_bytes" in row:
            axis.plot(row["peak_memory_bytes"] / GIB, name, "k|", markersize=14)
    axis.set_xlabel("GiB; black: measured peak")
    axis.tick_params(axis="y", labelsize=7)
    axis.invert_yaxis()
    axis.legend(fontsize=7)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--estimates", action="store_true", help="run nothing")
    parser.add_argument("--all", action="store_true", help="run the large ones too")
    parser.add_argument(
        "--quick", action="store_true", help="runs of 20,000 instances; same as the first ones"
    )
    args = parser.parse_args()
    rows = []
    for case in CASES:
        row = estimate(case)
        if not args.estimates and (args.all or row["total_bytes"] < LARGE_BYTES):
            row |= run(case, 20_000 if args.quick else None)
        rows.append(row)
        parts = "  ".join(f"{part} {row['bytes'][part] / GIB:.2f}" for part in PARTS)
        peak = f"  measured {row['peak_memory_bytes'] / GIB:.2f}" if "peak_memory_bytes" in row else ""
        print(
            f"{row['case']:>40} {row['parameters'] / 1e6:9,.1f} M: {parts}"
            f"  = {row['total_bytes'] / GIB:.2f} GiB, {row['total_bytes'] / row['parameters']:.1f} bytes a"
            f" parameter{peak}",
            flush=True,
        )
    print(write("memory", {"workers": WORKERS, "rows": rows}, draw(rows)))


if __name__ == "__main__":
    main()
