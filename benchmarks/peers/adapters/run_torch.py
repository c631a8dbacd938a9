"""PyTorch: one hidden layer and a softmax over all labels, or over sampled ones.

Settings
  loss        "dense": the softmax over all labels; "sampled": over the labels of the batch and
              ``n_sampled`` random ones, drawn by frequency^0.75, corrected by the log of their expected count
  width, batch, epochs, lr, lr_input (default lr)
  head        "linear": ReLU, then a linear layer; "cosine": scale x cosine of hidden vector and row
  warm_start  rows begin as the mean hidden vector of their label's instances (cosine only)
  optimizer   "adam" or "adagrad"; embeddings of the input, and sampled rows, get sparse gradients and its
              sparse form where ``sparse`` is set
  schedule    "constant" or "linear" (to zero)
  by_hand     the dense cosine's gradient by hand, in buffers that are kept: the same mathematics as autograd,
              which spends most of its time on fresh memory for arrays of the size of the output
  samples     train only on so many samples of the first epoch, and say so
  checkpoint_s  seconds between checkpoints; a job started again goes on from its last one
  points      how many times to predict the test rows in training (not counted as training)
"""

from __future__ import annotations

import time

import numpy as np
import torch
from adapter import TOP_K, emit, features, labels, latency, phase, save_predictions, start
from torch.nn import functional

DEFAULTS = {
    "loss": "dense",
    "width": 256,
    "batch": 256,
    "epochs": 1,
    "lr": 1e-3,
    "lr_input": None,
    "head": "linear",
    "scale": 10.0,
    "warm_start": False,
    "optimizer": "adam",
    "sparse": False,
    "fused": False,
    "schedule": "constant",
    "by_hand": False,
    "n_sampled": 1024,
    "samples": 0,
    "points": 0,
    "checkpoint_s": 0,
    "point_rows": 2000,
    "seed": 1,
}


class Rows:
    """Sparse rows as the tensors of an EmbeddingBag."""

    def __init__(self, X, Y):
        self.indptr, self.indices = X.indptr.astype(np.int64), X.indices.astype(np.int64)
        self.values = X.data
        self.label_indptr, self.labels = Y.indptr.astype(np.int64), Y.indices.astype(np.int64)
        self.n_rows = X.shape[0]

    def bag(self, rows):
        """Return (indices, offsets, values) of the rows."""
        pick, offsets = _gather(self.indptr, rows)
        tensors = self.indices[pick], offsets, self.values[pick]
        return tuple(torch.from_numpy(np.ascontiguousarray(t)) for t in tensors)

    def targets(self, rows):
        """Return (place in the batch, label, share of its row) of every label."""
        pick, offsets = _gather(self.label_indptr, rows)
        counts = np.diff(np.append(offsets, len(pick)))
        place = np.repeat(np.arange(len(rows)), counts)
        share = np.repeat(1.0 / np.maximum(counts, 1), counts).astype(np.float32)
        return torch.from_numpy(place), torch.from_numpy(self.labels[pick]), torch.from_numpy(share)


def _gather(indptr, rows):
    counts = indptr[rows + 1] - indptr[rows]
    offsets = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    return np.arange(counts.sum()) + np.repeat(indptr[rows] - offsets, counts), offsets


class Net(torch.nn.Module):
    def __init__(self, n_features, n_labels, s):
        super().__init__()
        self.cosine, self.scale = s["head"] == "cosine", s["scale"]
        rows_sparse = s["sparse"] and s["loss"] == "sampled"
        self.input = torch.nn.EmbeddingBag(n_features, s["width"], mode="sum", sparse=s["sparse"])
        torch.nn.init.normal_(self.input.weight, std=s["width"] ** -0.5)
        self.input_bias = torch.nn.Parameter(torch.zeros(s["width"]))
        self.rows = torch.nn.Embedding(n_labels, s["width"], sparse=rows_sparse)
        torch.nn.init.uniform_(self.rows.weight, -(s["width"] ** -0.5), s["width"] ** -0.5)
        self.bias = torch.nn.Embedding(n_labels, 1, sparse=rows_sparse)
        torch.nn.init.zeros_(self.bias.weight)

    def hidden(self, bag):
        indices, offsets, values = bag
        x = self.input(indices, offsets, per_sample_weights=values)
        if self.cosine:
            return functional.normalize(x) * self.scale
        return torch.relu(x + self.input_bias)

    def logits(self, x, ids=None):
        """Return the logits [m, n_labels], or of some labels only; a cosine has no bias."""
        weight = self.rows.weight if ids is None else self.rows(ids)
        if self.cosine:
            return functional.linear(x, functional.normalize(weight))
        bias = self.bias.weight if ids is None else self.bias(ids)
        return functional.linear(x, weight, bias[:, 0])


def dense_loss(net, rows, data):
    place, label, share = data.targets(rows)
    logits = net.logits(net.hidden(data.bag(rows)))
    if len(label) == len(rows):
        return functional.cross_entropy(logits, label)
    picked = (logits[place, label] * share).sum()
    return (torch.logsumexp(logits, 1).sum() - picked) / len(rows)


