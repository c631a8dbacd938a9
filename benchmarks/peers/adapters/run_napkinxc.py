"""napkinXC: probabilistic label trees.

Settings: arguments of `napkinxc.models.PLT`.
"""

from __future__ import annotations

from importlib.metadata import version

from adapter import TOP_K, emit, features, labels, latency, phase, save_lists, start
from napkinxc.models import PLT


def main():
    job = start()
    emit("version", version=version("napkinxc"))
    with phase("load"):
        X, Y = features(job.train, job.n_features), labels(job.train, job.n_labels)
        test = features(job.test, job.n_features)
    model = PLT(str(job.work / "model"), threads=job.threads, seed=1, **job.setting)
    with phase("train"):
        model.fit(X, Y)
    with phase("open"):
        model.load()
    with phase("predict") as notes:
        found = model.predict(test, top_k=TOP_K)
    save_lists(job, "tree", found, mode="tree", seconds=notes["seconds"])
    latency(job, "tree", test.shape[0], lambda row: model.predict(test[row], top_k=TOP_K))


if __name__ == "__main__":
    main()
