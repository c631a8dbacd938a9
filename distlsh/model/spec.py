"""What network is trained, and which arrays that takes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from distlsh.config.schema import Activation, Config, Loss
from distlsh.errors import CheckpointError, ShapeError
from distlsh.kernels import optim
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


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Shape and kind of a network; ``optimizer`` says which states its arrays have.

    ``optimizer`` is ``momentum`` where the configuration has ``sgd`` with ``momentum`` > 0.
    ``adagrad_init`` is what Adagrad's sums of squared gradients start from.  At 0, as in the paper, a
    row's first step moves every value by the whole rate, however small its gradient; from a on,
    gradients below sqrt(a) move it by about ``lr * gradient / sqrt(a)``.
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

    def __post_init__(self) -> None:
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
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NetworkSpec:
        """Return the network described by ``to_dict``, as read from a checkpoint."""
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            wrong = ", ".join(sorted(names.symmetric_difference(values)))
            raise CheckpointError(
                f"the checkpoint's description of its network lacks or adds: {wrong};"
                " it was written by another version of distlsh"
            )
        return cls(**{**values, "hidden": tuple(values["hidden"])})

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types."""
        return {**asdict(self), "hidden": list(self.hidden)}

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


def array_shapes(spec: NetworkSpec) -> dict[str, tuple[int, int]]:
    """Return the trained arrays' names and shapes."""
    shapes = {
        "input.weights": (spec.n_features, spec.hidden[0]),
        "input.bias": (1, spec.hidden[0]),
    }
    for i, (before, width) in enumerate(zip(spec.hidden, spec.hidden[1:], strict=False), start=1):
        shapes[f"hidden.{i}.weights"] = (before, width)
        shapes[f"hidden.{i}.bias"] = (1, width)
    shapes["output.weights"] = (spec.n_labels, spec.width)
    if spec.bias:
        shapes["output.bias"] = (spec.n_labels, 1)
    return shapes


def parameter_specs(spec: NetworkSpec) -> list[ArraySpec]:
    """Return every array of the network, with its optimiser's states, in a fixed order.

    ``X.state1`` and ``X.state2`` are f4[n, width or 1] and ``X.clock`` i8[n], where the
    optimiser has them (see ``kernels.optim``); ``output.dirty`` is u1[n_labels].
    """
    specs: list[ArraySpec] = []
    for name, shape in array_shapes(spec).items():
        specs += trained_specs(name, shape, spec.optimizer)
    return [*specs, ArraySpec("output.dirty", (spec.n_labels,), "u1", True, "the number of labels")]


def trained_specs(name: str, shape: tuple[int, int], optimizer: str) -> list[ArraySpec]:
    """Return trained array ``name`` f4[n, width], then what its optimiser keeps of it."""
    rows, width = shape
    lower = "model.bias" if name == "output.bias" else "model.hidden"
    found = [ArraySpec(name, shape, "f4", True, lower)]
    state_width = 1 if optimizer == "adagrad_row" else width
    found += [
        ArraySpec(f"{name}.state{i + 1}", (rows, state_width), "f4", True, f"{lower} (or train.optimizer)")
        for i in range(_STATES[optimizer])
    ]
    if optimizer in _CLOCKED:
        found.append(ArraySpec(f"{name}.clock", (rows,), "i8", True, "train.optimizer"))
    return found
