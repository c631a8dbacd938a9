"""SLIDE's experiments on its hash tables: `python benchmarks/reproductions/slide_tables.py [--help]`.

Chen et al. 2019, section 3.1 and its evaluation of the tables, in its setting for Delicious-200K:
205,443 neurons of width 128, SimHash with K = 9 and L = 50, buckets of 128.  Two questions:

1. What does filling the tables cost under each bucket policy, with and without hashing?
2. What do the ways of choosing active neurons cost, and what share of the neurons with the largest
   inner products do they find?

Neurons are generated in clusters, or read from a file; queries are neurons with noise.  Everything runs
on one core, and CPU seconds of the thread are counted, the least of several runs.
Writes ``slide_tables.md`` and ``slide_tables.png``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from report_table import show
from rich.console import Console
from threadpoolctl import threadpool_limits

from distlsh.kernels.random import sample_seeds
from distlsh.lsh import ActiveSampler, Hasher, HashSpec, Sketcher, Tables, table_bytes
from distlsh.lsh.maintain import build, weights_of

OUT = Path(__file__).resolve().parent / "out"
POLICIES = ("fifo", "reservoir", "bottom_k")
BATCH = 32


class Insertion(NamedTuple):
    """Seconds to fill the tables."""

    policy: str
    insert_s: float
    with_hashing_s: float
    held_share: float


class Choice(NamedTuple):
    """One way of choosing at one budget."""

    way: str
    budget: int
    us: float  # a sample
    retrieved: float  # of the budget, ids that the tables gave
    recall_10: float
    recall_100: float


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """Return the least CPU time of a call."""
    best = float("inf")
    for _ in range(repeats):
        start = time.thread_time()
        call()
        best = min(best, time.thread_time() - start)
    return best


def clustered(n: int, width: int, seed: int = 0) -> np.ndarray:
    """Return f4[n, width]: neurons around n / 50 centers, their lengths spread by a tenth."""
    random = np.random.default_rng(seed)
    centers = random.standard_normal((max(1, n // 50), width), np.float32)
    rows = centers[random.integers(0, len(centers), n)] + 0.8 * random.standard_normal((n, width), np.float32)
    return rows * np.exp(0.1 * random.standard_normal((n, 1), np.float32))


def insertions(spec: HashSpec, rows: np.ndarray, bucket_size: int, repeats: int) -> list[Insertion]:
    """Time each policy's insertion of all rows, in a random order, and hashing with it."""
    hasher = Hasher(spec)
    order = np.random.default_rng(1).permutation(len(rows)).astype(np.int32)
    codes = hasher.codes(rows)
    weights = weights_of(rows, np.zeros(spec.n_dims, np.float32))
    hashing = seconds(lambda: hasher.codes(rows, codes), repeats)
    found = []
    for policy in POLICIES:
        tables = Tables.create(spec, len(rows), bucket_size, policy)
        tables.insert(order[:1], codes[order[:1]], weights[order[:1]])  # compile

        def fill(tables: Tables = tables) -> None:
            tables.clear()
            tables.insert(order, codes[order], weights[order])

        took = seconds(fill, repeats)
        stats = tables.stats()
        found.append(Insertion(policy, took, took + hashing, 1 - stats.overflow_share))
    return found


