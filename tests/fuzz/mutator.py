"""Seeded changes to valid input: a number of small ones, so that most of a file stays as it was."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

NUMBERS = (
    0, 1, -1, 2, 7, 127, 128, 255, 256, 32767, 65535, 65536, 2**24, 2**31 - 2, 2**31 - 1, 2**31, 2**32 - 1,
    2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**31), -(2**63), 10**19, 10**40, 10**4400,
)  # fmt: skip
REALS = (
    "1e308",
    "1e309",
    "-1e999",
    "1e-320",
    "3.4028236e38",
    "nan",
    "inf",
    "-inf",
    "0.0",
    "-0",
    "1e-45",
    ".5",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    "",
    "x",
    [],
    {},
    [[]],
    0.5,
    float("nan"),
    float("inf"),
    *NUMBERS,
)
_NUMBER = re.compile(rb"\d+")


class Mutator:
    """Changes bytes and JSON-like values by the numbers of ``random`` alone."""

    def __init__(self, random: Random, tokens: Sequence[bytes] = ()) -> None:
        self.random = random
        self._tokens = tokens
        self._changes: list[Callable[[bytes], bytes]] = [
            self._flip, self._set, self._insert, self._delete, self._repeat, self._truncate, self._number,
            self._number, self._binary, self._swap,
        ]  # fmt: skip
        if tokens:
            self._changes += [self._token] * 3

    def bytes(self, data: bytes, others: Sequence[bytes] = (), most: int = 6) -> bytes:
        """Return ``data`` with up to ``most`` changes; ``others`` are spliced in now and then."""
        for _ in range(self.random.randint(1, most)):
            if others and self.random.random() < 0.1:
                data = self._splice(data, self.random.choice(others))
            else:
                data = self.random.choice(self._changes)(data)
        return data

    def value(self, value: Any) -> Any:
        """Return a JSON-like value with one of its places changed."""
        if isinstance(value, dict) and value and self.random.random() < 0.85:
            key = self.random.choice(list(value))
            if self.random.random() < 0.08:
                return {k: v for k, v in value.items() if k != key}
            return {**value, key: self.value(value[key])}
        if isinstance(value, list) and value and self.random.random() < 0.7:
            at = self.random.randrange(len(value))
            return [*value[:at], self.value(value[at]), *value[at + 1 :]]
        if isinstance(value, int) and not isinstance(value, bool) and self.random.random() < 0.5:
            return value + self.random.choice((-1, 1, 2, -2, 256, -256))
        if isinstance(value, str) and self.random.random() < 0.3:
            return self.bytes(value.encode()).decode("utf-8", "replace")
        return self.random.choice(VALUES)

    def _place(self, data: bytes) -> int:
        return self.random.randrange(len(data) + 1)

    def _range(self, data: bytes) -> tuple[int, int]:
        start = self._place(data)
        return start, min(len(data), start + self.random.choice((1, 1, 2, 4, 8, 16, 64, 256)))

    def _flip(self, data: bytes) -> bytes:
        if not data:
            return data
        at = self.random.randrange(len(data))
        return data[:at] + bytes([data[at] ^ (1 << self.random.randrange(8))]) + data[at + 1 :]

    def _set(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] + bytes([self.random.randrange(256)]) + data[at + 1 :]

    def _insert(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] + self.random.randbytes(self.random.choice((1, 1, 2, 4, 16))) + data[at:]

    def _delete(self, data: bytes) -> bytes:
        start, stop = self._range(data)
        return data[:start] + data[stop:]

    def _repeat(self, data: bytes) -> bytes:
        start, stop = self._range(data)
        times = self.random.choice((1, 1, 2, 8, 64))
        return data[:stop] + data[start:stop] * times + data[stop:]

    def _truncate(self, data: bytes) -> bytes:
        return data[: self._place(data)] if self.random.random() < 0.3 else self._delete(data)

    def _number(self, data: bytes) -> bytes:
        found = list(_NUMBER.finditer(data[:4096]))
        if not found:
            return self._flip(data)
        at = self.random.choice(found)
        number = self.random.choice(NUMBERS + REALS)
        return data[: at.start()] + _digits(number) + data[at.end() :]

    def _binary(self, data: bytes) -> bytes:
        width = self.random.choice((1, 2, 4, 8))
        number = self.random.choice(NUMBERS) & ((1 << 8 * width) - 1)
        at = self._place(data)
        packed = number.to_bytes(width, self.random.choice(("little", "big")))
        return data[:at] + packed + data[at + width :]

    def _swap(self, data: bytes) -> bytes:
        a, b = sorted((self._range(data), self._range(data)))
        if a[1] > b[0]:
            return data
        return data[: a[0]] + data[b[0] : b[1]] + data[a[1] : b[0]] + data[a[0] : a[1]] + data[b[1] :]

    def _token(self, data: bytes) -> bytes:
        at = self._place(data)
        end = at + self.random.choice((0, 0, 1, 4))
        return data[:at] + self.random.choice(self._tokens) + data[end:]

    def _splice(self, data: bytes, other: bytes) -> bytes:
        return data[: self._place(data)] + other[self._place(other) :]


def _digits(number: int | str) -> bytes:
    # Longer numbers than Python prints: written by hand.
    return b"1" + b"0" * 4400 if number == 10**4400 else str(number).encode()
