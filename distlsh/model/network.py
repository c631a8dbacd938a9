"""Views of a network's arrays, and its forward pass without dropout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from distlsh.errors import ShapeError
from distlsh.kernels.hidden_layer import LINEAR, RELU, TANH, activation_forward, normalize_forward
from distlsh.kernels.input_layer import input_forward
from distlsh.model.spec import (
    Floats,
    Ids,
    NetworkSpec,
    Offsets,
    Seeds,
    array_dtype,
    array_shapes,
    layer_name,
    trained_specs,
)

if TYPE_CHECKING:
    from distlsh.model.layers.choosers import Chooser

ACTIVATION_CODES = {"linear": LINEAR, "relu": RELU, "tanh": TANH}


class Instances(Protocol):
    """The part of a data set that a network reads: CSR features, labels of each row."""

    @property
    def n_rows(self) -> int: ...
    @property
    def n_features(self) -> int: ...
    @property
    def n_labels(self) -> int: ...
    @property
    def indptr(self) -> Offsets: ...
    @property
    def indices(self) -> Ids: ...
    @property
    def values(self) -> Floats: ...
    @property
    def label_indptr(self) -> Offsets: ...
    @property
    def labels(self) -> Ids: ...


@dataclass(frozen=True, slots=True)
class Block:
    """One trained array and its optimiser's states; what the optimiser lacks is of one place.

    weights f4[n, d], or u2[n, d] of bfloat16 rows; state1, state2 f4[n, d or 1]; clock i8[n].
    """

    weights: npt.NDArray[Any]
    state1: Floats
    state2: Floats
    clock: Offsets
    trainable: bool

    @classmethod
    def from_arrays(cls, name: str, arrays: Mapping[str, npt.NDArray[Any]], optimizer: str) -> Block:
        """Take the views of array ``name``; without its states it serves inference only."""
        wanted = trained_specs(name, arrays[name].shape, optimizer)
        return cls(
            arrays[name],
            arrays.get(f"{name}.state1", np.zeros((1, 1), np.float32)),
            arrays.get(f"{name}.state2", np.zeros((1, 1), np.float32)),
            arrays.get(f"{name}.clock", np.zeros(1, np.int64)),
            all(spec.name in arrays for spec in wanted) and bool(arrays[name].flags.writeable),
        )

    @property
    def views(self) -> tuple[npt.NDArray[Any], Floats, Floats, Offsets]:
        """The arrays in the order that kernels take them."""
        return self.weights, self.state1, self.state2, self.clock


class Network:
    """A network over arrays that others may hold too: shared memory or a checkpoint's files.

    output         Block f4[n_labels, d]
    layers         Blocks of the hidden layers' weights, the first at place 0: f4[inputs, h] of a dense
                   layer, f4[h, inputs] of a hashed one
    biases         Blocks of their biases: f4[1, h] or f4[h, 1]
    marks          u1[h] of each hashed hidden layer, by its number: set where a row was changed
    output_bias    Block f4[n_labels, 1], or of one place where the network has none
    dirty          u1[n_labels]: set where an output row was changed
    """

    def __init__(self, spec: NetworkSpec, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raise ShapeError where an array is missing or of another shape than ``spec`` says."""
        self.spec = spec
        self.arrays = arrays
        for name, shape in array_shapes(spec).items():
            _check_array(arrays, name, shape, np.dtype(array_dtype(spec, name)))
        blocks = {name: Block.from_arrays(name, arrays, spec.optimizer) for name in array_shapes(spec)}
        names = [layer_name(i) for i in range(len(spec.hidden))]
        self.layers = [blocks[f"{name}.weights"] for name in names]
        self.biases = [blocks[f"{name}.bias"] for name in names]
        self.marks: dict[int, npt.NDArray[np.uint8]] = {
            i: arrays.get(f"{names[i]}.dirty", np.zeros(spec.hidden[i], np.uint8)) for i in spec.hashed
        }
        self.output = blocks["output.weights"]
        self.output_bias = blocks.get("output.bias") or _no_bias()
        self.dirty: npt.NDArray[np.uint8] = arrays.get("output.dirty", np.zeros(spec.n_labels, np.uint8))
        self.activation = ACTIVATION_CODES[spec.activation]
        self.blocks = blocks

    def check_trainable(self) -> None:
        """Raise ShapeError where an array is read-only or its optimiser's states are missing."""
        for name, block in self.blocks.items():
            if not block.trainable:
                raise ShapeError(
                    f"array {name} cannot be trained: it is read-only or lacks the states of optimizer"
                    f" {self.spec.optimizer}; a checkpoint without them (checkpoint.optimizer_state=false)"
                    " serves evaluation and prediction only"
                )

    def check_fits(self, dataset: Instances) -> None:
        """Raise ShapeError where the data has features or labels that the network lacks."""
        for what in ("n_features", "n_labels"):
            found, held = getattr(dataset, what), getattr(self.spec, what)
            if found > held:
                raise ShapeError(
                    f"the data has {found} {what[2:]}, the network was made for {held};"
                    " train with this data, or remove what the network does not know"
                )

    def hidden(
        self, dataset: Instances, rows: Offsets, choosers: Mapping[int, Chooser] | None = None
    ) -> Floats:
        """Return the output layer's input of the given instances, f4[len(rows), d]."""
        return self.hidden_csr(dataset.indptr, dataset.indices, dataset.values, rows, choosers)

    def hidden_csr(
        self,
        indptr: Offsets,
        indices: Ids,
        values: Floats,
        rows: Offsets | None = None,
        choosers: Mapping[int, Chooser] | None = None,
    ) -> Floats:
        """Return the same of the rows (all by default) of a CSR matrix: i8[n+1], i4[nnz], f4[nnz].

        choosers  of hashed layers by their number; where one is missing, the layer's exact top is
                  active: as many neurons as in training, those with the largest sums

        The vectors have unit length where ``spec.normalize`` is on.  Indices are not checked.
        """
        chosen = np.arange(len(indptr) - 1, dtype=np.int64) if rows is None else rows
        if self.spec.hashed:
            from distlsh.model.layers.inference import sparse_forward

            return sparse_forward(self, (indptr, indices, values), chosen, choosers).hidden
        out = np.empty((len(chosen), self.spec.hidden[0]), np.float32)
        seeds: Seeds = np.zeros(len(chosen), np.uint64)
        input_forward(indptr, indices, values, chosen, seeds, 1.0, self.layers[0].weights, out)
        activation_forward(self.activation, self.biases[0].weights, out)
        for layer, bias in zip(self.layers[1:], self.biases[1:], strict=True):
            out = np.dot(out, layer.weights)
            activation_forward(self.activation, bias.weights, out)
        if self.spec.normalize:
            normalize_forward(out, out, np.empty(len(out), np.float32))
        return out


def _no_bias() -> Block:
    return Block.from_arrays("none", {"none": np.zeros((1, 1), np.float32)}, "sgd")


def _check_array(
    arrays: Mapping[str, npt.NDArray[Any]], name: str, shape: tuple[int, int], dtype: np.dtype[Any]
) -> None:
    if name not in arrays:
        raise ShapeError(f"the network's array {name} is missing; the arrays are {', '.join(arrays)}")
    found = arrays[name]
    if found.shape != shape or found.dtype != dtype or not found.flags.c_contiguous:
        raise ShapeError(
            f"array {name} is {found.dtype}{list(found.shape)}, the network needs {dtype}{list(shape)} in"
            " C order; the checkpoint and the configuration are not of the same run"
        )
