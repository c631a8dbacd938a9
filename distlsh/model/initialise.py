"""First values of a network's arrays, by any number of processes at once."""

from __future__ import annotations

import math
from typing import Literal
from zlib import crc32

from distlsh.errors import ShapeError
from distlsh.kernels.finite import MOST
from distlsh.kernels.initialise import add_to_labels, finish_centroids, gaussian_rows
from distlsh.model.finite import DATA, Watch, bad_value, lengths, squares, too_large
from distlsh.model.network import Block, Instances, Network
from distlsh.model.spec import Floats, Offsets, layer_name

_BATCH = 128
"""Instances whose hidden vectors are computed together in a warm start."""
_UNSEEN = 0.1
"""Length of the random row of a label that no instance has, against a seen label's."""


_HASHED = 0.3
"""First weights of a hashed layer over a dense one's: what a neuron learns soon shows in its angle,
and tables find it by that.  On MNIST (1000-1000, 5% active) tables then found 0.72 of the second layer's
exact top neurons after five epochs, against 0.57."""


def part_of(n: int, part: int, n_parts: int) -> tuple[int, int]:
    """Return the range [first, last) of part ``part`` of ``n`` rows cut in ``n_parts``."""
    if not 0 <= part < n_parts:
        raise ShapeError(f"part {part} of {n_parts}: parts are numbered from 0")
    return n * part // n_parts, n * (part + 1) // n_parts


def initialise(
    network: Network,
    seed: int,
    part: int = 0,
    n_parts: int = 1,
    *,
    warm_start: bool = False,
    layers: Literal["all", "hidden", "output"] = "all",
) -> None:
    """Write the first values of slice ``part`` of every array's rows, or of some layers'.

    Values depend on ``seed``, array and row alone, so the parts equal the whole.  Rows of the
    input and hidden layers are normal, with standard deviation 1 / sqrt(width) (input), sqrt(2 /
    inputs) for relu (He et al. 2015) and sqrt(1 / inputs) otherwise (hidden), times 0.3 in hashed
    layers; output rows have 1 / sqrt(width), or are zero where a warm start will fill them; biases
    are zero.  Optimiser states are zero, but Adagrad's sums of squares ``spec.adagrad_init``.
    """
    spec = network.spec
    gain = 2.0 if spec.activation == "relu" else 1.0
    adagrad = spec.optimizer.startswith("adagrad")
    hashed = {f"{layer_name(i)}.weights" for i in spec.hashed}
    for name, block in network.blocks.items():
        if layers != "all" and name.startswith("output.") != (layers == "output"):
            continue
        rows = part_of(len(block.weights), part, n_parts)
        sd = 0.0
        if name == "input.weights":
            sd = 1.0 / math.sqrt(spec.hidden[0])
        elif name == "output.weights":
            sd = 0.0 if warm_start else 1.0 / math.sqrt(spec.width)
        elif name.endswith(".weights"):
            sd = math.sqrt(gain / block.weights.shape[1 if name in hashed else 0])
        sd *= _HASHED if name in hashed else 1.0
        _fill(block, rows, sd, _array_seed(seed, name))
        _fill_states(block, rows, spec.adagrad_init if adagrad else 0.0)
    if layers != "hidden":
        first, last = part_of(spec.n_labels, part, n_parts)
        network.dirty[first:last] = 0
    if part == 0 and layers != "output":
        for marks in network.marks.values():
            marks[:] = 0


def reset_states(network: Network, blocks: list[Block], part: int, n_parts: int, squares: float) -> None:
    """Set the optimiser states of slice ``part`` of the blocks' rows to their first values.

    squares  where Adagrad's sums of squares start; 0 for the states of other optimisers
    """
    adagrad = network.spec.optimizer.startswith("adagrad")
    for block in blocks:
        _fill_states(block, part_of(len(block.weights), part, n_parts), squares if adagrad else 0.0)


def warm_start_add(
    network: Network, dataset: Instances, rows: Offsets, non_finite: Watch | None = None
) -> None:
    """Add the hidden vector of each instance in ``rows`` i8[m] to its labels' output rows.

    non_finite  is told of instances that are left out, since their vector is not finite

    The rows must be zero before the first call (``initialise(warm_start=True)``).  Workers may
    add disjoint ``rows`` at once, HOGWILD: a lost update costs a centroid one of its vectors.
    """
    network.check_fits(dataset)
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        hidden = network.hidden(dataset, batch)
        if not math.isfinite(squares(hidden)):
            batch, hidden = _finite_ones(network, dataset, batch, hidden, non_finite or Watch())
        add_to_labels(dataset.label_indptr, dataset.labels, batch, hidden, network.output.weights)


def _finite_ones(
    network: Network, dataset: Instances, rows: Offsets, hidden: Floats, watch: Watch
) -> tuple[Offsets, Floats]:
    good = lengths(hidden) < MOST
    name = layer_name(len(network.spec.hidden) - 1)
    for row, vector in zip(rows[~good], hidden[~good], strict=True):
        first, last = dataset.indptr[row], dataset.indptr[row + 1]
        value = bad_value(dataset.values[first:last], dataset.indices[first:last], "feature")
        found = (DATA, value) if value is not None else (name, too_large(vector, "its activations"))
        watch.note(row, *found)
    return rows[good], hidden[good]


def warm_start_finish(network: Network, counts: Offsets, seed: int, first: int, last: int) -> None:
    """Turn the sums in output rows [first, last) into centroids and mark them dirty.

    counts  i8[n_labels]: instances of each label; rows of a label without any become small and random

    Rows get unit length where ``spec.normalize`` is on, else are divided by their count.
    """
    if len(counts) != network.spec.n_labels:
        raise ShapeError(f"{len(counts)} label counts for {network.spec.n_labels} labels")
    sd = _UNSEEN / math.sqrt(network.spec.width)
    salt = _array_seed(seed, "unseen")
    unit = network.spec.normalize
    finish_centroids(network.output.weights, counts, first, last, unit, sd, salt)
    network.dirty[first:last] = 1


def _array_seed(seed: int, name: str) -> int:
    return (seed << 32 ^ crc32(name.encode())) & 0xFFFFFFFFFFFFFFFF


def _fill(block: Block, rows: tuple[int, int], sd: float, seed: int) -> None:
    if sd > 0.0:
        gaussian_rows(block.weights, rows[0], rows[1], sd, seed)
    else:
        block.weights[rows[0] : rows[1]] = 0.0


def _fill_states(block: Block, rows: tuple[int, int], squares: float) -> None:
    block.state1[rows[0] : rows[1]] = squares
    block.state2[rows[0] : rows[1]] = 0.0
    block.clock[rows[0] : rows[1]] = 0
