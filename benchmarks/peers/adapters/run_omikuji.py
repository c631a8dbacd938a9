"""Omikuji: Parabel and Bonsai, label trees of linear classifiers.

Settings: fields of its hyper-parameters (``n_trees``, ``cluster_k``, ``linear_c``, ...); ``beam_size``.  Its
Python interface predicts a row a call; here as many threads as there are cores call it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import omikuji
from adapter import TOP_K, emit, features, latency, phase, save_lists, start


def load(path, pool):
    found = omikuji.lib.load_omikuji_data_set(omikuji.ffi.new("char[]", str(path).encode()), pool.ptr)
    if found == omikuji.ffi.NULL:
        raise SystemExit(f"omikuji cannot read {path}")
    return omikuji.ffi.gc(found, omikuji.lib.free_omikuji_data_set)


def main():
    job = start()
    emit("version", version=version("omikuji"))
    setting = dict(job.setting)
    beam = setting.pop("beam_size", 10)
    parameters = omikuji.Model.default_hyper_param()
    for name, value in setting.items():
        setattr(parameters, name, value)
    # As Model.train_on_data does, with reading and training timed apart.
    pool = omikuji._ThreadPoolHandle(job.threads, initialize=True)
    with phase("load"):
        data = load(f"{job.train}.txt", pool)
    with phase("train"):
        pointer = omikuji.lib.train_omikuji_model(data, parameters, pool.ptr)
    model = omikuji.Model(pointer, pool)
    del data
    model.init_prediction_thread_pool(1)
    X = features(job.test, job.n_features)
    rows = [
        list(zip(X.indices[a:b].tolist(), X.data[a:b].tolist()))  # noqa: B905
        for a, b in zip(X.indptr, X.indptr[1:])  # noqa: B905
    ]

    def predict(row):
        return [label for label, _ in model.predict(rows[row], beam_size=beam, top_k=TOP_K)]

    with phase("predict") as notes, ThreadPoolExecutor(job.threads) as threads:
        found = list(threads.map(predict, range(len(rows)), chunksize=64))
    save_lists(job, "tree", found, mode="tree", seconds=notes["seconds"])
    latency(job, "tree", len(rows), predict)


if __name__ == "__main__":
    main()
