"""PECOS XR-Linear (libpecos): labels clustered by the mean of their instances, linear models, beam search.

Settings: those of `HierarchicalKMeans.TrainParams` under ``indexer``, of the models under ``train``
(``threshold``, ``Cp``, ``nr_splits``, ...), ``predict`` (``beam_size``, ``post_processor``); ``seeds``: train
so many models on different clusterings and add up their scores.
"""

from __future__ import annotations

import logging
from importlib.metadata import version

from adapter import TOP_K, emit, features, labels, latency, phase, save_predictions, start, top_of_scores
from pecos.xmc import Indexer, LabelEmbeddingFactory
from pecos.xmc.xlinear.model import XLinearModel


def train(job, X, Y, seed):
    s = job.setting
    embedding = LabelEmbeddingFactory.create(Y, X, method="pifa", threads=job.threads)
    indexer = {"max_leaf_size": 100, "seed": seed, "threads": job.threads, **s.get("indexer", {})}
    clusters = Indexer.gen(embedding, **indexer)
    return XLinearModel.train(X, Y, C=clusters, threads=job.threads, **s.get("train", {}))


def main():
    logging.disable(logging.INFO)
    job = start()
    emit("version", version=version("libpecos"))
    seeds = job.setting.get("seeds", 1)
    with phase("load"):
        X, Y = features(job.train, job.n_features), labels(job.train, job.n_labels)
        X.sort_indices()
        test = features(job.test, job.n_features)
    Y = Y.tocsc()
    models = []
    for seed in range(seeds):
        with phase("train" if seeds == 1 else f"train-{seed}") as notes:
            model = train(job, X, Y, seed)
        models.append(notes["seconds"])
        with phase("save"):
            model.save(str(job.work / f"model-{seed}"))
        del model
    if seeds > 1:
        emit("end", phase="train", seconds=sum(models))
    with phase("open"):
        loaded = [XLinearModel.load(str(job.work / f"model-{i}"), is_predict_only=True) for i in range(seeds)]

    options = {
        "only_topk": TOP_K if seeds == 1 else 20,
        "threads": job.threads,
        **job.setting.get("predict", {}),
    }

    def predict(rows):
        return sum(
            (model.predict(rows, **options) for model in loaded[1:]), loaded[0].predict(rows, **options)
        )

    with phase("predict") as notes:
        scores = predict(test)
    save_predictions(job, "tree", top_of_scores(scores), mode="tree", seconds=notes["seconds"])
    latency(job, "tree", test.shape[0], lambda row: predict(test[row]))


if __name__ == "__main__":
    main()
