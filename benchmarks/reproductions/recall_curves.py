"""Recall against K and L beside the formula: `python benchmarks/reproductions/recall_curves.py [--help]`.

Vink's figure (2020), after Indyk & Motwani 1998: a neighbour whose hashes collide with probability p is
retrieved with probability 1 - (1 - p^K)^L.  For each of a query's 10 nearest, p follows from its similarity
by the closed form of the family; the curve is the mean over all pairs.  Measured is the share of these pairs
that share a bucket in one of the first L tables, and what part of all rows the query's buckets hold.
MNIST's training images are the rows and test images the queries; without --data pictures are drawn.

srp: Gaussian projections of centred pixels, by angle; l2: projections in slots, by distance; minhash: sets of
bright pixels, by Jaccard similarity; cross_polytope: centred pixels, by angle.

Writes ``recall_curves.md`` and ``recall_curves.png``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from pictures_of_digits import load
from report_table import show
from rich.console import Console

from distlsh.lsh import Hasher, HashSpec
from distlsh.lsh.rows import SparseRows
from distlsh.lsh.theory import collision_probability, retrieval_probability

OUT = Path(__file__).resolve().parent / "out"
K_NEAREST = 10
TABLES = (1, 2, 4, 8, 16, 32, 64)

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


class Experiment(NamedTuple):
    """A family, its vectors, and the similarities f8[m, n] that its closed form takes."""

    family: str
    hashes: tuple[int, ...]
    rows: Any
    queries: Any
    similarity: Doubles
    larger_is_nearer: bool
    settings: dict[str, Any]


class Curve(NamedTuple):
    """Recall of one K, measured and by the formula, for each number of tables."""

    family: str
    n_hashes: int
    measured: Doubles
    formula: Doubles
    retrieved: Doubles  # share of all rows


def curve(experiment: Experiment, n_hashes: int, n_buckets_mixed: int | None) -> Curve:
    """Hash once with the most tables, and count collisions in the first L."""
    e = experiment
    n_dims = e.rows.n_dims if isinstance(e.rows, SparseRows) else e.rows.shape[1]
    spec = HashSpec(e.family, n_hashes, TABLES[-1], 0, n_dims, seed=3, **e.settings)
    hasher = Hasher(spec)
    codes, asked = hasher.codes(e.rows), hasher.probes(e.queries)[:, :, 0]
    order = np.argsort(-e.similarity if e.larger_is_nearer else e.similarity, axis=1)[:, :K_NEAREST]
    p = collision_probability(spec, np.take_along_axis(e.similarity, order, 1))
    found, retrieved = [], []
    for n_tables in TABLES:
        hit = np.array([(codes[:, :n_tables] == code[:n_tables]).any(axis=1) for code in asked])
        found.append(np.take_along_axis(hit, order, 1).mean())
        retrieved.append(hit.mean())
    formula = [retrieval_probability(p, n_hashes, n, n_buckets_mixed).mean() for n in TABLES]
    return Curve(e.family, n_hashes, np.array(found), np.array(formula), np.array(retrieved))


def experiments(rows: Floats, queries: Floats) -> list[Experiment]:
    """Return the families with what they are asked."""
    mean = rows.mean(axis=0)
    X, Q = rows - mean, queries - mean
    lengths = np.linalg.norm(Q, axis=1)[:, None] * np.linalg.norm(X, axis=1)
    cosine = (Q @ X.T / lengths).astype(np.float64)
    gaps = (Q * Q).sum(axis=1)[:, None] + (X * X).sum(axis=1) - 2.0 * (Q @ X.T)
    distance = np.sqrt(np.maximum(gaps, 0.0)).astype(np.float64)
    sets, asked = rows > 127, queries > 127
    both = asked.astype(np.float32) @ sets.astype(np.float32).T
    jaccard = (both / (asked.sum(axis=1)[:, None] + sets.sum(axis=1) - both)).astype(np.float64)
    width = float(np.median(np.partition(distance, K_NEAREST, axis=1)[:, :K_NEAREST])) * 2
    return [
        Experiment("srp", (4, 8, 12, 16), X, Q, cosine, True, {}),
        Experiment("cross_polytope", (1, 2), X, Q, cosine, True, {"dim": 32}),
        Experiment("l2", (2, 4, 8, 12), X, Q, distance, False, {"l2_width": width, "code_bits": 24}),
        Experiment(
            "minhash", (1, 2, 4, 6), as_sets(sets), as_sets(asked), jaccard, True, {"code_bits": 24}
        ),
    ]  # fmt: skip


def as_sets(members: NDArray[np.bool_]) -> SparseRows:
    """Return sets as the sparse rows that their families hash."""
    row, column = np.nonzero(members)
    indptr = np.searchsorted(row, np.arange(len(members) + 1)).astype(np.int64)
    return SparseRows(indptr, column.astype(np.int32), np.ones(len(column), np.float32), members.shape[1])


def draw(curves: list[Curve], path: Path) -> None:
    """Draw the formula as lines and what was measured as dots, a picture a family."""
    families = list(dict.fromkeys(c.family for c in curves))
    figure, axes = plt.subplots(
        1, len(families), figsize=(4.6 * len(families), 4), squeeze=False, sharey=True
    )
    for axis, family in zip(axes[0], families, strict=True):
        for number, c in enumerate(c for c in curves if c.family == family):
            axis.plot(TABLES, c.formula, color=f"C{number}", label=f"K = {c.n_hashes}")
            axis.plot(TABLES, c.measured, "o", color=f"C{number}")
        axis.set(title=family, xlabel="tables, L", xscale="log", xticks=TABLES, xticklabels=TABLES)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    axes[0, 0].set_ylabel("recall of the 10 nearest\nline: 1 - (1 - p^K)^L, dots: measured")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def report(curves: list[Curve], setting: str, folder: Path) -> None:
    """Write the report, and print it."""

    def percent(share: float) -> str:
        return f"{100 * share:.{max(0, 1 - int(np.floor(np.log10(100 * share))))}f}%" if share > 0 else "0%"

    head = ["family", "K", *(f"L = {n}" for n in TABLES), "largest gap"]
    lines = []
    for c in curves:
        cells = [
            f"{m:.3f} / {f:.3f} ({percent(r)})"
            for m, f, r in zip(c.measured, c.formula, c.retrieved, strict=True)
        ]
        lines.append([c.family, str(c.n_hashes), *cells, f"{np.abs(c.measured - c.formula).max():.3f}"])
    console = Console(width=190)
    table = show(console, "Recall: measured / formula (rows retrieved)", head, lines)
    (folder / "recall_curves.md").write_text(
        f"# Recall against K and L\n\n{setting} Cells: measured / formula (share of rows retrieved).\n\n"
        f"{table}\n\n![curves](recall_curves.png)\n"
    )
    console.print(f"{folder / 'recall_curves.md'} and .png")


def main() -> None:
    """Read the pictures, hash them, write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of MNIST's IDX files; none: pictures are drawn")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of report and picture")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--quick", action="store_true", help="4,000 pictures and 100 queries")
    given = parser.parse_args()
    train = load(given.data, "train", 4_000 if given.quick else 20_000)
    test = load(given.data, "test", 100 if given.quick else given.queries)
    curves = []
    for experiment in experiments(train.pixels, test.pixels):
        mixed = 1 << experiment.settings["code_bits"] if "code_bits" in experiment.settings else None
        curves += [curve(experiment, n_hashes, mixed) for n_hashes in experiment.hashes]
    given.out.mkdir(parents=True, exist_ok=True)
    draw(curves, given.out / "recall_curves.png")
    setting = (
        f"{len(train.labels):,} pictures ({train.source}), {len(test.labels)} queries, their 10 nearest."
    )
    report(curves, setting, given.out)


if __name__ == "__main__":
    main()
