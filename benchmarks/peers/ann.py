"""Recall against queries a second: LSHIndex beside faiss-cpu, FALCONN and datasketch.

    python benchmarks/peers/ann.py --data DIR [--sets mnist,generated,sets] [--quick] [--out DIR]

DIR holds MNIST's four IDX files, gzipped; without them the generated vectors are used alone.
Peers that are not installed are skipped, with a line that says so:

    pip install faiss-cpu datasketch falconn matplotlib

The data: MNIST's 60,000 training images and 1,000 (--queries) of its test images, Euclidean; 200,000
generated vectors of 128 dimensions, Euclidean (see `generated`); MNIST's images as sets of bright
pixels, Jaccard.  Everything is indexed once a setting and searched for the 10 nearest with all queries
in one call, on all cores; a setting's time is the best of --repeat calls.  FALCONN answers one
query a call and holds the interpreter's lock, so its queries are divided among as many forked
processes as there are cores, each with its own query object.  faiss uses its own threads.
IndexLSH ranks by Hamming distance alone, so its candidates are ranked exactly by IndexRefineFlat.
datasketch is Python and uses one core; its candidates are ranked exactly by NumPy, which is not counted.

Writes ann.json (all measurements), ann.md (the best speed at each recall) and ann.png to --out.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

K = 10
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
CORES = len(os.sched_getaffinity(0))
LSH = ("LSHIndex", "FALCONN", "faiss IndexLSH", "datasketch")
"""Libraries of locality-sensitive hashing; the others are trees, graphs and cells."""


@dataclass
class Point:
    """One measurement."""

    data: str
    method: str
    setting: str
    recall: float
    queries_s: float
    build_s: float


@dataclass
class Case:
    """Vectors, queries, and the exact answers i8[m, 10]."""

    name: str
    rows: Any
    queries: Any
    exact: Ids
    metric: str


def images(path: Path) -> Floats:
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784).astype(np.float32)


def generated(n: int, m: int, d: int = 128, seed: int = 7) -> tuple[Floats, Floats]:
    """Return n rows and m queries of d dimensions that are distributed as learned features tend to be.

    1,000 clusters with sizes by a power law (rank^-0.8); centres whose variance falls as i^-1.2 over
    random directions; each cluster spreads in 12 directions of its own, with falling variance, and
    a little (0.1) in all.  So vectors lie near sheets of low dimension, of unlike density.
    """
    random = np.random.default_rng(seed)
    turn = np.linalg.qr(random.standard_normal((d, d)))[0]
    spectrum = np.arange(1, d + 1) ** -0.6
    centres = 3.0 * (random.standard_normal((1_000, d)) * spectrum) @ turn
    sheets = random.standard_normal((1_000, 12, d)) * (np.arange(1, 13) ** -0.5)[:, None] / np.sqrt(d) * 4.0
    share = np.arange(1, 1_001) ** -0.8
    cluster = random.choice(1_000, n + m, p=share / share.sum())
    found = np.empty((n + m, d), np.float32)
    for first in range(0, n + m, 10_000):
        some = cluster[first : first + 10_000]
        within = np.einsum("ij,ijk->ik", random.standard_normal((len(some), 12)), sheets[some])
        found[first : first + 10_000] = centres[some] + within + 0.1 * random.standard_normal((len(some), d))
    return found[:n], found[n:]


def exact_neighbours(rows: Floats, queries: Floats) -> Ids:
    """Return i8[m, 10] of least Euclidean distance, by brute force."""
    squares = np.einsum("ij,ij->i", rows, rows)
    parts = []
    for first in range(0, len(queries), 256):
        gaps = squares - 2 * queries[first : first + 256] @ rows.T
        parts.append(np.argpartition(gaps, K, axis=1)[:, :K])
    return np.concatenate(parts).astype(np.int64)


def exact_sets(rows: NDArray[np.bool_], queries: NDArray[np.bool_]) -> Ids:
    """Return i8[m, 10] of largest Jaccard similarity, by brute force."""
    return np.concatenate(
        [best_sets(rows, queries[i : i + 1], np.arange(len(rows))) for i in range(len(queries))]
    )


def best_sets(rows: Any, query: Any, some: Ids) -> Ids:
    both = rows[some].astype(np.float32) @ query[0].astype(np.float32)
    union = rows[some].sum(axis=1) + query.sum() - both
    return some[np.argsort(-both / union, kind="stable")[:K]][None]


def cases(args: argparse.Namespace) -> Iterator[Case]:
    wanted = args.sets.split(",")
    shapes = (20_000, 200) if args.quick else (200_000, args.queries)
    folder = Path(args.data) if args.data else None
    found = folder is not None and (folder / "train-images-idx3-ubyte.gz").is_file()
    if not found and {"mnist", "sets"} & set(wanted):
        print(f"mnist, sets: skipped, no train-images-idx3-ubyte.gz in {folder}; name its folder by --data")
    if found and folder is not None:
        rows = images(folder / "train-images-idx3-ubyte.gz")[: 10_000 if args.quick else None]
        queries = images(folder / "t10k-images-idx3-ubyte.gz")[: shapes[1]]
        if "mnist" in wanted:
            yield Case("mnist", rows, queries, exact_neighbours(rows, queries), "euclidean")
        if "sets" in wanted:
            bright, asked = rows > 127, queries[:200] > 127
            yield Case("sets", bright, asked, exact_sets(bright, asked), "jaccard")
    if "generated" in wanted:
        rows, queries = generated(*shapes)
        yield Case("generated", rows, queries, exact_neighbours(rows, queries), "euclidean")


class Bench:
    """Times searches and keeps the points."""

    def __init__(self, repeat: int) -> None:
        self.points: list[Point] = []
        self._repeat = repeat

    def add(self, case: Case, method: str, setting: str, build_s: float, search: Callable[[], Any]) -> float:
        """Time ``search``, which returns ids i8[m, 10]; return its recall."""
        times = []
        for _ in range(self._repeat):
            start = time.perf_counter()
            found = search()
            spent = time.perf_counter() - start
            if isinstance(found, tuple):  # it measured itself
                found, spent = found
            times.append(spent)
        return self.keep(case, method, setting, build_s, found, min(times))

    def keep(
        self, case: Case, method: str, setting: str, build_s: float, found: Ids, seconds: float
    ) -> float:
        recall = float((found[:, :, None] == case.exact[:, None, :]).any(axis=1).mean())
        point = Point(case.name, method, setting, recall, len(case.queries) / seconds, build_s)
        self.points.append(point)
        print(
            f"{case.name:10} {method:16} {setting:40} recall {recall:.4f} {point.queries_s:10,.0f} q/s",
            flush=True,
        )
        return recall


def built(make: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return make(), time.perf_counter() - start


def lsh_index(bench: Bench, case: Case, quick: bool) -> None:
    import distlsh

    if case.metric == "jaccard":
        grid = [{"n_hashes": k, "n_tables": t} for k, t in SETS_GRID[: 1 if quick else None]]
        probes: tuple[int, ...] = (0,)
    else:
        grid = LSH_INDEX_GRID[:1] if quick else LSH_INDEX_GRID
        probes = (0, 1, 3, 7, 15, 31)
    for params in grid:
        distlsh.LSHIndex(metric=case.metric, **params).fit(case.rows[:2000]).search(case.queries[:40], K)
        index, build_s = built(lambda: distlsh.LSHIndex(metric=case.metric, **params).fit(case.rows))  # noqa: B023
        index.search(case.queries, K)
        for n_probes in probes:
            for n_rerank in (12, 16, 24) if case.metric == "euclidean" else (0,):
                setting = " ".join(f"{name}={value}" for name, value in params.items())
                bench.add(
                    case, "LSHIndex", f"{setting} probes={n_probes} rerank={n_rerank}", build_s,
                    lambda: index.search(case.queries, K, n_probes=n_probes, n_rerank=n_rerank)[0],  # noqa: B023
                )  # fmt: skip


LSH_INDEX_GRID = [
    {"n_tables": 8, "dim": 32},
    {"n_tables": 4, "dim": 32},
    {"n_tables": 16, "dim": 64},
    {"n_tables": 8, "dim": 64},
]


SETS_GRID = ((4, 24), (2, 8), (3, 24), (4, 12), (4, 48), (6, 12), (6, 24), (6, 48))


def faiss_indexes(bench: Bench, case: Case, quick: bool) -> None:
    import faiss

    if case.metric != "euclidean":
        return
    faiss.omp_set_num_threads(CORES)
    d, n = case.rows.shape[1], len(case.rows)

    def filled(index: Any) -> Any:
        index.train(case.rows)
        index.add(case.rows)
        return index

    def run(method: str, setting: str, index: Any, build_s: float) -> float:
        return bench.add(case, method, setting, build_s, lambda: index.search(case.queries, K)[1])

    index, build_s = built(lambda: filled(faiss.IndexFlatL2(d)))
    run("faiss Flat", "", index, build_s)
    for bits in (256, 1024)[: 1 if quick else 2]:
        base, build_s = built(lambda: filled(faiss.IndexLSH(d, bits, True, True)))  # noqa: B023
        flat = filled(faiss.IndexFlatL2(d))
        index = faiss.IndexRefine(base, flat)
        for factor in (1, 2, 5, 10, 20, 50, 100):
            index.k_factor = factor
            if run("faiss IndexLSH", f"bits={bits} k_factor={factor}", index, build_s) > 0.995:
                break
    for cells in (256, 1024)[: 1 if quick else 2]:
        index, build_s = built(lambda: filled(faiss.index_factory(d, f"IVF{cells},Flat")))  # noqa: B023
        for probes in (1, 2, 4, 8, 16, 32, 64):
            index.nprobe = probes
            if run("faiss IVFFlat", f"cells={cells} probes={probes}", index, build_s) > 0.995:
                break
    index, build_s = built(lambda: filled(hnsw(faiss, d, n)))
    for ef in (10, 15, 20, 30, 40, 60, 80, 120, 200, 400):
        index.hnsw.efSearch = ef
        if run("faiss HNSWFlat", f"M=16 ef={ef}", index, build_s) > 0.998:
            break


def hnsw(faiss: Any, d: int, n: int) -> Any:
    index = faiss.IndexHNSWFlat(d, 16)
    index.hnsw.efConstruction = 100
    return index


def falconn_index(bench: Bench, case: Case, quick: bool) -> None:
    import falconn

    if case.metric != "euclidean":
        return
    mean = case.rows.mean(axis=0)  # as its documentation recommends
    rows, queries = np.ascontiguousarray(case.rows - mean), np.ascontiguousarray(case.queries - mean)
    # Without more probes than tables it is much faster a candidate: many tables are its best.
    grid = ((10, 2, 64), (30, 2, 128), (50, 2, 128), (100, 2, 128), (200, 2, 128))
    for tables, hashes, last in grid[: 1 if quick else None]:
        params = falconn.LSHConstructionParameters()
        params.dimension = rows.shape[1]
        params.lsh_family = falconn.LSHFamily.CrossPolytope
        params.distance_function = falconn.DistanceFunction.EuclideanSquared
        params.storage_hash_table = falconn.StorageHashTable.FlatHashTable
        params.l, params.k, params.last_cp_dimension = tables, hashes, last
        params.num_rotations, params.seed, params.num_setup_threads = 1, 1, CORES
        index, build_s = built(lambda: falconn.LSHIndex(params))  # noqa: B023
        build_s += built(lambda: index.setup(rows))[1]  # noqa: B023
        for factor in (1, 2, 4, 8, 16, 32, 64):
            probes = tables * factor
            if probes > 2_000:
                break
            recall = bench.add(
                case, "FALCONN", f"l={tables} k={hashes} last={last} probes={probes}", build_s,
                lambda: forked(index, queries, probes),  # noqa: B023
            )  # fmt: skip
            if recall > 0.995:
                break


def forked(index: Any, queries: Floats, probes: int) -> tuple[Ids, float]:
    """Return FALCONN's answers and seconds, from the first process's first query to the last's last."""
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(CORES)
    parts = np.array_split(np.arange(len(queries)), CORES)
    pipes = [context.Pipe(duplex=False) for _ in parts]

    def work(part: Ids, pipe: Any) -> None:
        query = index.construct_query_object()
        query.set_num_probes(probes)
        found = np.full((len(part), K), -1)
        query.find_k_nearest_neighbors(queries[part[0]], K)
        ready.wait()
        start = time.perf_counter()
        results = [query.find_k_nearest_neighbors(queries[i], K) for i in part]
        end = time.perf_counter()
        for row, result in zip(found, results, strict=True):
            row[: len(result)] = result
        pipe.send((found, start, end))

    processes = [
        context.Process(target=work, args=(part, pipe[1])) for part, pipe in zip(parts, pipes, strict=True)
    ]
    for process in processes:
        process.start()
    results = [pipe[0].recv() for pipe in pipes]
    for process in processes:
        process.join()
    found, starts, ends = zip(*results, strict=True)
    return np.concatenate(found), max(ends) - min(starts)


