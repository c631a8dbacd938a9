"""What there is to know of each family before its kernels are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from distlsh.errors import ConfigError
from distlsh.lsh.rows import Floats, Rows

if TYPE_CHECKING:
    from distlsh.lsh.spec import HashSpec

Ids = NDArray[np.int32]
Metric = Literal["cosine", "dot", "euclidean", "jaccard"]


class Family(Protocol):
    """The hash functions of one spec, with the scratch of one thread.

    Rows are given checked and not empty; ``center`` f4[n_dims] is subtracted from them, None: nothing.
    A row's codes depend neither on the other rows of a call nor on dense or sparse storage.
    """

    def __init__(self, spec: HashSpec) -> None:
        """Make the hash functions of ``spec``, from its seed alone; its transform is not the family's."""

    def codes(self, rows: Rows, center: Floats | None, out: Ids) -> None:
        """Write the code of each row in each table to ``out`` i4[m, n_tables]."""

    def probes(self, rows: Rows, center: Floats | None, out: Ids, scores: Floats) -> None:
        """Write each query's code in each table, then other codes by ascending score.

        out     i4[m, n_tables, n_codes]; EMPTY (-1) where a table has no more buckets to offer
        scores  f4[m, n_tables, n_codes], 0 for the query's own code, infinite where EMPTY; or
                f4[1, n_tables, n_codes], scratch, where nobody wants them
        """

    def one_by_one(self) -> Family:
        """Return the same hash functions, to the last bit, for few vectors: loads kernels that take one."""


@dataclass(frozen=True)
class FamilyInfo:
    """What a family is for and what it can do.

    metrics  whose nearest neighbours collide most; "dot" only through a transform
    probes   offers buckets beside a query's own
    center   may subtract a center from vectors
    mixed    K values, of more kinds than a table has buckets, are hashed to ``code_bits``
    kind     the class, in a module of the family's name
    """

    name: str
    kind: str
    metrics: tuple[Metric, ...]
    probes: bool = True
    center: bool = True
    mixed: bool = False


_ANGLES: tuple[Metric, ...] = ("cosine", "dot")

_SETS: tuple[Metric, ...] = ("jaccard",)

_INFOS = {
    info.name: info
    for info in (
        FamilyInfo("cross_polytope", "CrossPolytope", _ANGLES),
        FamilyInfo("srp", "Srp", _ANGLES),
        FamilyInfo("fast_srp", "FastSrp", _ANGLES),
        FamilyInfo("sparse_srp", "SparseSrp", _ANGLES),
        FamilyInfo("wta", "Wta", ("cosine",)),
        FamilyInfo("dwta", "Dwta", ("cosine",)),
        FamilyInfo("l2", "L2", ("euclidean", "dot"), mixed=True),
        FamilyInfo("minhash", "MinHash", _SETS, probes=False, center=False, mixed=True),
        FamilyInfo("doph", "Doph", _SETS, probes=False, center=False, mixed=True),
    )
}

FAMILIES = tuple(_INFOS)


def describe(family: str) -> FamilyInfo:
    """Return what ``family`` is for and can do.  ConfigError for an unknown one."""
    if family not in _INFOS:
        raise ConfigError(f"lsh.family is {family!r}; it must be one of {', '.join(FAMILIES)}")
    return _INFOS[family]


def create(spec: HashSpec) -> Family:
    """Return the hash functions of ``spec``: loads, and where needed compiles, the family's kernels."""
    info = describe(spec.family)
    module = import_module(f"distlsh.lsh.families.{spec.family}")
    family: Family = getattr(module, info.kind)(spec)
    return family
