"""How near to the machine's limits a training step is: phase by phase, on one core and on all.

    python benchmarks/kernels/roofline.py [--quick] [--data FOLDER] [--optimizer NAME] [--set KEY=VALUE ...]

Measures what this machine copies and multiplies at best (`machine_limits`), then, on networks of the
shapes of enwiki-para and Amazon-670K, the time of each phase of a step, and sets it against the bytes that
the phase must move and the multiply-adds that it must do.  ``--data`` names a folder with
enwiki-para.train.txt.gz, which is then trained on too.

What a byte is.  A phase *touches* a row each time a sample uses it; many of these are in a cache
already.  What it must *move* is counted by running the same rows, states and buckets, in the order of the
step, through a model of a cache (`cache_model`) that holds as much as the second level and this core's share
of the third: lines that miss, and changed lines that are written back.  Hidden vectors, codes, counts of
hits and other scratch of a worker are taken to be cached.  So the share of the copy bandwidth,
``moved bytes / time / (bytes read and written by a copy)``, counts no byte that need not
have moved; that a third level is shared with others, or not fully associative, only adds bytes that are not
counted.  The other share is ``multiply-adds / time / peak``; the larger of the two binds.

The arrays lie in shared memory as in a run; ``--pages private`` or ``both`` compares with private memory.
Times are medians over batches of each worker's processor time, so other work disturbs them only through
caches and memory.  Rehashing is timed beside the steps: all rows, and the rows that the steps changed.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from machine_limits import limits
from step_phases import (
    ENWIKI_FILE,
    PHASES,
    PowerLaw,
    Setting,
    count_bytes,
    multiply_adds,
    read_enwiki,
    time_steps,
)

sys.path.insert(0, str(Path(__file__).parents[1]))
from results import write

from distlsh.config.load import load_config
from distlsh.config.schema import Config

SHAPES = {
    "enwiki-para": ("enwiki-para", 220_084, 95_070, 32),
    "amazon-670k": ("amazon-670k", 670_091, 135_909, 71),
}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="small arrays and few batches: a look, no result"
    )
    parser.add_argument("--data", type=Path, help=f"folder with {ENWIKI_FILE}")
    parser.add_argument("--cache-dir", default="/tmp/distlsh-roofline", help="of the parsed data")
    parser.add_argument("--shape", choices=sorted(SHAPES), action="append", help="only these")
    parser.add_argument("--pages", choices=["shared", "private", "both"], default="shared")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--batches", type=int, help="measured; by default 128 (quick: 24)")
    parser.add_argument("--warm", type=int, help="batches before; by default 256 (quick: 24)")
    parser.add_argument("--set", action="append", default=[], help="configuration key=value")
    parser.add_argument("--name", default="roofline", help="of the files in benchmarks/results")
    return parser.parse_args()


def config_of(preset: str, changes: list[str]) -> Config:
    return load_config(preset, changes, check_files=False)


def generated(args: argparse.Namespace, name: str) -> tuple[Config, Any]:
    preset, n_labels, n_features, n_nonzeros = SHAPES[name]
    if args.quick:
        n_labels //= 8
    return config_of(preset, args.set), PowerLaw(200_000, n_features, n_labels, n_nonzeros)


def measure(
    args: argparse.Namespace, config: Config, data: Any, machine: Any, shared: bool
) -> dict[str, Any]:
    """Return the phases of a step on one core and on all, and what rehashing takes."""
    setting = Setting(config, data, args.cores, shared=shared)
    n_rows, full_s = setting.rehash(full=True)
    steps = [setting.worker(i) for i in range(args.cores)]
    n_warm = args.warm or (24 if args.quick else 256)
    n_batches = args.batches or (24 if args.quick else 128)
    time_steps(setting, steps, n_warm, 0)
    runs = []
    for limit in machine["limits"]:
        some = steps[: limit["cores"]]
        some[0].counters[:] = 0
        taken = time_steps(setting, some, n_batches, n_warm)
        macs = multiply_adds(setting, some[0])
        n_traced = 16 if args.quick else 64
        moved = count_bytes(setting, some[0], n_traced, n_warm, limit["cache_bytes_per_core"])
        counters = some[0].counters
        runs.append(
            {
                "cores": limit["cores"],
                "samples_per_s": 1e6 * limit["cores"] / taken["step"],
                "active": counters[3] / counters[0],
                "rows_updated": counters[5] / counters[0],
                "active_repeated": repeated(some[0]),
                **against(limit, taken, macs, moved),
            }
        )
    changed, changed_s = setting.rehash(full=False)
    rehash = {
        "rows": n_rows,
        "full_us_per_row": 1e6 * full_s / n_rows,
        "changed_rows": changed,
        "changed_us_per_row": 1e6 * changed_s / max(1, changed),
    }
    return {"memory": "shared" if shared else "private", "runs": runs, "rehash": rehash}


def repeated(step: Any) -> float:
    """Return the share of the last batch's active outputs that an earlier sample of it has too."""
    lists = [step.active[s, : step.bounds[s, 2]] for s in range(len(step.active))]
    return 1 - len(np.unique(np.concatenate(lists))) / sum(map(len, lists))


