"""Signed random projections, SimHash.

Source: Charikar 2002, "Similarity estimation techniques from rounding algorithms", section 3.
"""

from __future__ import annotations

from distlsh.lsh.families.gaussian import GaussianProjection
from distlsh.lsh.families.projected import SignFamily
from distlsh.lsh.spec import HashSpec


class Srp(SignFamily):
    """A bit is the side of a random hyperplane, its normal Gaussian."""

    def __init__(self, spec: HashSpec) -> None:
        super().__init__(spec, GaussianProjection(spec))