class ByHand:
    """One step of the dense softmax over cosines with its gradient written out."""

    def __init__(self, net, batch):
        n_labels, width = net.rows.weight.shape
        self.logits = torch.empty(batch, n_labels)
        self.unit, self.gradient = torch.empty(n_labels, width), torch.empty(n_labels, width)

    def __call__(self, net, rows, data):
        place, label, share = data.targets(rows)
        x = net.hidden(data.bag(rows))
        with torch.no_grad():
            weight, unit, gradient = net.rows.weight, self.unit, self.gradient
            norm = torch.linalg.vector_norm(weight, dim=1, keepdim=True).clamp_(min=1e-12)
            torch.div(weight, norm, out=unit)
            p = self.logits[: len(rows)]
            torch.mm(x, unit.t(), out=p)
            p.sub_(p.amax(1, keepdim=True)).exp_()
            p.div_(p.sum(1, keepdim=True))
            p.index_put_((place, label), -share, accumulate=True)
            p.div_(len(rows))
            torch.mm(p.t(), x, out=gradient)
            along = torch.linalg.vecdot(unit, gradient).unsqueeze(1)
            gradient.addcmul_(unit, along, value=-1.0).div_(norm)
            weight.grad = gradient
            x_gradient = torch.mm(p, unit)
        return x, x_gradient


class Sampled:
    """Softmax over the labels of the batch and random ones, with log-Q correction."""

    def __init__(self, data, n_labels, n_sampled, seed):
        counts = np.bincount(data.labels, minlength=n_labels).astype(np.float64)
        share = np.maximum(counts, 1.0) ** 0.75
        self.cumulative = np.cumsum(share / share.sum())
        self.n_sampled, self.n_rows = n_sampled, data.n_rows
        self.share, self.frequency = share / share.sum(), counts / max(counts.sum(), 1)
        self.random = np.random.default_rng(seed)

    def __call__(self, net, rows, data):
        place, label, share = data.targets(rows)
        drawn = np.searchsorted(self.cumulative, self.random.random(self.n_sampled))
        ids = np.union1d(label.numpy(), np.minimum(drawn, len(self.cumulative) - 1))
        expected = self.n_sampled * self.share[ids] + len(rows) * self.frequency[ids]
        correction = torch.from_numpy(np.log(np.minimum(expected, 1.0)).astype(np.float32))
        logits = net.logits(net.hidden(data.bag(rows)), torch.from_numpy(ids)) - correction
        at = torch.from_numpy(np.searchsorted(ids, label.numpy()))
        picked = (logits[place, at] * share).sum()
        return (torch.logsumexp(logits, 1).sum() - picked) / len(rows)


def optimizers(net, s):
    """Return optimizers whose groups know their rate: sparse forms for sparse gradients."""
    lr_input = s["lr_input"] or s["lr"]
    dense, sparse = torch.optim.Adam, torch.optim.SparseAdam
    extra = {"fused": True} if s["fused"] else {}
    if s["optimizer"] == "adagrad":
        dense = sparse = torch.optim.Adagrad
        extra = {}
    first = [net.input.weight]
    rest = [net.rows.weight] if net.cosine else [net.rows.weight, net.bias.weight]
    found = []
    if net.input.sparse:
        found.append(sparse(first, lr=lr_input))
    else:
        found.append(dense(first, lr=lr_input, **extra))
    if net.rows.sparse:
        found.append(sparse(rest, lr=s["lr"]))
    else:
        found.append(dense(rest, lr=s["lr"], **extra))
    if not net.cosine:
        found.append(dense([net.input_bias], lr=s["lr"], **extra))
    return found


def warm_start(net, data, batch=4096):
    """Set each label's row to the mean hidden vector of its instances."""
    total = torch.zeros_like(net.rows.weight)
    with torch.no_grad():
        for first in range(0, data.n_rows, batch):
            rows = np.arange(first, min(first + batch, data.n_rows))
            place, label, _ = data.targets(rows)
            total.index_add_(0, label, net.hidden(data.bag(rows))[place])
        seen = total.abs().sum(1) > 0
        net.rows.weight[seen] = functional.normalize(total[seen])


def predict(net, data, rows, batch=256):
    out = np.full((len(rows), TOP_K), -1, np.int32)
    with torch.no_grad():
        weight = functional.normalize(net.rows.weight) if net.cosine else net.rows.weight
        bias = None if net.cosine else net.bias.weight[:, 0]
        for first in range(0, len(rows), batch):
            x = net.hidden(data.bag(rows[first : first + batch]))
            top = functional.linear(x, weight, bias).topk(min(TOP_K, len(weight)))
            out[first : first + batch, : top.indices.shape[1]] = top.indices.numpy()
    return out


class Curve:
    """Predictions in the middle of training, with the clock stopped."""

    def __init__(self, job, net, test, s, total):
        self.job, self.net, self.test = job, net, test
        self.rows = np.arange(min(s["point_rows"], test.n_rows))
        self.every = total / s["points"] if s["points"] else float("inf")
        self.next, self.paused_s = self.every, 0.0

    def after(self, samples, train_s):
        if samples < self.next:
            return
        self.next += self.every
        started = time.perf_counter()
        top = predict(self.net, self.test, self.rows)
        save_predictions(self.job, f"point-{samples}", top, event="point", train_s=train_s, samples=samples)
        self.paused_s += time.perf_counter() - started


