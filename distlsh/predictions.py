"""Files of predictions: a line a row."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from distlsh.data.dataset import Dataset
from distlsh.errors import UsageError
from distlsh.folders import temporary_beside
from distlsh.inference import Model, Progress

FILE_BLOCK = 16_384
"""Rows predicted between two writes to a file."""


def predict_to_file(
    model: Model,
    dataset: Dataset,
    k: int,
    path: str | os.PathLike[str],
    method: str = "exact",
    progress: Progress | None = None,
    *,
    n_probes: int | None = None,
    max_candidates: int | None = None,
) -> int:
    """Write a line ``label:logit label:logit ...`` for each row, and return the number of rows.

    path      gzipped if it ends in ``.gz``; appears when it is complete, or not at all
    progress  called with (rows done, rows)

    The others are those of `Model.predict`.  Keeps 16,384 rows of predictions in memory.
    """
    with _replacing(Path(path)) as file:
        for first in range(0, dataset.n_rows, FILE_BLOCK):
            rows = np.arange(first, min(first + FILE_BLOCK, dataset.n_rows), dtype=np.int64)
            ids, scores = model.predict_rows(
                dataset, rows, k, method, n_probes=n_probes, max_candidates=max_candidates
            )
            file.writelines(map(_line, ids.tolist(), scores.tolist()))
            if progress is not None:
                progress(int(rows[-1]) + 1, dataset.n_rows)
    return dataset.n_rows


def _line(ids: list[int], scores: list[float]) -> str:
    pairs = zip(ids, scores, strict=True)
    return " ".join(f"{label}:{score:.6g}" for label, score in pairs if label >= 0) + "\n"


@contextmanager
def _replacing(path: Path) -> Iterator[IO[str]]:
    """Open a file beside ``path``, which takes its place once it is complete and on disk."""
    temporary = temporary_beside(path)
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(temporary, "xt", encoding="ascii") as file:
            yield file
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UsageError(f"{path}: the predictions could not be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
