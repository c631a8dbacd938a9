"""Messages: packed structs, changed as values and as bytes, and what the run's machine makes of them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from distlsh.config.schema import LshConfig
from distlsh.errors import ProtocolError
from distlsh.evaluation.sums import EvalSums, LshSums, to_evaluation, unpacked
from distlsh.protocol import events as ev
from distlsh.protocol import messages as m
from distlsh.protocol import supervision as sv
from distlsh.protocol.machine import RunMachine
from distlsh.protocol.plan import Plan
from distlsh.protocol.reports import Notice, Rehash, Report, Restart, Tuned
from distlsh.runtime.roles import REHASHER, worker_index, worker_role
from tests.fuzz.mutator import Mutator
from tests.fuzz.target import Target

_REHASH = Rehash(
    generation=3, samples=100, rows=50, moved=7, changed_share=0.1, hash_s=0.1, wait_s=0.0, full=False
)
_TUNED = Tuned(samples=100, target=0.6, recall=0.61, candidates=300.0, n_bytes=1 << 20, tune_s=1.0)
_SUMS = EvalSums(n_rows=9, macs=100, lsh=LshSums(hidden=[4, 5], hidden_found=[3, 3]))
_ME: Any = {"role": "worker-0", "pid": 100}

TO_CHILD = (
    m.Assign(m.Task(id=1, kind="train", first=0, last=10, first_sample=10)),
    m.StartRehash(full=True, samples=5),
    m.StartTuning(recall=0.6, number=1, samples=4),
    m.UseTables(segment="distlsh-1-1-00000000-tables-1", lsh=LshConfig()),
    m.Stop(),
)
FROM_CHILD = (
    m.Hello(**_ME),
    m.Heartbeat(**_ME),
    m.Done(**_ME, task_id=0),
    m.Done(**_ME, task_id=0, result=msgspec.msgpack.encode(_SUMS)),
    m.Rehashed(role=REHASHER, pid=102, report=_REHASH),
    m.Chosen(role=REHASHER, pid=102, lsh=LshConfig(), report=_TUNED),
    m.NonFinite(**_ME, task_id=0, instance=3, layer="output", what="NaN"),
    m.Failed(**_ME, traceback="Traceback ..."),
)
METRICS = (
    m.WorkerMetrics(role="worker-1", task_id=1, samples=5, busy_s=0.1, loss_sum=0.5),
    _REHASH,
    _TUNED,
    Restart(role="worker-0", pid=7, why="killed", down_s=0.1),
    Notice(level="info", text="x"),
    Report(
        time_s=1, train_s=1, phase="train", epoch=0, epochs=1, samples=1, epoch_done=1, epoch_size=2,
        samples_per_s=1.0, worker_samples_per_s=[1.0],
    ),
    to_evaluation(_SUMS, kind="final", epoch=0, samples=1, train_s=1.0, eval_s=1.0),
)  # fmt: skip
_TOKENS = (
    b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01", b"\x91" * 3000, b"\x81\xa1a" * 3000, b"\xc1", b"\xa4type",
    b"\xcb\x7f\xf8" + b"\0" * 6, b"\xcf" + b"\xff" * 8, b"\xd3\x80" + b"\0" * 7, b"\xd4\xff",
    b"\xa1\xff", b"\xc0", b"\xa6worker", b"\xd6\xff\0\0\0\0",
)  # fmt: skip
_WORDS = (*(worker_role(i) for i in (0, 1, 2, 99, -1)), REHASHER, "", "worker-", "worker-x", "\0", "é" * 40)
_PIDS = (100, 101, 102, 103, 0, -1, 2**31, 2**63)


def _changed(random: Random, message: Any) -> bytes:
    mutator = Mutator(random, _TOKENS)
    fields = msgspec.to_builtins(message)
    for _ in range(random.randint(0, 2)):
        fields = mutator.value(fields)
        if not isinstance(fields, dict):
            break
    if isinstance(fields, dict):
        if "role" in fields and random.random() < 0.4:
            fields["role"] = random.choice(_WORDS)
        if "pid" in fields and random.random() < 0.4:
            fields["pid"] = random.choice(_PIDS)
        if fields.get("result") and random.random() < 0.7:
            sums = mutator.value(msgspec.to_builtins(_SUMS))
            result = _packed(sums)
            fields["result"] = mutator.bytes(result, most=2) if random.random() < 0.3 else result
    data = _packed(fields)
    return mutator.bytes(data, most=3) if random.random() < 0.4 else data


def _packed(value: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(value)
    except (OverflowError, ValueError):  # numbers beyond 64 bits are none of msgpack's
        return msgspec.msgpack.encode(str(type(value)))


def _maker(messages: tuple[Any, ...]) -> Callable[[Random], bytes]:
    return lambda random: _changed(random, random.choice(messages))


def take_to_child(data: bytes) -> bool:
    """Unpack what a child receives."""
    m.decode_to_child(data)
    return True


def take_metric(data: bytes) -> bool:
    """Unpack a metric, and pack it again as the hub does."""
    m.encode(m.decode_metric(data))
    return True


def _plan() -> Plan:
    return Plan(
        n_train=100, n_labels=50, epochs=2, chunk=30, label_chunk=20, n_eval_rows=20, n_final_rows=20,
        rehash_initial=40, rehash_decay=0.1, rehash_max_drift=0.3, tuned_recall=0.6,
    )  # fmt: skip


def make_conversation(random: Random) -> bytes:
    """Return a series of messages of two workers and a rehasher, most of them as they should be."""
    series = []
    for _ in range(random.randint(1, 12)):
        message = random.choice(FROM_CHILD)
        fields = msgspec.to_builtins(message)
        if "task_id" in fields:
            fields["task_id"] = random.randrange(6)
        if fields["role"] == "worker-0" and random.random() < 0.5:
            fields |= {"role": "worker-1", "pid": 101}
        right = msgspec.convert(fields, type(message), strict=False)
        series.append(_packed(right) if random.random() < 0.7 else _changed(random, right))
    return msgspec.msgpack.encode(series)


class Desk:
    """What the coordinator does with messages, without processes and sockets."""

    def __init__(self) -> None:
        self.supervisor = sv.Supervisor(
            ["worker-0", "worker-1", REHASHER], max_restarts=3, heartbeat_timeout_s=10, stop_timeout_s=1
        )
        self.machine = RunMachine(_plan())
        self.sums = EvalSums()
        self.now = 0.0
        self.supervisor.start(self.now)
        for role, pid in (("worker-0", 100), ("worker-1", 101), (REHASHER, 102)):
            self._supervise(sv.Spawned(role, pid))
            self.hear(m.Hello(role, pid))

    def hear(self, message: m.FromChild) -> None:
        if not self.supervisor.knows(message.role, message.pid):
            return
        match message:
            case m.Failed(role, pid, text):
                self._supervise(sv.Crashed(role, pid, text))
            case m.Hello(role, pid) | m.Heartbeat(role, pid):
                self._supervise(sv.Seen(role, pid, hello=isinstance(message, m.Hello)))
            case m.Done():
                if message.result:
                    self.sums = self.sums + unpacked(message.result)
                self._feed(ev.TaskDone(worker_index(message.role), message.task_id, message.upto))
            case m.Rehashed():
                self._feed(ev.RehashDone(message.report.changed_share))
            case m.Chosen():
                self._feed(ev.TuningDone(message.report.recall))

    def _supervise(self, event: sv.ChildEvent) -> None:
        self.now += 0.01
        for action in self.supervisor.handle(event, self.now):
            if isinstance(action, sv.Ready):
                ready = action.role == REHASHER
                self._feed(ev.RehasherReady() if ready else ev.WorkerReady(worker_index(action.role)))

    def _feed(self, event: ev.Event) -> None:
        self.machine.handle(event)


def take_conversation(data: bytes) -> bool:
    """Hear the messages one after the other; garbage is passed over, and a wrong event is an error."""
    desk = Desk()
    for packed in msgspec.msgpack.decode(data, type=list[bytes]):
        try:
            message = m.decode_from_child(packed)
        except ProtocolError:
            continue
        desk.hear(message)
    to_evaluation(desk.sums, kind="final", epoch=0, samples=1, train_s=1.0, eval_s=1.0)
    return True


def take_from_child(data: bytes) -> bool:
    """Unpack what a child sent."""
    m.decode_from_child(data)
    return True


TARGETS = (
    Target("to_child", _maker(TO_CHILD), take_to_child, share=8),
    Target("from_child", _maker(FROM_CHILD), take_from_child, share=10),
    Target("metric", _maker(METRICS), take_metric, share=8),
    Target("conversation", make_conversation, take_conversation, share=4),
)