def against(limit: Any, taken: Any, macs: Any, counted: Any) -> dict[str, Any]:
    """Set the phases' times against the limits."""
    n = limit["cores"]

    def line(name: str, us: float, moved: float, touched: float, done: float) -> dict[str, Any]:
        copy = 1e6 * moved * n / us / limit["copy_bytes_per_s"]
        peak = 1e6 * done * n / us / limit["multiply_adds_per_s"]
        return {
            "phase": name, "us": us, "bytes_moved": moved, "bytes_touched": touched, "multiply_adds": done,
            "share_of_copy": copy, "share_of_peak": peak, "binds": "memory" if copy >= peak else "arithmetic",
        }  # fmt: skip

    phases = [
        line(name, taken[name], counted["moved"][name], counted["touched"][name], float(macs[name]))
        for name in PHASES
    ]
    sums = [sum(one[key] for one in phases) for key in ("bytes_moved", "bytes_touched", "multiply_adds")]
    kernel = [one for one in phases if one["phase"].startswith("output")]
    kernel_sums = [
        sum(one[key] for one in kernel) for key in ("us", "bytes_moved", "bytes_touched", "multiply_adds")
    ]
    return {
        "phases": phases,
        "output_kernel": line("output layer", *kernel_sums),
        "step": line("step", taken["step"], *sums),
    }


def show(name: str, result: dict[str, Any]) -> None:
    for run in result["runs"]:
        print(
            f"\n{name}, {result['memory']}, {run['cores']} cores: {run['samples_per_s']:,.0f} samples/s,"
            f" {run['active']:.0f} active, {run['rows_updated']:.0f} updated"
        )
        print(f"{'':30s}{'us':>8s}{'moved KB':>10s}{'touched':>9s}{'k MACs':>8s}{'copy':>7s}{'peak':>7s}")
        for one in [*run["phases"], run["output_kernel"], run["step"]]:
            print(
                f"{one['phase']:30s}{one['us']:8.1f}{one['bytes_moved'] / 1e3:10.0f}"
                f"{one['bytes_touched'] / 1e3:9.0f}{one['multiply_adds'] / 1e3:8.0f}"
                f"{one['share_of_copy']:7.0%}{one['share_of_peak']:7.0%}"
            )
    rehash = result["rehash"]
    print(
        f"rehash: {rehash['full_us_per_row']:.2f} us a row of all {rehash['rows']:,},"
        f" {rehash['changed_us_per_row']:.2f} us a row of {rehash['changed_rows']:,} changed",
        flush=True,
    )


def picture(shapes: dict[str, list[dict[str, Any]]]) -> Any:
    """Draw where the time of a step goes, and how near each phase is to the limit that binds it."""
    from matplotlib.figure import Figure

    bars = [
        (f"{name}\n{one['memory']}, {run['cores']} cores", run)
        for name, results in shapes.items()
        for one in results
        for run in one["runs"]
    ]
    figure = Figure(figsize=(11, 1.2 + 0.55 * len(bars)))
    axes = figure.add_subplot()
    for place, (_, run) in enumerate(bars):
        at = 0.0
        for number, phase in enumerate(run["phases"]):
            label = phase["phase"] if place == 0 else None
            axes.barh(place, phase["us"], left=at, color=f"C{number}", label=label)
            share = max(phase["share_of_copy"], phase["share_of_peak"])
            if phase["us"] > 0.06 * run["step"]["us"]:
                axes.text(at + phase["us"] / 2, place, f"{share:.0%}", ha="center", va="center", fontsize=7)
            at += phase["us"]
        whole = max(run["step"]["share_of_copy"], run["step"]["share_of_peak"])
        axes.text(
            run["step"]["us"], place, f" {run['samples_per_s']:,.0f}/s, {whole:.0%}", va="center", fontsize=8
        )
    axes.set_yticks(range(len(bars)), [name for name, _ in bars], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("microseconds a sample of one worker; %: share of the limit that binds")
    axes.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=4, frameon=False)
    return figure


def main() -> None:
    args = parse()
    machine = limits(args.cores, args.quick)
    for limit in machine["limits"]:
        print(
            f"{limit['cores']} cores: copy {limit['copy_bytes_per_s'] / 1e9:.1f} GB/s,"
            f" {limit['multiply_adds_per_s'] / 1e9:.0f} G multiply-adds/s,"
            f" {limit['cache_bytes_per_core'] / 2**20:.0f} MiB of cache a core"
        )
    shapes: dict[str, list[dict[str, Any]]] = {}
    wanted = [
        (f"{name}, generated", lambda name=name: generated(args, name)) for name in args.shape or SHAPES
    ]
    if args.data is not None:
        wanted.append(
            ("enwiki-para, its instances", lambda: read_enwiki(args.data, args.cache_dir, args.set))
        )
    for name, make in wanted:
        config, data = make()
        for shared in {"shared": [True], "private": [False], "both": [True, False]}[args.pages]:
            result = measure(args, config, data, machine, shared)
            show(name, result)
            shapes.setdefault(name, []).append(result)
            gc.collect()
    config_changes = {"set": args.set, "quick": args.quick}
    path = write(args.name, {**machine, **config_changes, "shapes": shapes}, picture(shapes))
    print(path)


if __name__ == "__main__":
    main()