def exact_top(rows: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """Return i8[m, k]: the rows with the largest inner products of each query."""
    blocks = [queries[i : i + 64] @ rows.T for i in range(0, len(queries), 64)]
    return np.concatenate([np.argpartition(-scores, k, axis=1)[:, :k] for scores in blocks])


class Chooser:
    """Queries, their codes and what each should find."""

    def __init__(self, spec: HashSpec, rows: np.ndarray, bucket_size: int, n_queries: int) -> None:
        random = np.random.default_rng(2)
        self.rows, self.spec = rows, spec
        self.tables = Tables.create(spec, len(rows), bucket_size, sketch=True)
        build(self.tables, Hasher(spec), rows)
        picked = rows[random.integers(0, len(rows), n_queries)]
        self.queries = picked + 0.5 * random.standard_normal(picked.shape, np.float32)
        self.codes = Hasher(spec).probes(self.queries)
        scores = exact_top(rows, self.queries, 100)
        order = np.argsort(-np.einsum("qkd,qd->qk", rows[scores], self.queries), axis=1)
        self.top = np.take_along_axis(scores, order, axis=1)
        self.seeds = np.empty(n_queries, np.uint64)

    def run(self, way: str, budget: int, repeats: int, **settings: Any) -> Choice:
        """Choose ``budget`` neurons for each query, ``BATCH`` queries at a time."""
        spec, n, m = self.spec, len(self.rows), len(self.queries)
        sampler = ActiveSampler(
            n, budget, 0, n_tables=spec.n_tables, n_codes=spec.n_codes, bucket_size=self.tables.bucket_size,
            batch=BATCH, sketcher=Sketcher(spec.n_dims, spec.seed), **settings,
        )  # fmt: skip
        active, bounds = np.zeros((m, budget), np.int32), np.zeros((m, 3), np.int32)
        no_labels = np.zeros(BATCH + 1, np.int64), np.zeros(0, np.int32)
        places = np.arange(BATCH)

        def choose() -> None:
            sample_seeds(np.uint64(1), np.uint64(0), self.seeds)
            for i in range(0, m, BATCH):
                at = slice(i, min(i + BATCH, m))
                sampler.select(
                    self.tables, self.codes[at], *no_labels, places[: at.stop - i], self.seeds[at],
                    active[at], bounds[at], self.queries[at],
                )  # fmt: skip

        choose()  # load the kernels
        took = seconds(choose, repeats) / m * 1e6
        hits = [
            np.isin(top, chosen[:end])
            for top, chosen, end in zip(self.top, active, bounds[:, 1], strict=True)
        ]
        found = np.array(hits)
        share = float(bounds[:, 1].mean()) / budget
        return Choice(way, budget, took, share, float(found[:, :10].mean()), float(found.mean()))

    def all_ways(self, budgets: list[int], repeats: int) -> list[Choice]:
        """Choose in every way at every budget."""
        ways: dict[str, dict[str, Any]] = {
            "vanilla": {"sampling": "vanilla"},
            "top-k by count": {"sampling": "topk"},
            "threshold, 2 hits": {"sampling": "threshold", "min_hits": 2},
            "threshold, 4 hits": {"sampling": "threshold", "min_hits": 4},
        }
        found = [self.run(way, b, repeats, **given) for way, given in ways.items() for b in budgets]
        pools = [
            self.run("score, pool of 4 budgets", b, repeats, sampling="score", pool=4 * b) for b in budgets
        ]
        return found + pools


def draw(inserted: list[Insertion], choices: list[Choice], path: Path) -> None:
    """Draw what filling costs, what choosing costs, and what it finds."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.5), constrained_layout=True)
    place = np.arange(len(inserted))
    left.bar(place - 0.2, [one.insert_s for one in inserted], 0.4, label="insertion alone")
    left.bar(place + 0.2, [one.with_hashing_s for one in inserted], 0.4, label="with hashing")
    left.set_xticks(place, [one.policy for one in inserted])
    left.set(ylabel="CPU seconds", title="Filling the tables")
    for way in dict.fromkeys(one.way for one in choices):
        mine = [one for one in choices if one.way == way]
        budgets = [one.budget for one in mine]
        middle.plot(budgets, [one.us for one in mine], "o-", label=way)
        right.plot(budgets, [one.recall_10 for one in mine], "o-", label=way)
    middle.set(xscale="log", yscale="log", xlabel="active neurons wanted", ylabel="µs a sample")
    middle.set_title("Choosing: time")
    right.set(xscale="log", xlabel="active neurons wanted", ylabel="recall of the exact top 10", ylim=(0, 1))
    right.set_title("Choosing: recall")
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def rows_of(inserted: list[Insertion], choices: list[Choice]) -> tuple[list[list[str]], list[list[str]]]:
    """Return both tables' cells, their heads first."""
    first = [["policy", "insertion s", "with hashing s", "ids held"]]
    first += [
        [i.policy, f"{i.insert_s:.3f}", f"{i.with_hashing_s:.3f}", f"{i.held_share:.1%}"] for i in inserted
    ]
    second = [["choice", "budget", "µs a sample", "filled from tables", "recall top 10", "recall top 100"]]
    second += [
        [
            c.way,
            str(c.budget),
            f"{c.us:.1f}",
            f"{c.retrieved:.0%}",
            f"{c.recall_10:.3f}",
            f"{c.recall_100:.3f}",
        ]
        for c in choices
    ]
    return first, second


def report(setting: str, tables: tuple[list[list[str]], list[list[str]]], folder: Path) -> None:
    """Write the report, and print it."""
    console = Console(width=110)
    text = [f"# SLIDE's tables\n\n{setting}\n"]
    for title, (head, *lines) in zip(("Filling the tables", "Choosing active neurons"), tables, strict=True):
        table = show(console, title, head, lines)
        text.append(f"## {title}\n")
        text.append(table + "\n")
    text.append("![time and recall](slide_tables.png)\n")
    (folder / "slide_tables.md").write_text("\n".join(text))
    console.print(f"{folder / 'slide_tables.md'} and slide_tables.png")


def main() -> None:
    """Read the sizes, run everything, write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT, help="folder of report and picture")
    parser.add_argument("--rows", type=int, default=205_443)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--family", default="srp", help="srp is SimHash; fast_srp, cross_polytope, dwta, ...")
    parser.add_argument("--hashes", type=int, default=9)
    parser.add_argument("--tables", type=int, default=50)
    parser.add_argument("--bucket-size", type=int, default=128)
    parser.add_argument("--queries", type=int, default=1024)
    parser.add_argument("--neurons", type=Path, help="a .npy file f4[n, width] instead of generated ones")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, few queries, one run")
    given = parser.parse_args()
    n, n_queries, repeats = (given.rows // 10, 128, 1) if given.quick else (given.rows, given.queries, 3)
    rows = np.load(given.neurons).astype(np.float32) if given.neurons else clustered(n, given.width)
    spec = HashSpec(given.family, given.hashes, given.tables, 0, rows.shape[1])
    given.out.mkdir(parents=True, exist_ok=True)
    with threadpool_limits(1):
        inserted = insertions(spec, rows, given.bucket_size, repeats)
        budgets = [64, 256, 1024] if given.quick else [64, 128, 256, 512, 1024, 2048, 4096]
        choices = Chooser(spec, rows, given.bucket_size, n_queries).all_ways(budgets, repeats)
    taken = table_bytes(spec, len(rows), given.bucket_size)
    setting = (
        f"{len(rows):,} neurons of width {rows.shape[1]}, {given.family} with K = {given.hashes}, "
        f"L = {given.tables}, buckets of {given.bucket_size}; tables of {taken / 2**20:.0f} MiB; one core."
    )
    draw(inserted, choices, given.out / "slide_tables.png")
    report(setting, rows_of(inserted, choices), given.out)


if __name__ == "__main__":
    main()
