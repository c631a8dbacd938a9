"""Training speed of distlsh and of PyTorch's dense softmax of the same width, alternating in one run.

    python benchmarks/peers/dense_ratio.py --train F --test F --config enwiki-para --width 256
    ... --torch /venv/bin/python      # an interpreter with PyTorch and SciPy
    ... --quick                       # one round, few samples

PyTorch trains on ``--samples``, distlsh a whole epoch, its pretraining and warm start included.
Two of PyTorch's settings: Adam on everything, as a
first program has it; and the fastest that was found: sparse gradients of the input, fused Adam, the gradient
of the softmax written by hand in kept buffers, batches of 1,024.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parents[1]), str(FOLDER.parent), str(FOLDER)]
os.environ["PYTHONPATH"] = os.pathsep.join(
    p for p in (str(FOLDER.parents[1]), os.environ.get("PYTHONPATH")) if p
)

import results  # noqa: E402
from comparison import found  # noqa: E402
from comparison.prepare import prepare  # noqa: E402
from comparison.runner import Limits, as_found, run  # noqa: E402

FAST = {"head": "cosine", "sparse": True, "fused": True, "by_hand": True, "batch": 1024}


def main(arguments: list[str] | None = None) -> int:
    args = _parse(arguments)
    if args.results is not None:
        results.FOLDER = args.results
    out = args.out.resolve() / args.name
    pair, small = prepare(args.train, args.test, out / "data", args.rows, args.search_rows, 1)
    pair = small if args.quick else pair
    cores = tuple(sorted(os.sched_getaffinity(0))[: args.threads])
    limits = Limits(cores, single_rows=0)
    part = {"width": args.width, "samples": args.samples}
    overrides = [f"model.hidden=[{args.width}]", *args.overrides]
    sides = {
        "PyTorch, Adam": (args.torch, "torch", part),
        "PyTorch, fastest": (args.torch, "torch", {**part, **FAST, "samples": 4 * args.samples}),
        "distlsh": (sys.executable, "distlsh", {"config": args.config, "set": overrides}),
    }
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for i in range(args.repeat):
        for name, (python, adapter, setting) in sides.items():
            done = run(python, adapter, pair, setting, limits, out / "dense_ratio" / f"{adapter}-{i}")
            if "error" in done:
                raise SystemExit(f"{name}: {done['error']}")
            runs[name].append(done)
            print(f"{name:18} {speed(done):9,.0f} samples/s", flush=True)
    data = {
        "data": args.name,
        "width": args.width,
        "threads": len(cores),
        "samples_per_s": {name: [speed(one) for one in done] for name, done in runs.items()},
        "ratio": ratios(runs),
        "distlsh_p_at_1": [found.p_at_1(done) for done in runs["distlsh"]],
        "settings": {name: setting for name, (_, _, setting) in sides.items()},
    }
    print(f"distlsh trains {data['ratio']} times as fast, P@1 {data['distlsh_p_at_1']}")
    print(results.write("dense_ratio", data, figure(data["samples_per_s"])))
    return 0


def speed(result: dict[str, Any]) -> float:
    """Return samples a second of training; for distlsh of all its time, pretraining and warm start too."""
    return float(result["phases"]["train"]["samples_per_s"])


def ratios(runs: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Return how many times faster distlsh is than each other side: the median over rounds."""
    own = [speed(done) for done in runs["distlsh"]]
    others = {name: [speed(done) for done in some] for name, some in runs.items() if name != "distlsh"}
    return {
        name: round(statistics.median(a / b for a, b in zip(own, theirs, strict=True)), 1)
        for name, theirs in others.items()
    }


def figure(speeds: dict[str, list[float]]) -> Any:
    """Draw samples a second, a bar a side."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(6, 2.2), layout="constrained")
    axis = drawn.subplots()
    medians = [statistics.median(some) for some in speeds.values()]
    bars = axis.barh(list(speeds), medians, color=["#7f7f7f", "#7f7f7f", "#d62728"])
    axis.bar_label(bars, [f"{value:,.0f}" for value in medians], padding=3)
    axis.set(xscale="log", xlabel="training samples/s")
    axis.margins(x=0.2)
    return drawn


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    look = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=look)
    add = parser.add_argument
    add("--train", type=Path, required=True)
    add("--test", type=Path, required=True)
    add("--name", default="enwiki-para", help="of the folder in --out that holds the files and models")
    add("--config", default="enwiki-para")
    add("--width", type=int, default=256)
    add("--set", action="append", default=[], dest="overrides", help="for distlsh")
    add("--torch", default=sys.executable, metavar="PYTHON")
    add("--samples", type=int, default=2560, help="that PyTorch trains on, after which it is stopped")
    add("--rows", type=int, default=20_000, help="test rows; the same as compare.py's, to share its files")
    add("--search-rows", type=int, default=40_000)
    add("--repeat", type=int, default=3)
    add("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add("--out", type=Path, default=FOLDER / "out")
    add("--results", type=Path, default=None)
    add("--quick", action="store_true", help="one round on the small subset of the rows")
    args = parser.parse_args(arguments)
    args.torch = as_found(args.torch)
    if args.quick:
        args.repeat, args.samples = 1, 512
    return args


if __name__ == "__main__":
    raise SystemExit(main())
