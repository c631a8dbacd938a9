"""How fast a trained network predicts, and how well: exact and by hash tables, batch and single rows.

    python benchmarks/prediction.py RUN --data FILE [--peers benchmarks/results/peers-NAME.json] [--quick]

Ways alternate within a repetition, and each figure is the median over repetitions.  "exact by BLAS" is exact
inference with screening turned off.  ``--peers`` adds what ``benchmarks/peers/compare.py`` measured of other
systems on the same file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
from matplotlib.figure import Figure
from scipy.sparse import csr_array

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

from results import write

from distlsh.data.opening import open_dataset
from distlsh.evaluation.ranking import labelled_rows, ranking_sums
from distlsh.inference import Model

K = 5


@dataclass(frozen=True)
class Way:
    """One way to predict.

    options  of `Model.predict`
    screen   exact inference may screen by 8-bit products
    """

    name: str
    options: dict[str, Any]
    screen: bool = True


def ways(model: Model) -> list[Way]:
    """Return exact inference both ways, and LSH inference at growing efforts."""
    found = [Way("exact", {}), Way("exact by BLAS", {}, screen=False)]
    if not model.has_tables or model.table_stats() is None:
        return found
    for n_probes in (model.config.lsh.n_probes, 16, 32, 63):
        for most in (None, 1000, 4000):
            options: dict[str, Any] = {"method": "lsh", "n_probes": n_probes, "max_candidates": most}
            name = f"LSH, {n_probes} probes" + (f", {most:,} scored" if most else "")
            found.append(Way(name, options))
    return found


@contextmanager
def _screening(on: bool) -> Iterator[None]:
    with mock.patch("distlsh.kernels.int8_tile.HAS_INT8", on):
        yield


def _p_at_1(ids: np.ndarray, rows: np.ndarray, dataset: Any) -> float:
    ones = np.ones(dataset.n_labels, np.float32)
    small = np.ascontiguousarray(ids, np.int32)
    return ranking_sums(small, rows, dataset.label_indptr, dataset.labels, ones).hits[0] / len(rows)


def _single_s(model: Model, X: Any, way: Way, n: int) -> list[float]:
    """Return the seconds of predictions of one row each."""
    found = []
    for i in range(n):
        row = X[i : i + 1]
        started = time.perf_counter()
        model.predict(row, K, **way.options)
        found.append(time.perf_counter() - started)
    return found


def _features(dataset: Any, rows: np.ndarray) -> Any:
    whole = csr_array(
        (dataset.values, dataset.indices, dataset.indptr), shape=(dataset.n_rows, dataset.n_features)
    )
    return whole[rows]


def measure(model: Model, dataset: Any, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a result for each way and number of cores."""
    rng = np.random.default_rng(1)
    candidates = labelled_rows(dataset, np.arange(dataset.n_rows))
    rows = np.sort(rng.choice(candidates, min(args.rows, len(candidates)), replace=False))
    X = _features(dataset, rows)
    cores = sorted(os.sched_getaffinity(0))
    out = []
    for n_threads in args.threads:
        os.sched_setaffinity(0, cores[:n_threads])
        tried = ways(model)
        batch: dict[str, list[float]] = {way.name: [] for way in tried}
        single: dict[str, list[float]] = {way.name: [] for way in tried}
        p_at_1: dict[str, float] = {}
        for way in tried:  # compiles, and codes the rows
            with _screening(way.screen):
                model.predict(X[:256], K, **way.options)
                _single_s(model, X, way, 3)
        for _ in range(args.repeat):
            for way in tried:
                with _screening(way.screen):
                    started = time.perf_counter()
                    ids, _ = model.predict(X, K, **way.options)
                    batch[way.name].append(time.perf_counter() - started)
                    p_at_1[way.name] = _p_at_1(ids, rows, dataset)
                    single[way.name] += _single_s(model, X, way, args.single_rows)
        for way in tried:
            ms = 1e3 * np.array(single[way.name])
            out.append(
                {
                    "way": way.name,
                    "threads": n_threads,
                    "rows_per_s": len(rows) / median(batch[way.name]),
                    "single_median_ms": float(np.median(ms)),
                    "single_p99_ms": float(np.percentile(ms, 99)),
                    "p_at_1": p_at_1[way.name],
                    "options": way.options,
                }
            )
            print(
                f"{way.name:>30} {n_threads} threads {out[-1]['rows_per_s']:10,.0f} rows/s"
                f" {out[-1]['single_median_ms']:8.2f} ms a row  P@1 {out[-1]['p_at_1']:.4f}",
                flush=True,
            )
    os.sched_setaffinity(0, cores)
    return out


def peers(path: Path | None) -> list[dict[str, Any]]:
    """Return the predictions of other systems in a result of ``benchmarks/peers/compare.py``."""
    if path is None:
        return []
    found = []
    for result in json.loads(path.read_text())["results"]:
        if result.get("error") or result["peer"] == "distlsh":
            continue
        for mode, fields in result.get("predictions", {}).items():
            latency = result.get("latency", {}).get(mode, {})
            found.append(
                {
                    "way": f"{result['peer']} ({result['setting_name']})",
                    "rows_per_s": fields["rows_per_s"],
                    "single_median_ms": latency.get("median_ms"),
                    "p_at_1": fields["p_at_1"],
                }
            )
    return found


def draw(results: list[dict[str, Any]], others: list[dict[str, Any]]) -> Figure:
    """Draw P@1 against rows a second and against the time of a single row."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    most = max(result["threads"] for result in results)
    shown = [result for result in results if result["threads"] == most]
    for axis, key, title in (
        (axes[0], "rows_per_s", f"rows/s, batches, {most} cores"),
        (axes[1], "single_median_ms", "ms, a single row"),
    ):
        for points, look in ((shown, "o"), (others, "s")):
            for point in points:
                if point.get(key):
                    axis.plot(point[key], point["p_at_1"], look)
                    axis.annotate(point["way"], (point[key], point["p_at_1"]), fontsize=6)
        axis.set(xscale="log", xlabel=title)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("P@1")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run_dir", type=Path, metavar="RUN")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache-dir", help="of the parsed data")
    parser.add_argument("--peers", type=Path, help="JSON of benchmarks/peers/compare.py")
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--single-rows", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2])
    parser.add_argument("--name", default="prediction", help="of the result")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.rows, args.single_rows, args.repeat = 512, 20, 1
    model = Model.load(args.run_dir, verify=False)
    dataset = open_dataset(args.data, cache_dir=args.cache_dir, normalize=model.normalize)
    results, others = measure(model, dataset, args), peers(args.peers)
    shape = {"n_labels": model.spec.n_labels, "width": model.spec.width, "rows": args.rows}
    print(write(args.name, {**shape, "results": results, "peers": others}, draw(results, others)))


if __name__ == "__main__":
    main()
