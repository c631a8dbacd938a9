"""What the adapters share: the job, the events they print, the rows they read.  Needs NumPy and SciPy only.

An adapter is ``python run_NAME.py JOB.json`` in an interpreter that has its peer.  It prints one JSON
object a line on standard output and nothing else there; what libraries print goes to standard error.

| event | fields | meaning |
|---|---|---|
| `version` | `version` | of the peer |
| `begin`, `end` | `phase`, at the end `seconds` and notes | a phase: `load`, `train`, `predict`, ... |
| `predicted` | `path`, `mode`, `seconds`, `rows` | top-5 labels i4[rows, 5] of the test rows, -1 where none |
| `point` | `path`, `train_s`, `samples` | the same in the middle of training: a point of its curve |
| `latency` | `mode`, `median_ms`, `p99_ms`, `calls` | of predicting single rows |
| `note` | any | figures of the peer's own, kept as they are |
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

TOP_K = 5


@dataclass(frozen=True)
class Job:
    """One setting of one peer on one pair of files.

    train, test  stems of the files: ``<stem>.txt`` and ``<stem>.<array>.npy``
    setting      of the peer, what its adapter understands
    work         a folder of its own, for models and predictions
    """

    train: Path
    test: Path
    n_features: int
    n_labels: int
    threads: int
    setting: dict
    work: Path
    single_rows: int
    time_limit_s: float


_events = sys.stdout


def emit(event, **fields):
    """Print one event."""
    _events.write(json.dumps({"event": event, **fields}) + "\n")
    _events.flush()


def start():
    """Return the job; from now on only `emit` writes to standard output."""
    global _events
    _events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    fields = json.loads(Path(sys.argv[1]).read_text())
    paths = {name: Path(fields[name]) for name in ("train", "test", "work")}
    return Job(**{**fields, **paths})


@contextmanager
def phase(name):
    """Announce a phase, and its seconds when it ends; the dictionary it gives takes notes for that event."""
    emit("begin", phase=name)
    notes = {}
    started = time.perf_counter()
    yield notes
    notes["seconds"] = time.perf_counter() - started
    emit("end", phase=name, **notes)


def features(stem, n_features):
    """Return the rows' features as CSR float32 [n, n_features], indices ascending within a row."""
    arrays = [np.load(f"{stem}.{name}.npy") for name in ("values", "indices", "indptr")]
    return csr_matrix(tuple(arrays), shape=(len(arrays[2]) - 1, n_features))


def labels(stem, n_labels):
    """Return the rows' labels as a CSR float32 indicator [n, n_labels]."""
    indptr, ids = np.load(f"{stem}.label_indptr.npy"), np.load(f"{stem}.labels.npy")
    return csr_matrix((np.ones(len(ids), np.float32), ids, indptr), shape=(len(indptr) - 1, n_labels))


def save_predictions(job, name, ids, **fields):
    """Write top-k labels i[m, <= 5], filled up with -1, and announce them; returns the path."""
    full = np.full((len(ids), TOP_K), -1, np.int32)
    full[:, : np.shape(ids)[1]] = ids
    return save_top(job, name, full, **fields)


def save_lists(job, name, lists, **fields):
    """The same for a sequence of labels a row, best first, of any length."""
    full = np.full((len(lists), TOP_K), -1, np.int32)
    for row, found in zip(full, lists):  # noqa: B905 - equal by construction
        found = list(found)[:TOP_K]
        row[: len(found)] = found
    return save_top(job, name, full, **fields)


def save_top(job, name, ids, event="predicted", **fields):
    path = job.work / f"{name}.npy"
    np.save(path, ids)
    emit(event, path=str(path), rows=len(ids), **fields)
    return path


def top_of_scores(scores):
    """Return the best labels i4[m, 5] of a CSR matrix of scores, -1 where a row has fewer."""
    scores = scores.tocsr()
    out = np.full((scores.shape[0], TOP_K), -1, np.int32)
    for row in range(scores.shape[0]):
        a, b = scores.indptr[row], scores.indptr[row + 1]
        best = np.argsort(-scores.data[a:b], kind="stable")[:TOP_K]
        out[row, : len(best)] = scores.indices[a:b][best]
    return out


def latency(job, mode, n_rows, call):
    """Time ``call(row)`` on the first rows, one at a time, after a few that are not counted."""
    if job.single_rows <= 0:
        return
    with phase("single"):
        times = []
        for row in range(min(job.single_rows, n_rows)):
            started = time.perf_counter()
            call(row)
            times.append(time.perf_counter() - started)
    kept = np.sort(np.array(times[5:] or times)) * 1e3
    median, p99 = float(np.median(kept)), float(np.quantile(kept, 0.99))
    emit("latency", mode=mode, median_ms=median, p99_ms=p99, calls=len(kept))
