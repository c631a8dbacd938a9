"""What network is trained, and which arrays that takes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from distlsh.config.schema import Activation, Config, Loss, ModelConfig, Storage, TrainConfig
from distlsh.config.shares import layer_shares
from distlsh.errors import CheckpointError, ShapeError
from distlsh.files import short
from distlsh.kernels import optim
from distlsh.model.storage import DTYPES
from distlsh.shm.spec import ArraySpec

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]
Offsets = npt.NDArray[np.int64]
Seeds = npt.NDArray[np.uint64]

Optimizer = Literal["sgd", "momentum", "adagrad", "adagrad_row", "adam"]

OPTIMIZER_CODES: dict[str, int] = {
    "sgd": optim.SGD,
    "momentum": optim.MOMENTUM,
    "adagrad": optim.ADAGRAD,
    "adagrad_row": optim.ADAGRAD_ROW,
    "adam": optim.ADAM,
}
_STATES = {"sgd": 0, "momentum": 1, "adagrad": 1, "adagrad_row": 1, "adam": 2}
_CLOCKED = ("momentum", "adam")


def optimizer_settings(train: TrainConfig, code: int) -> Floats:
    """Return what ``optim.update_row`` takes as ``hyper``, f4[3]: momentum or beta1, beta2, eps."""
    first = train.beta1 if code == optim.ADAM else train.momentum
    return np.array([first, train.beta2, train.eps], np.float32)


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Shape and kind of a network; ``optimizer`` says which states its arrays have.

    ``optimizer`` is ``momentum`` where the configuration has ``sgd`` with ``momentum`` > 0.
    ``adagrad_init`` is what Adagrad's sums of squared gradients start from.  At 0, as in the paper, a
    row's first step moves every value by the whole rate, however small its gradient; from a on,
    gradients below sqrt(a) move it by about ``lr * gradient / sqrt(a)``.
    ``active`` has for each hidden layer the neurons that a sample computes, 0 for a dense layer;
    () is all dense.
    ``storage`` is of the rows of the first layer and the output; all else is float32.
    """

    n_features: int
    hidden: tuple[int, ...]
    n_labels: int
    activation: Activation = "linear"
    normalize: bool = True
    scale: float = 10.0
    bias: bool = False
    loss: Loss = "softmax"
    log_q: bool = False
    dropout: float = 0.0
    input_dropout: float = 0.0
    optimizer: Optimizer = "adagrad"
    adagrad_init: float = 0.01
    active: tuple[int, ...] = ()
    storage: Storage = "float32"

    def __post_init__(self) -> None:
        if self.active and len(self.active) != len(self.hidden):
            raise ShapeError(
                f"active neurons for {len(self.active)} layers of {len(self.hidden)}; give one number a layer"
            )
        if self.n_features < 1 or self.n_labels < 1:
            raise ShapeError(
                f"a network needs at least one feature and one label, found {self.n_features} features and"
                f" {self.n_labels} labels; check the header of data.train"
            )

    @classmethod
    def from_config(cls, config: Config, n_features: int, n_labels: int) -> NetworkSpec:
        """Return the network that ``config`` asks for, for data of these numbers."""
        model, optimizer = config.model, config.train.optimizer
        momentum = optimizer == "sgd" and config.train.momentum > 0
        return cls(
            n_features=n_features,
            hidden=tuple(model.hidden),
            n_labels=n_labels,
            activation=model.activation,
            normalize=model.normalize,
            scale=model.scale,
            bias=model.bias,
            loss=model.loss,
            log_q=model.log_q,
            dropout=model.dropout,
            input_dropout=model.input_dropout,
            optimizer="momentum" if momentum else optimizer,
            adagrad_init=config.train.adagrad_init,
            active=active_neurons(model),
            storage=model.storage,
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NetworkSpec:
        """Return the network described by ``to_dict``, as read from a checkpoint."""
        # What checkpoints lack from before there was a choice.
        values = {"active": (), "storage": "float32", **values}
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            wrong = ", ".join(sorted(names.symmetric_difference(values)))
            raise CheckpointError(
                f"the checkpoint's description of its network lacks or adds: {wrong};"
                " it was written by another version of distlsh"
            )
        try:
            return msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            raise CheckpointError(
                f"the checkpoint's description of its network is wrong: {short(error)}"
            ) from None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types."""
        return {**asdict(self), "hidden": list(self.hidden), "active": list(self.active)}

    def budget(self, i: int) -> int:
        """Return the neurons of hidden layer ``i`` (from 0) that a sample computes; 0: a dense layer."""
        return self.active[i] if self.active else 0

    @property
    def hashed(self) -> tuple[int, ...]:
        """Numbers of the hidden layers, from 0, of which a sample computes some neurons only."""
        return tuple(i for i, n in enumerate(self.active) if n)

    def inputs(self, i: int) -> int:
        """Return the width of hidden layer ``i``'s input."""
        return self.hidden[i - 1] if i else self.n_features

    @property
    def width(self) -> int:
        """Width of the last hidden layer, the input of the output layer."""
        return self.hidden[-1]

    @property
    def logit_scale(self) -> float:
        """Factor of hidden . row in a logit: ``scale`` for unit vectors, else 1."""
        return self.scale if self.normalize else 1.0

    def hidden_macs(self, n_nonzeros: int, n_samples: int) -> int:
        """Return the multiply-adds of the hidden layers' forward pass."""
        pairs = zip(self.hidden, self.hidden[1:], strict=False)
        return n_nonzeros * self.hidden[0] + n_samples * sum(a * b for a, b in pairs)


def active_neurons(model: ModelConfig) -> tuple[int, ...]:
    """Return the neurons of each hidden layer that a sample computes, 0 for a dense layer; () if all are."""
    pairs = zip(layer_shares(model), model.hidden, strict=True)
    active = tuple(0 if share == 1 else max(1, round(share * width)) for share, width in pairs)
    return active if any(active) else ()


def layer_name(i: int) -> str:
    """Return what the names of hidden layer ``i``'s arrays begin with, layers counted from 0."""
    return f"hidden.{i}" if i else "input"


def array_shapes(spec: NetworkSpec) -> dict[str, tuple[int, int]]:
    """Return the trained arrays' names and shapes.

    A dense hidden layer has a row an input and one row of biases; a hashed one a row a neuron, like
    the output layer.
    """
    shapes: dict[str, tuple[int, int]] = {}
    for i, width in enumerate(spec.hidden):
        hashed = spec.budget(i) > 0
        shapes[f"{layer_name(i)}.weights"] = (width, spec.inputs(i)) if hashed else (spec.inputs(i), width)
        shapes[f"{layer_name(i)}.bias"] = (width, 1) if hashed else (1, width)
    shapes["output.weights"] = (spec.n_labels, spec.width)
    if spec.bias:
        shapes["output.bias"] = (spec.n_labels, 1)
    return shapes


def parameter_specs(spec: NetworkSpec) -> list[ArraySpec]:
    """Return every array of the network, with its optimiser's states, in a fixed order.

    ``X.state1`` and ``X.state2`` are f4[n, width or 1] and ``X.clock`` i8[n], where the
    optimiser has them (see ``kernels.optim``); ``output.dirty`` is u1[n_labels], and a hashed
    hidden layer's ``X.dirty`` u1[its width].
    """
    specs: list[ArraySpec] = []
    for name, shape in array_shapes(spec).items():
        specs += trained_specs(name, shape, spec.optimizer, array_dtype(spec, name))
    marks = [(layer_name(i), spec.hidden[i], "model.hidden") for i in spec.hashed]
    marks.append(("output", spec.n_labels, "the number of labels"))
    return [*specs, *(ArraySpec(f"{name}.dirty", (n,), "u1", True, lower) for name, n, lower in marks)]


def array_dtype(spec: NetworkSpec, name: str) -> str:
    """Return the dtype of trained array ``name``: "f4", or "u2" for rows kept as bfloat16."""
    return DTYPES[spec.storage] if name in ("input.weights", "output.weights") else "f4"


def trained_specs(name: str, shape: tuple[int, int], optimizer: str, dtype: str = "f4") -> list[ArraySpec]:
    """Return trained array ``name`` f4 or u2[n, width], then what its optimiser keeps of it."""
    rows, width = shape
    lower = "model.bias" if name == "output.bias" else "model.hidden"
    found = [ArraySpec(name, shape, dtype, True, lower)]
    state_width = 1 if optimizer == "adagrad_row" else width
    found += [
        ArraySpec(f"{name}.state{i + 1}", (rows, state_width), "f4", True, f"{lower} (or train.optimizer)")
        for i in range(_STATES[optimizer])
    ]
    if optimizer in _CLOCKED:
        found.append(ArraySpec(f"{name}.clock", (rows,), "i8", True, "train.optimizer"))
    return found
