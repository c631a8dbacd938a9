"""Sums of an evaluation: what workers send, and what becomes one line of ``eval.jsonl``."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from distlsh.constants import TOP_K
from distlsh.errors import ProtocolError
from distlsh.files import short
from distlsh.protocol.reports import Evaluation

MOST_LAYERS = 256

Sums = Annotated[list[float], msgspec.Meta(min_length=TOP_K, max_length=TOP_K)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Counts = Annotated[list[Count], msgspec.Meta(max_length=MOST_LAYERS)]


def _zeros() -> list[float]:
    return [0.0] * TOP_K


class RankingSums(msgspec.Struct):
    """Sums over rows of one way of ranking; place j is for k = j + 1."""

    hits: Sums = msgspec.field(default_factory=_zeros)
    ndcg: Sums = msgspec.field(default_factory=_zeros)
    psp: Sums = msgspec.field(default_factory=_zeros)  # inverse propensities of the hits
    psp_best: Sums = msgspec.field(default_factory=_zeros)  # the best attainable

    def __add__(self, other: RankingSums) -> RankingSums:
        mine, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return RankingSums(
            *([x + y for x, y in zip(a, b, strict=True)] for a, b in zip(mine, theirs, strict=True))
        )


class LshSums(msgspec.Struct):
    """Sums over rows of inference by hash tables."""

    ranking: RankingSums = msgspec.field(default_factory=RankingSums)
    output: bool = True  # the output layer has tables
    top_1: Count = 0  # rows that have an exact top-1
    top_1_found: Count = 0  # of these, the top-1 among the retrieved
    top_10: Count = 0  # places of the exact top-10, all rows
    top_10_found: Count = 0
    retrieved: Count = 0  # distinct labels retrieved, all rows
    macs: Count = 0  # multiply-adds: hidden layers and output rows scored
    # of each hashed hidden layer: exactly active neurons, and those of them that its tables found
    hidden: Counts = msgspec.field(default_factory=list)
    hidden_found: Counts = msgspec.field(default_factory=list)

    def __add__(self, other: LshSums) -> LshSums:
        mine, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return LshSums(*(_merged(a, b) for a, b in zip(mine, theirs, strict=True)))


class EvalSums(msgspec.Struct):
    """Sums over the evaluated rows; ``+`` merges the parts of several workers.

    Rows without labels are in none of them.
    """

    n_rows: Count = 0
    exact: RankingSums = msgspec.field(default_factory=RankingSums)
    macs: Count = 0  # multiply-adds of exact inference
    lsh: LshSums | None = None  # None: no tables

    def __add__(self, other: EvalSums) -> EvalSums:
        lsh = self.lsh
        if other.lsh is not None:
            lsh = other.lsh if lsh is None else lsh + other.lsh
        return EvalSums(self.n_rows + other.n_rows, self.exact + other.exact, self.macs + other.macs, lsh)


def unpacked(data: bytes) -> EvalSums:
    """Return the sums that a worker packed; ProtocolError if these are none."""
    try:
        sums = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"not the result of an evaluation: {short(error)}") from error
    if sums.lsh is not None and len(sums.lsh.hidden) != len(sums.lsh.hidden_found):
        raise ProtocolError("not the result of an evaluation: as many hidden layers are found as there are")
    return sums


_decoder = msgspec.msgpack.Decoder(EvalSums)


def _merged(a: Any, b: Any) -> Any:
    if isinstance(a, bool):
        return a and b
    if not isinstance(a, list):
        return a + b
    if a and b and len(a) != len(b):
        raise ProtocolError(f"evaluations of {len(a)} and of {len(b)} hashed layers cannot be added up")
    return [x + y for x, y in zip(a, b, strict=True)] if a and b else a or b


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _metrics(sums: RankingSums, n_rows: int) -> dict[str, float]:
    """Return ``p_at_k``, ``ndcg_at_k`` and ``psp_at_k`` for k = 1, 3, 5."""
    values: dict[str, float] = {}
    for k in (1, 3, 5):
        values[f"p_at_{k}"] = _share(sums.hits[k - 1], n_rows * k)
        values[f"ndcg_at_{k}"] = _share(sums.ndcg[k - 1], n_rows)
        values[f"psp_at_{k}"] = _share(sums.psp[k - 1], sums.psp_best[k - 1])
    return values


def _lsh_fields(sums: EvalSums, lsh: LshSums) -> dict[str, Any]:
    metrics = _metrics(lsh.ranking, sums.n_rows)
    found: dict[str, Any] = {f"lsh_{name}": value for name, value in metrics.items()}
    found["lsh_mac_fraction"] = _share(lsh.macs, sums.macs)
    if lsh.hidden:
        pairs = zip(lsh.hidden_found, lsh.hidden, strict=True)
        found["hidden_recall"] = [_share(part, whole) for part, whole in pairs]
    if lsh.output:
        found["table_recall_at_1"] = _share(lsh.top_1_found, lsh.top_1)
        found["table_recall_at_10"] = _share(lsh.top_10_found, lsh.top_10)
        found["retrieved_mean"] = _share(lsh.retrieved, sums.n_rows)
    return found


def to_evaluation(sums: EvalSums, **fields: Any) -> Evaluation:
    """Return the report of the merged ``sums``.

    fields  the rest of `Evaluation`: kind, epoch, samples, train_s, eval_s

    With no rows every metric is 0.  PSP@k is the ratio of two sums over rows, as in the
    Extreme Classification Repository's code, not the mean of ratios.
    """
    lsh = {} if sums.lsh is None else _lsh_fields(sums, sums.lsh)
    fields |= {"n_rows": sums.n_rows, **_metrics(sums.exact, sums.n_rows), **lsh}
    return Evaluation(**fields)
