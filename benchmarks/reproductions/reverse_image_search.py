"""Reverse image search: `python benchmarks/reproductions/reverse_image_search.py [--help]`.

Vink's demonstration of lsh-rs (2020): index pictures, ask with others, look at what comes back.
The 60,000 training images of MNIST are indexed twice, as pixels and as 50 principal components of
these, and the test images are the queries.  Counted are the share of the true 10 nearest that are found, how
often neighbours have the query's label, and the time of a query, alone and among many, beside brute
force (one matrix product of all queries, in blocks, by BLAS on all cores).
Without --data, pictures are drawn instead.

Writes ``reverse_image_search.md``, ``.png`` and ``.html``: pages of queries and their neighbours.
"""

from __future__ import annotations

import argparse
import base64
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from pictures_of_digits import SIDE, Pictures, load
from report_table import show
from rich.console import Console

import distlsh

OUT = Path(__file__).resolve().parent / "out"
K = 10
SHOWN = 12
COMPONENTS = 50

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


class Result(NamedTuple):
    """One way of finding neighbours."""

    vectors: str
    way: str
    found: Ids
    recall: float
    same_label: float  # of all neighbours
    vote: float  # queries whose label is the most frequent of their neighbours'
    build_s: float
    alone_ms: float  # a query by itself
    batch_ms: float  # a query of many


def seconds(call: Callable[[], Any], repeats: int) -> tuple[Any, float]:
    """Return the last result of a call and the least seconds of some."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return result, min(times)


def brute_force(rows: Floats, queries: Floats) -> Ids:
    """Return i8[m, 10] of least distance, nearest first."""
    squares = np.einsum("ij,ij->i", rows, rows)
    parts = []
    for first in range(0, len(queries), 256):
        gaps = squares - 2 * queries[first : first + 256] @ rows.T
        near = np.argpartition(gaps, K, axis=1)[:, :K]
        order = np.argsort(np.take_along_axis(gaps, near, 1), axis=1)
        parts.append(np.take_along_axis(near, order, 1))
    return np.concatenate(parts)


def measured(
    vectors: str, way: str, search: Callable[[Floats], Ids], build_s: float, data: Data, repeats: int
) -> Result:
    found, batch = seconds(lambda: search(data.queries), repeats)
    some = data.queries[:50]
    _, alone = seconds(lambda: [search(query[None]) for query in some], repeats)
    labels = data.row_labels[found]
    same = (labels == data.query_labels[:, None]) & (found >= 0)
    votes = np.array([np.bincount(row, minlength=10).argmax() for row in labels])
    recall = (found[:, :, None] == data.nearest[:, None, :]).any(axis=1).mean()
    return Result(
        vectors, way, found, float(recall), float(same.mean()),
        float((votes == data.query_labels).mean()), build_s,
        1e3 * alone / len(some), 1e3 * batch / len(data.queries),
    )  # fmt: skip


class Data(NamedTuple):
    """Vectors of the pictures, their labels, and the true neighbours by these vectors."""

    rows: Floats
    queries: Floats
    row_labels: Ids
    query_labels: Ids
    nearest: Ids


def both_ways(vectors: str, data: Data, probes: tuple[int, ...], repeats: int) -> list[Result]:
    """Search by an index, with each number of probes, and by brute force."""
    start = time.perf_counter()
    index = distlsh.LSHIndex(metric="euclidean").fit(data.rows)
    build_s = time.perf_counter() - start
    results = []
    for n_probes in probes:
        way = f"LSHIndex, {n_probes} probes"
        results.append(
            measured(
                vectors, way, lambda Q, p=n_probes: index.search(Q, K, n_probes=p)[0], build_s, data, repeats
            )
        )
    slow = measured(vectors, "brute force", lambda Q: brute_force(data.rows, Q), 0.0, data, repeats)
    return [*results, slow]


def principal(rows: Floats, queries: Floats) -> tuple[Floats, Floats]:
    """Return the leading principal components of both, by the rows' covariance."""
    mean = rows.mean(axis=0)
    centred = rows - mean
    _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    leading = np.ascontiguousarray(vectors[:, ::-1][:, :COMPONENTS], np.float32)
    return centred @ leading, (queries - mean) @ leading