def datasketch_index(bench: Bench, case: Case, quick: bool) -> None:
    import datasketch

    if case.metric != "jaccard":
        return
    for permutations, bands, size in ((128, 64, 2), (128, 42, 3), (128, 32, 4))[: 1 if quick else 3]:

        def sketch(row: Any, n: int = permutations) -> Any:
            found = datasketch.MinHash(num_perm=n, seed=1)
            found.update_batch([int(i).to_bytes(2, "little") for i in np.flatnonzero(row)])
            return found

        def fill() -> Any:
            index = datasketch.MinHashLSH(num_perm=permutations, params=(bands, size))  # noqa: B023
            for i, row in enumerate(case.rows):
                index.insert(i, sketch(row))
            return index

        index, build_s = built(fill)
        start = time.perf_counter()
        answers = [np.sort(np.array(index.query(sketch(query)), np.int64)) for query in case.queries]
        seconds = time.perf_counter() - start
        found = np.full((len(answers), K), -1)
        for i, answer in enumerate(answers):
            best = best_sets(case.rows, case.queries[i : i + 1], answer)[0]
            found[i, : len(best)] = best
        bench.keep(case, "datasketch", f"b={bands} r={size}", build_s, found, seconds)


METHODS = {
    "distlsh": lsh_index,
    "faiss": faiss_indexes,
    "falconn": falconn_index,
    "datasketch": datasketch_index,
}


