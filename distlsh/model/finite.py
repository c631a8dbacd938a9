"""Numbers that are not finite: noticed by sums of squares a batch, located only once there is one.

A sum of squares is NaN or infinite if a number is, and also if a number is so large that its
square, which optimisers keep, is no float32 any more.  So both count as not finite here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from distlsh.kernels.finite import sum_of_squares
from distlsh.model.network import Network
from distlsh.model.spec import Floats, Ids
from distlsh.model.storage import as_floats, readable

_SCANNED = 1 << 22
"""Numbers that are looked at together."""

DATA, OUTPUT, LOSS = "data", "output", "loss"
"""Names of what no hidden layer's name says (see `spec.layer_name`)."""


class Finding(NamedTuple):
    """A sample that was left out.

    instance  row of the training data, from 0
    layer     where a number that is not finite was first seen: DATA, a hidden layer's name, OUTPUT or LOSS
    what      the finding in words
    """

    instance: int
    layer: str
    what: str


Words = str | Callable[[], str]
"""A finding in words, or what finds them at some cost."""


class Found(NamedTuple):
    """The same within a batch: ``place`` is the sample's place in it."""

    place: int
    layer: str
    what: Words


class Watch:
    """Hands on the first finding of a task that is in the data, and the first that is not."""

    def __init__(self, tell: Callable[[Finding], None] | None = None) -> None:
        self._tell = tell
        self._told: set[bool] = set()

    def begin(self) -> None:
        """A new task begins."""
        self._told.clear()

    def wants(self, layer: str) -> bool:
        """Tell whether a finding in ``layer`` would be handed on."""
        return self._tell is not None and (layer == DATA) not in self._told

    def note(self, instance: int, layer: str, what: Words) -> None:
        """Take note of a finding; its words are looked for only if it is handed on."""
        if self._tell is not None and self.wants(layer):
            self._told.add(layer == DATA)
            self._tell(Finding(int(instance), layer, what if isinstance(what, str) else what()))


def squares(values: Floats) -> float:
    """Return the sum of squares of a C-contiguous f4 array: NaN or infinite where it is no float32."""
    return float(sum_of_squares(values.reshape(-1)))


def lengths(values: Floats) -> Floats:
    """Return the squared length of each row of ``values`` f4[m, d], likewise."""
    return np.array([squares(row) for row in values], np.float32)


def bad_value(values: Floats, names: Ids, what: str) -> str | None:
    """Return which of ``values`` f4[n], named by ``names`` i[n], is not finite; None if all are."""
    bad = np.flatnonzero(~np.isfinite(values))
    return f"{what} {names[bad[0]]} has the value {values[bad[0]]}" if len(bad) else None


def bad_row(rows: npt.NDArray[Any], ids: Ids, what: str) -> str | None:
    """Return which of rows ``ids`` of weights f4 or u2[n, d] is not finite; None if all are."""
    weights = readable(rows)
    for row in ids:
        values = weights[int(row)]
        if not np.isfinite(values).all():
            return f"{what} {row} hold {values[~np.isfinite(values)][0]}"
    return None


def too_large(values: Floats, what: str) -> str:
    """Return what is wrong with ``values`` f4[n]: a number that is not finite, or too large to square."""
    bad = values[~np.isfinite(values)]
    if len(bad):
        return f"{what} hold {bad[0]}"
    return f"{what} reach {np.abs(values).max(initial=0):.3g}, too large to square"


def bad_array(name: str, array: npt.NDArray[Any]) -> bool:
    """Tell whether a network's array, f4 or of bfloat16 rows u2, holds a number that is not finite.

    name  of the array; tables have numbers of their own that may be infinite
    """
    if name.startswith("tables.") or ".tables." in name or array.dtype not in (np.float32, np.uint16):
        return False
    flat = array.reshape(-1)
    for first in range(0, len(flat), _SCANNED):
        if not np.isfinite(as_floats(flat[first : first + _SCANNED])).all():
            return True
    return False


def in_instance(
    weights: npt.NDArray[Any], layer: str, features: Ids, values: Floats, sums: Floats
) -> tuple[str, Words]:
    """Return layer and words for an instance whose sums over the first layer are not finite.

    weights           f4 or u2[n_features, d] of the first layer, whose name is ``layer``
    features, values  i4[k], f4[k] of the instance
    sums              f4[d]
    """
    value = bad_value(values, features, "feature")
    if value is not None:
        return DATA, value
    return (
        layer,
        lambda: (
            bad_row(weights, features, "the weights of feature")
            or _largest(features, values, too_large(sums, "its sums"))
        ),
    )


def _largest(features: Ids, values: Floats, what: str) -> str:
    if not len(values):
        return what
    most = int(np.abs(values).argmax())
    return f"{what} (its largest value is {values[most]:.3g}, of feature {features[most]})"


def explain_output(network: Network, ids: Ids) -> tuple[str, str]:
    """Return layer and words for a sample with outputs ``ids`` whose loss or gradient is not finite."""
    words = bad_row(network.output.weights, ids, "the weights of output")
    if words is None and network.spec.bias:
        words = bad_value(network.output_bias.weights[ids, 0], ids, "the bias of output")
    if words is not None:
        return OUTPUT, words
    rows = readable(network.output.weights)
    most = max((float(np.abs(rows[int(row)]).max()) for row in ids), default=0.0)
    return LOSS, f"its logits or its gradient overflow; weights of its active outputs reach {most:.3g}"
