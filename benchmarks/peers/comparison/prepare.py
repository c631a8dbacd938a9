"""The files that all peers get: training rows, a sample of test rows, a split of training rows for search.

A stem names a set of rows: ``<stem>.txt`` in Extreme Classification text, and ``<stem>.<array>.npy`` for
peers without a reader of text.  Reading is timed, but is not training.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distlsh import open_dataset
from distlsh.data.dataset import Dataset

ARRAYS = ("indptr", "indices", "values", "label_indptr", "labels")
_BLOCK = 50_000


@dataclass(frozen=True)
class Pair:
    """Training and test rows, over the same features and labels."""

    train: str
    test: str
    n_features: int
    n_labels: int
    train_rows: int
    test_rows: int


def prepare(train: Path, test: Path, out: Path, rows: int, search_rows: int, seed: int) -> tuple[Pair, Pair]:
    """Return the pair to measure on and the pair to search on, written to ``out`` unless they lie there.

    rows         test rows, a seeded sample; 0: all
    search_rows  about so many training rows to search on
    """
    asked = {"train": str(train), "test": str(test), "rows": rows, "search_rows": search_rows, "seed": seed}
    note = out / "data.json"
    if note.exists():
        found = json.loads(note.read_text())
        if found["asked"] == asked:
            return Pair(**found["full"]), Pair(**found["search"])
    out.mkdir(parents=True, exist_ok=True)
    whole, held_out = (open_dataset(path, cache_dir=out / "cache") for path in (train, test))
    n_features = max(whole.n_features, held_out.n_features)
    n_labels = max(whole.n_labels, held_out.n_labels)
    whole, held_out = (d.with_sizes(n_features, n_labels) for d in (whole, held_out))
    random = np.random.default_rng(seed)
    sample = take(held_out, sample_rows(held_out.n_rows, rows, random))
    full = _write_pair(out / "full", whole, sample)
    subset = of_some_labels(whole, search_rows, random)
    learn, check = split(subset, min(4000, subset.n_rows // 5), random)
    search = _write_pair(out / "search", take(subset, learn), take(subset, check))
    note.write_text(json.dumps({"asked": asked, "full": asdict(full), "search": asdict(search)}, indent=1))
    return full, search


def sample_rows(n_rows: int, wanted: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return ascending row numbers, ``wanted`` of them, or all for 0 or more than there are."""
    if wanted <= 0 or wanted >= n_rows:
        return np.arange(n_rows)
    return np.sort(random.choice(n_rows, wanted, replace=False))


def take(data: Dataset, rows: NDArray[np.int64]) -> Dataset:
    """Return some rows of a data set, over the same features and labels."""
    X, Y = data.to_csr()[rows], data.labels_csr()[rows]
    return Dataset.from_csr(X, Y, n_labels=data.n_labels)


def of_some_labels(data: Dataset, wanted: int, random: np.random.Generator) -> Dataset:
    """Return about ``wanted`` rows: all instances of randomly chosen labels, with these labels alone.

    Unlike a sample of rows, it keeps how many instances a label has.  Labels are numbered anew.
    """
    counts = data.label_counts()
    order = random.permutation(data.n_labels)
    total = np.cumsum(counts[order])
    chosen = order[: int(np.searchsorted(total, wanted * max(1.0, total[-1] / max(data.n_rows, 1)))) + 1]
    Y = data.labels_csr()[:, np.sort(chosen)].tocsr()
    rows = np.flatnonzero(np.diff(Y.indptr))
    return Dataset.from_csr(data.to_csr()[rows], Y[rows], n_labels=len(chosen))


def split(data: Dataset, wanted: int, random: np.random.Generator):
    """Return (rows to learn from, rows to check on): each label keeps at least one row to learn from."""
    left, check = data.label_counts(), []
    for row in random.permutation(data.n_rows):
        ids = data.labels[data.label_indptr[row] : data.label_indptr[row + 1]]
        if len(ids) and np.all(left[ids] >= 2):
            left[ids] -= 1
            check.append(row)
            if len(check) == wanted:
                break
    check = np.sort(np.array(check, np.int64))
    return np.setdiff1d(np.arange(data.n_rows), check), check


def _write_pair(stem: Path, train: Dataset, test: Dataset) -> Pair:
    names = [f"{stem}.train", f"{stem}.test"]
    for name, data in zip(names, (train, test), strict=True):
        write_rows(name, data)
    return Pair(*names, train.n_features, train.n_labels, train.n_rows, test.n_rows)


def write_rows(stem: str, data: Dataset) -> None:
    """Write a data set as text and as arrays."""
    for name in ARRAYS:
        np.save(f"{stem}.{name}.npy", np.asarray(getattr(data, name)))
    with open(f"{stem}.txt", "w") as file:
        file.write(f"{data.n_rows} {data.n_features} {data.n_labels}\n")
        for first in range(0, data.n_rows, _BLOCK):
            file.writelines(text_lines(data, first, min(first + _BLOCK, data.n_rows)))


def text_lines(data: Dataset, first: int, last: int):
    """Yield rows ``first`` to ``last`` as lines of Extreme Classification text."""
    a, b = int(data.indptr[first]), int(data.indptr[last])
    pairs = [
        f"{i}:{v:.9g}" for i, v in zip(data.indices[a:b].tolist(), data.values[a:b].tolist(), strict=True)
    ]
    ends = (data.indptr[first : last + 1] - a).tolist()
    for row in range(first, last):
        labels = data.labels[data.label_indptr[row] : data.label_indptr[row + 1]]
        features = pairs[ends[row - first] : ends[row - first + 1]]
        yield f"{','.join(map(str, labels.tolist()))} {' '.join(features)}\n"
