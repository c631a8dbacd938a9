"""Messages: numbers within range, results that are sums, and nothing that breaks the decoder."""

from __future__ import annotations

import msgspec
import pytest

from distlsh.errors import ProtocolError
from distlsh.evaluation.sums import EvalSums, LshSums, unpacked
from distlsh.protocol.messages import Done, decode_from_child, decode_to_child, encode

ME = {"role": "worker-0", "pid": 7}
TASK = {"id": 1, "kind": "train", "first": 0, "last": 5}


def pack(**fields: object) -> bytes:
    return msgspec.msgpack.encode(fields)


@pytest.mark.parametrize(
    "change", [{"first": -1}, {"last": 2**63}, {"id": -5}, {"first_sample": -1}, {"epoch": 1.5}]
)
def test_tasks_of_impossible_ranges_are_none(change):
    """A negative place, or one beyond what counts, never reaches a worker's kernels."""
    decode_to_child(pack(type="assign", task=TASK))
    with pytest.raises(ProtocolError, match="not a message of protocol"):
        decode_to_child(pack(type="assign", task={**TASK, **change}))


@pytest.mark.parametrize(
    "result",
    [
        b"\xc1",
        b"\x91" * 5000,
        msgspec.msgpack.encode({"exact": {"hits": [1.0]}}),
        msgspec.msgpack.encode({"n_rows": -1}),
        msgspec.msgpack.encode({"lsh": {"hidden": [1, 2], "hidden_found": [1]}}),
    ],
)
def test_a_result_that_is_no_sums_makes_the_message_none(result):
    """What cannot be added up is found where it arrives, not in the midst of an evaluation."""
    with pytest.raises(ProtocolError, match="not the result of an evaluation"):
        decode_from_child(encode(Done(**ME, task_id=1, result=result)))


def test_sums_of_different_networks_do_not_add_up():
    """Counts of one hashed layer and of two are told apart."""
    one, two = (EvalSums(lsh=LshSums(hidden=[1] * n, hidden_found=[1] * n)) for n in (1, 2))
    with pytest.raises(ProtocolError, match="of 1 and of 2 hashed layers"):
        one + two
    assert unpacked(encode(two)) == two


@pytest.mark.parametrize("data", [b"", b"\x91" * 5000, b"\xdd\xff\xff\xff\xff", b"\x81\xa4type\xa1\xff"])
def test_bytes_that_would_break_a_decoder_are_no_message(data):
    """Nesting, lengths of four billion, text that is no UTF-8."""
    for decode in (decode_from_child, decode_to_child):
        with pytest.raises(ProtocolError):
            decode(data)


@pytest.mark.parametrize(
    "message",
    [
        Done(role="rehasher", pid=7, task_id=0),
        Done(role="worker-", pid=7, task_id=0),
        Done(role="worker-9x", pid=7, task_id=0),
    ],
)
def test_only_workers_finish_tasks(message):
    """A rehasher that says it has done a task is not asked for its number."""
    with pytest.raises(ProtocolError, match="role"):
        decode_from_child(encode(message))
