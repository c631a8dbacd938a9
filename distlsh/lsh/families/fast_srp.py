"""Signed random projections read off fast rotations.

Source: Charikar 2002 (the hash); Andoni et al. 2015, section 3 (fast rotations); Ji et al.
2012, "Super-bit LSH" (orthogonal projections vary less than independent ones).
"""

from __future__ import annotations

from distlsh.lsh.families.projected import SignFamily
from distlsh.lsh.families.rotations import Rotations
from distlsh.lsh.spec import HashSpec


class FastSrp(SignFamily):
    """A bit is the sign of one coordinate of a rotation."""

    def __init__(self, spec: HashSpec) -> None:
        super().__init__(spec, Rotations(spec))
