"""fastText: the mean of the features' vectors, and a hierarchical softmax.

Settings: arguments of `fasttext.train_supervised`.  It reads words: a feature is one, its weight is lost;
with ``repeat`` a feature stands in its row up to so many times, in proportion to its weight.
"""

from __future__ import annotations

from importlib.metadata import version

import fasttext
import numpy as np
from adapter import TOP_K, emit, features, labels, latency, phase, save_lists, start


def package_version():
    for name in ("fasttext", "fasttext-wheel"):
        try:
            return version(name)
        except ModuleNotFoundError:
            continue
    return "unknown"


def words(X, repeat):
    """Return a line of words for each row."""
    names = np.array([f"f{i}" for i in range(X.shape[1])], object)
    times = np.ones(len(X.data), np.int64)
    if repeat > 1:
        top = np.maximum.reduceat(X.data, np.minimum(X.indptr[:-1], len(X.data) - 1))
        times = np.maximum(1, np.rint(repeat * X.data / np.repeat(top, np.diff(X.indptr)))).astype(np.int64)
    lines = []
    for a, b in zip(X.indptr, X.indptr[1:]):  # noqa: B905
        lines.append(" ".join(np.repeat(names[X.indices[a:b]], times[a:b])))
    return lines


def main():
    job = start()
    emit("version", version=package_version())
    setting = dict(job.setting)
    repeat = setting.pop("repeat", 1)
    with phase("load"):
        X, Y = features(job.train, job.n_features), labels(job.train, job.n_labels)
        test = features(job.test, job.n_features)
    path = job.work / "train.words"
    with phase("convert"), open(path, "w") as file:
        for a, b, line in zip(Y.indptr, Y.indptr[1:], words(X, repeat)):  # noqa: B905
            file.write(" ".join(f"__label__{i}" for i in Y.indices[a:b]) + " " + line + "\n")
    lines = words(test, repeat)
    with phase("train"):
        model = fasttext.train_supervised(input=str(path), thread=job.threads, **setting)
    path.unlink()

    def ids(names):
        return [int(name[len("__label__") :]) for name in names]

    with phase("predict") as notes:
        found = model.predict(lines, k=TOP_K)[0]
    save_lists(job, "tree", [ids(names) for names in found], mode="tree", seconds=notes["seconds"])
    latency(job, "tree", len(lines), lambda row: model.predict(lines[row], k=TOP_K))


if __name__ == "__main__":
    main()
