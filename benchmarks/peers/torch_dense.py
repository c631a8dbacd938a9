"""PyTorch's dense network on the data of a configuration: the accuracy that sparse training must keep.

The same widths, activation, loss and epochs as the configuration; Adam, whose rate is the better of
those given.  Needs PyTorch (`pip install torch`).

    python benchmarks/peers/torch_dense.py bibtex --set data.train=... --set data.test=...
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise

import numpy as np
import torch

from distlsh.config.load import load_config
from distlsh.constants import TOP_K
from distlsh.data.opening import open_pair
from distlsh.evaluation.ranking import labelled_rows, ranking_sums


class Net(torch.nn.Module):
    """Linear layers on a sparse input, with the configured activation between them."""

    def __init__(self, n_features, hidden, n_labels, activation):
        super().__init__()
        self.input = torch.nn.EmbeddingBag(n_features, hidden[0], mode="sum")
        torch.nn.init.normal_(self.input.weight, std=hidden[0] ** -0.5)
        self.bias = torch.nn.Parameter(torch.zeros(hidden[0]))
        widths = [*hidden, n_labels]
        self.rest = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in pairwise(widths))
        self.activation = {"relu": torch.relu, "tanh": torch.tanh, "linear": lambda x: x}[activation]

    def forward(self, indices, offsets, values):
        x = self.activation(self.input(indices, offsets, per_sample_weights=values) + self.bias)
        for i, layer in enumerate(self.rest):
            x = layer(x if i == 0 else self.activation(x))
        return x


def batch_of(data, rows):
    starts, ends = data.indptr[rows], data.indptr[rows + 1]
    pick = np.concatenate([np.arange(a, b) for a, b in zip(starts, ends, strict=True)])
    offsets = np.concatenate([[0], np.cumsum(ends - starts)[:-1]])
    return (
        torch.from_numpy(np.asarray(data.indices)[pick].astype(np.int64)),
        torch.from_numpy(offsets.astype(np.int64)),
        torch.from_numpy(np.asarray(data.values)[pick]),
    )


def targets_of(data, rows, n_labels):
    target = torch.zeros(len(rows), n_labels)
    for i, row in enumerate(rows):
        target[i, data.labels[data.label_indptr[row] : data.label_indptr[row + 1]].astype(np.int64)] = 1.0
    return target


def train(config, data, lr, batch, loss):
    torch.manual_seed(config.train.seed)
    net = Net(data.n_features, config.model.hidden, data.n_labels, config.model.activation)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    labelled = labelled_rows(data, np.arange(data.n_rows))
    random = np.random.default_rng(config.train.seed)
    for _ in range(config.train.epochs):
        order = random.permutation(labelled)
        for first in range(0, len(order), batch):
            rows = order[first : first + batch]
            logits, target = net(*batch_of(data, rows)), targets_of(data, rows, data.n_labels)
            if loss == "softmax":
                share = target / target.sum(1, keepdim=True)
                value = -(share * torch.log_softmax(logits, 1)).sum(1).mean()
            else:
                value = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="sum")
                value = value / len(rows)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    return net


def precision(net, data):
    rows = labelled_rows(data, np.arange(data.n_rows))
    with torch.no_grad():
        top = net(*batch_of(data, rows)).topk(TOP_K).indices.numpy().astype(np.int32)
    ones = np.ones(data.n_labels, np.float32)
    hits = ranking_sums(np.ascontiguousarray(top), rows, data.label_indptr, data.labels, ones).hits
    return [hits[k - 1] / (k * len(rows)) for k in (1, 3, 5)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--lr", default="3e-4,1e-3,3e-3")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    config = load_config(args.config, args.overrides)
    data, test = open_pair(config.data)
    for loss in ("softmax", "bce"):
        for lr in map(float, args.lr.split(",")):
            started = time.perf_counter()
            net = train(config, data, lr, args.batch, loss)
            p1, p3, p5 = precision(net, test)
            line = {"config": args.config, "loss": loss, "lr": lr, "epochs": config.train.epochs}
            line |= {"p_at_1": p1, "p_at_3": p3, "p_at_5": p5, "train_s": time.perf_counter() - started}
            rounded = {k: round(v, 4) if isinstance(v, float) and v > 0.01 else v for k, v in line.items()}
            print(json.dumps(rounded))


if __name__ == "__main__":
    main()