class Checkpoint:
    """The state of training in a file, written now and then; nothing where it is not asked for."""

    def __init__(self, job, net, chosen, every_s):
        self.path, self.every_s, self.last = job.work / "checkpoint.pt", every_s, time.perf_counter()
        self.net, self.chosen = net, chosen

    def restore(self):
        """Return (samples, seconds) that were trained before."""
        if not self.every_s or not self.path.exists():
            return 0, 0.0
        state = torch.load(self.path)
        self.net.load_state_dict(state["net"])
        for optimizer, its in zip(self.chosen, state["optimizers"]):  # noqa: B905
            optimizer.load_state_dict(its)
        return state["samples"], state["train_s"]

    def write(self, samples, train_s):
        if not self.every_s or time.perf_counter() - self.last < self.every_s:
            return
        state = {"net": self.net.state_dict(), "optimizers": [o.state_dict() for o in self.chosen]}
        new = self.path.with_suffix(".new")
        torch.save({**state, "samples": samples, "train_s": train_s}, new)
        new.rename(self.path)
        self.last = time.perf_counter()


def train(job, net, data, test, s):
    """Train; return (samples, seconds without the pauses for points)."""
    random = np.random.default_rng(s["seed"])
    per_epoch = data.n_rows if not s["samples"] else min(s["samples"], data.n_rows)
    total = per_epoch * s["epochs"]
    chosen = optimizers(net, s)
    rates = [o.param_groups[0]["lr"] for o in chosen]
    step = step_of(net, data, job, s)
    curve, checkpoint = Curve(job, net, test, s, total), Checkpoint(job, net, chosen, s["checkpoint_s"])
    done, before_s = checkpoint.restore()
    samples, started = 0, time.perf_counter()
    train_s = before_s
    while samples < total:
        order = random.permutation(data.n_rows)[:per_epoch]
        for first in range(0, len(order), s["batch"]):
            rows = order[first : first + s["batch"]]
            samples += len(rows)
            if samples <= done:
                continue
            left = 1.0 - (samples - len(rows)) / total if s["schedule"] == "linear" else 1.0
            for optimizer, rate in zip(chosen, rates):  # noqa: B905
                optimizer.param_groups[0]["lr"] = rate * left
                optimizer.zero_grad(set_to_none=True)
            step(rows)
            for optimizer in chosen:
                optimizer.step()
            train_s = before_s + time.perf_counter() - started - curve.paused_s
            curve.after(samples, train_s)
            checkpoint.write(samples, train_s)
            if job.time_limit_s and train_s > job.time_limit_s:
                emit("note", stopped_at_time_limit=True)
                return samples, train_s
    return samples, train_s


def step_of(net, data, job, s):
    """Return the function that computes the gradients of some rows."""
    if s["loss"] == "dense" and s["by_hand"]:
        if not net.cosine:
            raise SystemExit("run_torch: by_hand needs head=cosine")
        by_hand = ByHand(net, s["batch"])

        def step(rows):
            x, gradient = by_hand(net, rows, data)
            x.backward(gradient)

        return step
    sampled = Sampled(data, job.n_labels, s["n_sampled"], s["seed"])
    loss_of = dense_loss if s["loss"] == "dense" else sampled
    return lambda rows: loss_of(net, rows, data).backward()


def main():
    job = start()
    unknown = set(job.setting) - set(DEFAULTS)
    if unknown:
        raise SystemExit(f"run_torch: unknown settings {sorted(unknown)}; known: {sorted(DEFAULTS)}")
    s = {**DEFAULTS, **job.setting}
    torch.set_num_threads(job.threads)
    torch.manual_seed(s["seed"])
    emit("version", version=torch.__version__)
    with phase("load"):
        data = Rows(features(job.train, job.n_features), labels(job.train, job.n_labels))
        test = Rows(features(job.test, job.n_features), labels(job.test, job.n_labels))
    net = Net(job.n_features, job.n_labels, s)
    with phase("train") as notes:
        warm = time.perf_counter()
        if s["warm_start"]:
            warm_start(net, data)
        warm = time.perf_counter() - warm
        samples, seconds = train(job, net, data, test, s)
        notes |= {"samples": samples, "epoch_samples": data.n_rows, "train_s": seconds + warm}
        notes |= {"samples_per_s": samples / seconds}
    if s["samples"]:
        epoch_s = data.n_rows * seconds / samples
        emit("note", epoch_s_extrapolated=epoch_s, epochs_trained=samples / data.n_rows)
    with phase("predict") as notes:
        ids = predict(net, test, np.arange(test.n_rows))
    save_predictions(job, "exact", ids, mode="exact", seconds=notes["seconds"])
    latency(job, "exact", test.n_rows, lambda row: predict(net, test, np.array([row])))


if __name__ == "__main__":
    main()
