"""The hash of `kernels.random` in Python's integers."""

from __future__ import annotations


def mix(number: int) -> int:
    """Return splitmix64's next number after the state ``number`` (Steele, Lea & Flood 2014)."""
    mask = 2**64 - 1
    z = (number + 0x9E3779B97F4A7C15) & mask
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
    return z ^ z >> 31