def front(points: list[Point]) -> list[Point]:
    """Return the points that no other beats in both recall and speed, by recall."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (-p.recall, -p.queries_s)):
        if not kept or point.queries_s > kept[-1].queries_s:
            kept.append(point)
    return kept[::-1]


def best_at(points: list[Point], level: float) -> Point | None:
    reached = [point for point in points if point.recall >= level]
    return max(reached, key=lambda p: p.queries_s, default=None)


def report(points: list[Point], out: Path) -> str:
    lines = [f"# Queries a second at a recall@10 of at least ..., {CORES} cores", ""]
    for data in dict.fromkeys(point.data for point in points):
        here = [point for point in points if point.data == data]
        methods = list(dict.fromkeys(point.method for point in here))
        lines += [
            f"## {data}",
            "",
            "| method | " + " | ".join(f"{level:.2f}" for level in LEVELS) + " | build |",
        ]
        lines += ["|---|" + "---|" * (len(LEVELS) + 1)]
        for method in methods:
            own = [point for point in here if point.method == method]
            cells = [best_at(own, level) for level in LEVELS]
            row = " | ".join(f"{cell.queries_s:,.0f}" if cell else "-" for cell in cells)
            lines.append(f"| {method} | {row} | {min(p.build_s for p in own):.1f} s |")
        lines += ["", *verdicts(here), ""]
    return "\n".join(lines)


def verdicts(points: list[Point]) -> list[str]:
    lines = []
    for level in LEVELS:
        best = [best_at([p for p in points if p.method == m], level) for m in {p.method for p in points}]
        ranked = sorted((p for p in best if p), key=lambda p: -p.queries_s)
        if not ranked:
            continue
        other = next((p for p in ranked if p.method in LSH and p.method != "LSHIndex"), None)
        ours = next((p for p in ranked if p.method == "LSHIndex"), None)
        text = f"- {level:.2f}: fastest is {ranked[0].method}"
        if ours and other:
            text += f"; LSHIndex is {ours.queries_s / other.queries_s:.1f} times as fast as {other.method}"
        elif ours:
            text += "; no other library of hashing reaches it"
        lines.append(text)
    return lines


def plot(points: list[Point], path: Path) -> None:
    try:
        import matplotlib
    except ImportError:
        print("no plot: matplotlib is not installed (pip install matplotlib)")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(point.data for point in points))
    figure, axes = plt.subplots(1, len(names), figsize=(6 * len(names), 4.5), squeeze=False)
    methods = list(dict.fromkeys(point.method for point in points))
    for axis, name in zip(axes[0], names, strict=True):
        for method in methods:
            best = front([p for p in points if p.data == name and p.method == method])
            best = [p for p in best if p.recall >= 0.3]
            style = "o-" if method in LSH else "s--"
            if best:
                axis.plot(
                    [p.recall for p in best], [p.queries_s for p in best], style,
                    label=method, color=f"C{methods.index(method)}", markersize=4,
                )  # fmt: skip
        axis.set(title=name, xlabel="recall@10", ylabel=f"queries/s, {CORES} cores", yscale="log")
        axis.grid(alpha=0.3, which="both")
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder of MNIST's IDX files")
    parser.add_argument("--sets", default="mnist,generated,sets")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    parser.add_argument("--quick", action="store_true", help="fewer rows, queries and settings")
    args = parser.parse_args()
    bench = Bench(1 if args.quick else args.repeat)
    for case in cases(args):
        for name in args.methods.split(","):
            try:
                METHODS[name](bench, case, args.quick)
            except ImportError as error:
                print(f"{name}: skipped, {error}")
    if not bench.points:
        print("nothing was measured")
        return
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "ann.json").write_text(json.dumps([asdict(point) for point in bench.points], indent=1) + "\n")
    text = report(bench.points, args.out)
    (args.out / "ann.md").write_text(text + "\n")
    plot(bench.points, args.out / "ann.png")
    print("\n" + text)


if __name__ == "__main__":
    main()
