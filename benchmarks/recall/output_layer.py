"""Which hash functions find a trained output layer's best labels, at what share of the labels retrieved.

    python benchmarks/recall/output_layer.py RUN --data TEST_FILE [--quick]

For every family, of all numbers of hashes, widths, tables and probes (up to --tables and --probes), the
setting with the highest recall of the exact top 10 among those that retrieve at most the given share
of the labels: distinct ids in the buckets that are read, nothing ranked or cut.  Queries are
hidden vectors of test instances, rows are hashed relative to their mean, as in training.
Writes output_layer.md and, with matplotlib, output_layer.png to --out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from distlsh.data.opening import open_dataset
from distlsh.inference import Model
from distlsh.lsh import HashSpec, mean_row
from distlsh.lsh.families import FAMILIES
from distlsh.lsh.tuning.grid import candidates
from distlsh.lsh.tuning.measure import Hashed, Measured, measure, recalls
from distlsh.lsh.tuning.problem import Problem, pose
from distlsh.lsh.tuning.shown import name_of

SETS = ("minhash", "doph")
"""They hash sets of non-zeros: of dense vectors, which are all alike, they tell nothing."""


@dataclass(frozen=True)
class Found:
    """One family's settings at one width: recall of the top 1 and of the top 10, f8[L, 1 + P] each."""

    spec: HashSpec
    share: np.ndarray
    top_1: np.ndarray
    top_10: np.ndarray

    @classmethod
    def of(cls, problem: Problem, spec: HashSpec) -> Found:
        """Measure every number of tables and probes up to those of ``spec``."""
        hashed = Hashed.of(problem, spec)
        measured: Measured = measure(problem, hashed)
        first = recalls(hashed.neighbour_ranks()[:, :1], hashed.valid[:, :1], hashed.n_ranks)[0]
        return cls(spec, measured.candidates / problem.n_rows, first, measured.recall)

    def best(self, share: float) -> tuple[int, int] | None:
        """Return the place [tables - 1, probes] of the highest top-10 recall within ``share``."""
        within = self.share <= share
        if not within.any():
            return None
        table, probe = np.unravel_index(np.argmax(np.where(within, self.top_10, -1)), within.shape)
        return int(table), int(probe)


def specs_of(family: str, problem: Problem, n_tables: int, n_probes: int) -> Iterator[HashSpec]:
    """Yield the kinds of hash functions of a family, each with the most tables and probes."""
    asked = replace(problem, metric="euclidean") if family == "l2" else problem
    yield from candidates(asked, [family], max_tables=n_tables, max_probes=n_probes)


def line_of(family: str, share: float, kinds: list[Found]) -> str:
    """Return a row of the table: the family's best setting within ``share``."""
    places = [(found, found.best(share)) for found in kinds]
    fitting = [(found, place) for found, place in places if place is not None]
    if not fitting:
        return f"| {family} | {share:.1%} | - | | | | | |"
    found, place = max(fitting, key=lambda each: float(each[0].top_10[each[1]]))
    spec = found.spec
    return (
        f"| {name_of(spec)} | {share:.1%} | {found.top_1[place]:.3f} | {found.top_10[place]:.3f} "
        f"| {found.share[place]:.2%} | {spec.n_hashes} | {place[0] + 1} | {place[1]} |"
    )


def picture(kinds: dict[str, list[Found]], path: Path) -> None:
    """Draw each family's best recall of the top 10 against the share retrieved."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    shares = np.geomspace(0.0005, 0.1, 40)
    for family, found in kinds.items():
        best = [
            max((float(f.top_10[p]) for f in found if (p := f.best(s)) is not None), default=np.nan)
            for s in shares
        ]
        axes.plot(100 * shares, best, label=family)
    axes.set(xscale="log", xlabel="labels retrieved, %", ylabel="recall of the exact top 10", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="run directory of a trained network")
    parser.add_argument("--data", required=True, help="test file whose hidden vectors are the queries")
    parser.add_argument("--cache-dir", help="of parsed data")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.002, 0.01, 0.04])
    parser.add_argument("--families", nargs="+", default=[f for f in FAMILIES if f not in SETS])
    parser.add_argument("--tables", type=int, default=160, help="most tables tried")
    parser.add_argument("--probes", type=int, default=16, help="most extra probes a table tried")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/recall/out"))
    parser.add_argument("--quick", action="store_true", help="few tables, probes and queries")
    args = parser.parse_args()
    if args.quick:
        args.tables, args.probes, args.queries = 20, 4, 200
    model = Model.load(args.run)
    data = open_dataset(args.data, normalize=model.normalize, cache_dir=args.cache_dir)
    chosen = np.random.default_rng(1).choice(data.n_rows, min(args.queries, data.n_rows), replace=False)
    weights = np.ascontiguousarray(model.output_weights)
    problem = pose(
        weights,
        model.hidden(data, np.sort(chosen)),
        metric="dot",
        k=10,
        sample=args.queries,
        center=mean_row(weights),
    )
    kinds = {}
    for family in args.families:
        specs = list(specs_of(family, problem, args.tables, args.probes))
        kinds[family] = [Found.of(problem, spec) for spec in specs]
        print(f"{family}: {len(specs)} kinds of hash functions measured", file=sys.stderr)
    head = (
        f"{problem.n_rows:,} labels x {problem.n_dims}, {len(problem.queries):,} queries;"
        f" up to {args.tables} tables and {args.probes} extra probes a table\n\n"
        "| family | share allowed | recall of top 1 | of top 10 | retrieved | K | L | probes |\n"
        "|---|---|---|---|---|---|---|---|\n"
    )
    table = head + "\n".join(line_of(f, s, kinds[f]) for s in args.shares for f in kinds) + "\n"
    print(table)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "output_layer.md").write_text(table)
    try:
        picture(kinds, args.out / "output_layer.png")
    except ImportError:
        print("no picture: matplotlib is missing (pip install 'distlsh[plot]')", file=sys.stderr)


if __name__ == "__main__":
    main()
