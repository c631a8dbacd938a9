"""Control messages: typed msgpack, one union a direction."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec

from distlsh.config.schema import LshConfig
from distlsh.constants import PROTOCOL_VERSION
from distlsh.errors import ProtocolError
from distlsh.evaluation.sums import unpacked
from distlsh.files import short
from distlsh.protocol.reports import Evaluation, Notice, Rehash, Report, Restart, Tuned

T = TypeVar("T")

Number = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
Role = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
WorkerRole = Annotated[str, msgspec.Meta(pattern=r"^worker-[0-9]{1,6}$")]
RehasherRole = Annotated[str, msgspec.Meta(pattern=r"^rehasher$")]
Pid = Annotated[int, msgspec.Meta(ge=1, le=1 << 31)]
Text = Annotated[str, msgspec.Meta(max_length=1 << 20)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A range of work for one worker: rows, labels or positions of the epoch's order."""

    id: Number
    # init, pretrain, init_output, warm_start, warm_finish, train, evaluate_subset or evaluate_final
    kind: str
    first: Number
    last: Number
    epoch: Number = 0
    first_sample: Number = 0  # number of the first sample since the start of training
    lr_scale: float = 1.0  # all learning rates are multiplied by this


# coordinator -> child


class Assign(msgspec.Struct, frozen=True, tag="assign"):
    """Do this task and answer `Done`."""

    task: Task


class StartRehash(msgspec.Struct, frozen=True, tag="start_rehash"):
    """Refresh the tables and answer `Rehashed`."""

    full: bool
    samples: Number


class StartTuning(msgspec.Struct, frozen=True, tag="start_tuning"):
    """Choose hash functions that reach ``recall`` and answer `Chosen`."""

    recall: Share
    number: Number
    samples: Number


class UseTables(msgspec.Struct, frozen=True, tag="use_tables"):
    """The output's tables lie in ``segment`` and are those of ``lsh``; sent before work that needs them."""

    segment: str
    lsh: LshConfig


class HandBack(msgspec.Struct, frozen=True, tag="hand_back"):
    """End the task in hand where it stands, and acknowledge what is done of it.

    Of an evaluation and of a pool of the pretraining, which are done wholly or not at all, that is nothing.
    """


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Finish and exit."""


ToChild = Assign | StartRehash | StartTuning | UseTables | HandBack | Stop

# child -> coordinator


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """A child is ready for work."""

    role: Role
    pid: Pid
    version: int = PROTOCOL_VERSION


class Heartbeat(msgspec.Struct, frozen=True, tag="heartbeat"):
    """A child is alive."""

    role: Role
    pid: Pid


class Done(msgspec.Struct, frozen=True, tag="done"):
    """A task is done; ``result`` is the packed sums of an evaluation, else empty."""

    role: WorkerRole
    pid: Pid
    task_id: Number
    result: bytes = b""
    upto: Number | None = None  # where the task ended; None: at its last


class Rehashed(msgspec.Struct, frozen=True, tag="rehashed"):
    """New tables are published."""

    role: RehasherRole
    pid: Pid
    report: Rehash


class Chosen(msgspec.Struct, frozen=True, tag="chosen"):
    """Hash functions are chosen: the settings of the configuration, with those in their places."""

    role: RehasherRole
    pid: Pid
    lsh: LshConfig
    report: Tuned


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """A child met an error that a restart would meet again."""

    role: Role
    pid: Pid
    traceback: Text


class NonFinite(msgspec.Struct, frozen=True, tag="non_finite"):
    """A sample was left out, since it met a NaN or an infinity: the first one of a task, told at once.

    instance  row of the training data, from 0
    layer     "data", "input", "hidden.1", ..., "output" or "loss": where the number was first seen
    what      the finding in words
    """

    role: WorkerRole
    pid: Pid
    task_id: Number
    instance: int
    layer: str
    what: str


FromChild = Hello | Heartbeat | Done | Rehashed | Chosen | NonFinite | Failed

# child -> coordinator -> PUB


class WorkerMetrics(msgspec.Struct, frozen=True, tag="worker"):
    """What one worker did in one chunk of training."""

    role: str
    task_id: Number
    samples: int
    busy_s: float
    loss_sum: float


Metric = WorkerMetrics | Rehash | Tuned | Report | Evaluation | Restart | Notice

_encoder = msgspec.msgpack.Encoder()
_to_child: msgspec.msgpack.Decoder[ToChild] = msgspec.msgpack.Decoder(ToChild)
_from_child: msgspec.msgpack.Decoder[FromChild] = msgspec.msgpack.Decoder(FromChild)
_metric: msgspec.msgpack.Decoder[Metric] = msgspec.msgpack.Decoder(Metric)


def encode(message: Any) -> bytes:
    """Pack a message."""
    return _encoder.encode(message)


def decode_to_child(data: bytes) -> ToChild:
    """Unpack a message of the coordinator; ProtocolError if it is none."""
    return _decode(_to_child, data)


def decode_from_child(data: bytes) -> FromChild:
    """Unpack a message of a child; ProtocolError if it is none, or its result no sums."""
    message = _decode(_from_child, data)
    if isinstance(message, Done) and message.result:
        unpacked(message.result)
    return message


def decode_metric(data: bytes) -> Metric:
    """Unpack a metric; ProtocolError if it is none."""
    return _decode(_metric, data)


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"not a message of protocol {PROTOCOL_VERSION}: {short(error)}") from error
