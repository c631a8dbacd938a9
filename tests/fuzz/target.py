"""What is fuzzed: a name, how an input is made, and what takes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from distlsh.errors import DistlshError

ALLOWED = (DistlshError,)
"""What may be raised for bad input: one clear error."""

LONGEST, MOST = 1_000, 24
"""Characters of a line, and lines, beyond which nobody reads an error."""


class Wrong(AssertionError):
    """The input was taken, but not for what it is; or the error said nothing useful."""


@dataclass(frozen=True)
class Target:
    """One reader.

    name   in reports and names of kept inputs
    make   returns an input: bytes that depend on the given random numbers alone
    take   reads it; returns whether it was accepted, or raises
    share  of all inputs, beside the others' shares
    """

    name: str
    make: Callable[[Random], bytes]
    take: Callable[[bytes], bool]
    share: float = 1.0


def outcome(target: Target, data: bytes) -> str:
    """Return "accepted" or "refused"; anything but an error of distlsh passes through."""
    try:
        return "accepted" if target.take(data) else "refused"
    except ALLOWED as error:
        text = str(error)
        lines = text.splitlines()
        if not text or len(lines) > MOST or max(map(len, lines)) > LONGEST:
            raise Wrong(f"an error of {len(text):,} characters: {text[:200]!r}") from error
        return "refused"


def input_of(target: Target, seed: int, number: int) -> bytes:
    """Return input ``number`` of a run with this seed."""
    return target.make(Random(f"{seed}/{target.name}/{number}"))