def draw(train: Pictures, test: Pictures, found: Ids, path: Path) -> None:
    """Draw the first queries, each with its neighbours beside it."""
    figure, axes = plt.subplots(SHOWN, K + 1, figsize=(K + 2, SHOWN * 1.1))
    for row in range(SHOWN):
        own = test.labels[row]
        shown = [(test.pixels[row], f"query: {own}", "black")]
        for i in found[row]:
            label = train.labels[i]
            shown.append((train.pixels[i], str(label), "green" if label == own else "red"))
        for axis, (pixels, title, color) in zip(axes[row], shown, strict=True):
            axis.imshow(pixels.reshape(SIDE, SIDE), cmap="gray_r")
            axis.set_title(title, fontsize=8, color=color, pad=2)
            axis.axis("off")
    figure.tight_layout(pad=0.4)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def embedded(pixels: Floats) -> str:
    """Return a picture as the source of an image element."""
    file = io.BytesIO()
    plt.imsave(file, pixels.reshape(SIDE, SIDE), cmap="gray_r", format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def page(train: Pictures, test: Pictures, found: Ids, title: str) -> str:
    """Return a page of more queries with their neighbours; wrong labels have a red frame."""
    rows = []
    for i in range(min(100, len(found))):
        cells = [f'<td class="query"><img src="{embedded(test.pixels[i])}"><br>{test.labels[i]}</td>']
        for j in found[i]:
            kind = "same" if train.labels[j] == test.labels[i] else "other"
            cells.append(
                f'<td class="{kind}"><img src="{embedded(train.pixels[j])}"><br>{train.labels[j]}</td>'
            )
        rows.append(f"<tr>{''.join(cells)}</tr>")
    style = (
        "body{font-family:sans-serif}img{width:48px;image-rendering:pixelated}td{text-align:center;padding:2px}"
        ".query{border-right:2px solid black}.other{outline:2px solid red}"
    )
    return (
        f'<!doctype html><meta charset="utf-8"><title>{title}</title><style>{style}</style>'
        f"<h1>{title}</h1><p>Left the query, then its neighbours, nearest first, with their labels.</p>"
        f"<table>{''.join(rows)}</table>\n"
    )


def report(results: list[Result], setting: str, folder: Path) -> None:
    """Write the report, and print it."""
    head = ["vectors", "way", "recall@10", "same label", "vote right", "build s", "ms alone", "ms in batch"]
    lines = [
        [r.vectors, r.way, f"{r.recall:.3f}", f"{r.same_label:.3f}", f"{r.vote:.3f}", f"{r.build_s:.2f}",
         f"{r.alone_ms:.3f}", f"{r.batch_ms:.4f}"]
        for r in results
    ]  # fmt: skip
    console = Console(width=120)
    table = show(console, "Reverse image search", head, lines)
    (folder / "reverse_image_search.md").write_text(
        f"# Reverse image search\n\n{setting}\n\n{table}\n\n"
        "Same label: of all neighbours; vote right: queries whose label most of their neighbours have.\n\n"
        "![queries and neighbours](reverse_image_search.png)\n"
    )
    console.print(f"{folder / 'reverse_image_search.md'}, .png and .html")


def main() -> None:
    """Read the pictures, search them, write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of MNIST's IDX files; none: pictures are drawn")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of report and pictures")
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--quick", action="store_true", help="5,000 pictures and 200 queries")
    given = parser.parse_args()
    train = load(given.data, "train", 5_000 if given.quick else None)
    test = load(given.data, "test", 200 if given.quick else given.queries)
    results = []
    spaces = {
        "pixels": (train.pixels, test.pixels),
        f"{COMPONENTS} components": principal(train.pixels, test.pixels),
    }
    for vectors, (rows, queries) in spaces.items():
        distlsh.LSHIndex(metric="euclidean").fit(rows[:2_000]).search(queries[:20], K)  # loads the kernels
        data = Data(rows, queries, train.labels, test.labels, brute_force(rows, queries))
        results += both_ways(vectors, data, (0, 3, 7, 15), 1 if given.quick else 3)
    given.out.mkdir(parents=True, exist_ok=True)
    setting = f"{len(train.labels):,} pictures ({train.source}), {len(test.labels):,} queries, 10 neighbours."
    best = next(result for result in results if result.way == "LSHIndex, 7 probes")
    draw(train, test, best.found, given.out / "reverse_image_search.png")
    (given.out / "reverse_image_search.html").write_text(
        page(train, test, best.found, f"{best.way}: {best.vectors}")
    )
    report(results, setting, given.out)


if __name__ == "__main__":
    main()
