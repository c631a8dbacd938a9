"""What hashes promise: the probability that two vectors share a value, a code, a bucket of any table.

Probabilities are of one hash unless they say otherwise, over the draw of the hash function.
Similarities are those of the family's metric: the cosine for srp, fast_srp, sparse_srp,
cross_polytope, wta and dwta; the Jaccard similarity for minhash and doph; the Euclidean
distance for l2.  All of it is plain NumPy and SciPy in float64, element by element.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from distlsh.errors import ConfigError, UsageError
from distlsh.lsh.orthants import same_argmax, same_magnitude
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.transforms import SHRINK, extra_dims

Doubles = NDArray[np.float64]

COSINE = ("srp", "fast_srp", "sparse_srp", "cross_polytope", "wta", "dwta")
JACCARD = ("minhash", "doph")
MIXED = ("l2", "minhash", "doph")
"""Families whose K values are mixed to 2**code_bits buckets: some codes meet by chance."""


def srp(angle: ArrayLike) -> Doubles:
    """Return 1 - angle / pi, for angles in radians (Charikar 2002, section 3).

    Also of fast_srp, and of sparse_srp in the limit of many non-zeros (Li, Hastie & Church 2006).
    """
    return 1 - _doubles(angle) / np.pi


def cross_polytope(angle: ArrayLike, dim: int) -> Doubles:
    """Return the probability that Gaussian projections to ``dim`` coordinates have the same nearest +-e_i.

    Exact to about 1e-12, by quadrature.  Fast rotations come near it where ``dim`` is at most
    half the width of the rotation (Andoni et al. 2015, section 3).
    """
    found: Doubles = np.vectorize(lambda theta: same_magnitude(theta, dim), otypes=[float])(_doubles(angle))
    return found


def cross_polytope_asymptotic(angle: ArrayLike, dim: int) -> Doubles:
    """Return dim ** (-t^2 / (4 - t^2)), t the distance of unit vectors at ``angle`` < pi.

    For large ``dim``, but for a factor of some power of ln(dim): Andoni et al. 2015, theorem 1.
    """
    square = 2 - 2 * np.cos(_doubles(angle))
    found: Doubles = np.exp(-square / (4 - square) * np.log(dim))
    return found


def wta(angle: ArrayLike, bin_size: int) -> Doubles:
    """Return the probability that ``bin_size`` coordinates of two vectors have the same largest one.

    For coordinates that are Gaussian pairs with correlation cos(angle); exact to about 1e-12, by
    quadrature.  The hash depends on ranks alone: for given vectors see `wta_of`.
    """
    found: Doubles = np.vectorize(lambda theta: same_argmax(theta, bin_size), otypes=[float])(_doubles(angle))
    return found


def wta_of(x: ArrayLike, y: ArrayLike, bin_size: int) -> float:
    """Return the collision probability of WTA for two given vectors [d] without equal coordinates.

    The sum over i of C(r_i, b - 1) / C(d, b), where r_i coordinates are below the i-th in both
    vectors (Yagnik et al. 2011, section 2).  UsageError where d is below ``bin_size``.
    """
    one, other = _doubles(x), _doubles(y)
    below = ((one[:, None] > one) & (other[:, None] > other)).sum(axis=1)
    return float(special.binom(below, bin_size - 1).sum() / _n_bins(len(one), bin_size))


def dwta_of(x: ArrayLike, y: ArrayLike, bin_size: int) -> float:
    """Return the collision probability of densified WTA for two given vectors [d]; zeros are no values.

    A bin that neither vector has values in passes on to the next that it may borrow from; where only
    one has, the other's digit is that of an unrelated bin (Chen & Shrivastava 2018, section 3).
    Of two vectors of zeros it is 1.  UsageError where d is below ``bin_size``.
    """
    one, other = (np.where(v == 0, -np.inf, v) for v in (_doubles(x), _doubles(y)))
    either, both = (one > -np.inf) | (other > -np.inf), (one > -np.inf) & (other > -np.inf)
    below = ((one[:, None] > one) & (other[:, None] > other)).sum(axis=1)
    if not either.any():
        return 1.0
    bins = _n_bins(len(one), bin_size)
    same = special.binom(below[both], bin_size - 1).sum() / bins

    def empty(used: NDArray[np.bool_]) -> float:
        return float(special.binom(np.count_nonzero(~used), bin_size) / bins)

    neither = empty(either)
    lone = empty(one > -np.inf) + empty(other > -np.inf) - 2 * neither
    return float((same + lone / bin_size) / (1 - neither))


def _n_bins(n_dims: int, bin_size: int) -> float:
    """Return how many bins of ``bin_size`` there are; UsageError for vectors narrower than one."""
    if n_dims < bin_size:
        raise UsageError(f"vectors of {n_dims} dimensions fill no bin of {bin_size}; give wider ones")
    return float(special.binom(n_dims, bin_size))


def minhash(jaccard: ArrayLike) -> Doubles:
    """Return the Jaccard similarity itself (Broder 1997); also of doph, densified (Shrivastava 2017)."""
    return _doubles(jaccard).copy()


def l2(distance: ArrayLike, width: float) -> Doubles:
    """Return the collision probability of floor((w.x + b) / width) at Euclidean ``distance``.

    1 - 2 Phi(-r/u) - 2u / (sqrt(2 pi) r) * (1 - exp(-r^2 / (2 u^2))): Datar et al. 2004, section 3.2.
    """
    u = _doubles(distance)
    ratio = np.divide(width, u, out=np.full_like(u, np.inf), where=u > 0)
    slope = np.sqrt(2 / np.pi) / ratio
    found: Doubles = 1 - 2 * special.ndtr(-ratio) + slope * np.expm1(-(ratio**2) / 2)
    return found


def collision_probability(
    family: str | HashSpec,
    similarity: ArrayLike,
    *,
    length: ArrayLike = 1.0,
    dim: int = 64,
    bin_size: int = 8,
    l2_width: float = 4.0,
) -> Doubles:
    """Return the probability that one hash takes the same value for two vectors.

    family      its name, with the parameters that it has; or a spec, which names them itself
    similarity  cosine, Jaccard similarity or Euclidean distance, by the family; of a spec with a
                transform the product x.q / (M |q|), M the longest row's length
    length      of a spec with a transform, |x| / M

    For dwta it is that of vectors without zeros.  ConfigError for an unknown family.
    """
    if isinstance(family, HashSpec):
        spec, seen = family, similarity
        if spec.transform != "none":
            seen_by = transformed_distance if spec.family == "l2" else transformed_cosine
            seen = seen_by(spec.transform, similarity, length)
        return collision_probability(
            spec.family, seen, dim=spec.dim, bin_size=spec.bin_size, l2_width=spec.l2_width
        )
    if family == "l2":
        return l2(similarity, l2_width)
    if family in JACCARD:
        return minhash(similarity)
    if family not in COSINE:
        known = ", ".join((*COSINE, *JACCARD, "l2"))
        raise ConfigError(f"lsh.family is {family!r}; it must be one of {known}")
    angle = np.arccos(np.clip(_doubles(similarity), -1, 1))
    if family == "cross_polytope":
        return cross_polytope(angle, dim)
    return wta(angle, bin_size) if family in ("wta", "dwta") else srp(angle)


def retrieval_of(spec: HashSpec, similarity: ArrayLike, length: ArrayLike = 1.0) -> Doubles:
    """Return the probability that a query's own buckets hold a row, probes left out.

    similarity, length  as for `collision_probability`
    """
    p = collision_probability(spec, similarity, length=length)
    n_buckets = spec.n_buckets if spec.family in MIXED else None
    return retrieval_probability(p, spec.n_hashes, spec.n_tables, n_buckets)


def transformed_cosine(kind: str, product: ArrayLike, length: ArrayLike = 1.0) -> Doubles:
    """Return the cosine of P(x) and Q(q).

    kind     "none", "simple", "l2_alsh" or "sign_alsh"; see `lsh.transforms`
    product  x.q / (M |q|), M the longest row's length
    length   |x| / M, at least |product|

    For "none" it is product / length.
    """
    s, n, extra = _scaled(kind, product, length)
    if kind == "none":
        return s / n
    if kind == "simple":
        return s
    if kind == "sign_alsh":
        return s / np.sqrt(extra / 4 + n ** (2.0 ** (extra + 1)))
    powers = [n ** (2.0 ** (i + 1)) for i in range(extra)]
    inner = s + sum(powers) / 2
    return inner / np.sqrt((n**2 + sum(power**2 for power in powers)) * (1 + len(powers) / 4))


def transformed_distance(kind: str, product: ArrayLike, length: ArrayLike = 1.0) -> Doubles:
    """Return the Euclidean distance of P(x) and Q(q); arguments as for `transformed_cosine`.

    For "none" it is the distance of x / M and q / |q|.
    """
    s, n, extra = _scaled(kind, product, length)
    if kind == "none":
        square = 1 + n**2 - 2 * s
    elif kind == "simple":
        square = 2 - 2 * s
    else:
        # Both leave the same: the powers of |s x| cancel, but for the last.
        square = 1 + extra / 4 - 2 * s + n ** (2.0 ** (extra + 1))
    return np.sqrt(np.maximum(square, 0.0))


def code_collision(p: ArrayLike, n_hashes: int, n_buckets: int | None = None) -> Doubles:
    """Return the probability that K = ``n_hashes`` independent hashes agree, each with probability ``p``.

    n_buckets  where values are mixed (`MIXED`): other codes meet with 1 / n_buckets
    """
    agree = _probabilities(p) ** n_hashes
    return agree if n_buckets is None else agree + (1 - agree) / n_buckets


def retrieval_probability(
    p: ArrayLike, n_hashes: int, n_tables: int, n_buckets: int | None = None
) -> Doubles:
    """Return 1 - (1 - p^K)^L: the two share a bucket in one table at least (Indyk & Motwani 1998)."""
    code = code_collision(p, n_hashes, n_buckets)
    with np.errstate(divide="ignore"):
        found: Doubles = -np.expm1(n_tables * np.log1p(-code))
    return found


def expected_candidates(p: ArrayLike, n_hashes: int, n_tables: int, n_buckets: int | None = None) -> float:
    """Return how many distinct rows a query retrieves on average, of rows that collide with ``p`` [n]."""
    return float(retrieval_probability(p, n_hashes, n_tables, n_buckets).sum())


def tables_needed(p1: float, n_hashes: int, recall: float) -> int:
    """Return the least L with 1 - (1 - p1^K)^L >= recall: log(1 - recall) / log(1 - p1^K), rounded up.

    Raises UsageError unless 0 < p1 <= 1 and 0 < recall < 1.
    """
    if not (0 < p1 <= 1 and 0 < recall < 1):
        raise UsageError(f"p1 is {p1} and recall {recall}; they must be in (0, 1] and (0, 1)")
    code = p1**n_hashes
    if code >= 1:
        return 1
    if code == 0:
        raise UsageError(
            f"{p1} to the power {n_hashes} is too small for any number of tables; lower n_hashes"
        )
    # The quotient of a recall that is met exactly may round to just above the whole number.
    return max(1, math.ceil(math.log1p(-recall) / math.log1p(-code) - 1e-9))


def hashes_needed(p2: float, n_rows: int) -> int:
    """Return the K from which on less than one of ``n_rows`` far rows shares a code: log n / log(1 / p2).

    Raises UsageError unless 0 < p2 < 1 and n_rows >= 1.  Source: Indyk & Motwani 1998, theorem 5.
    """
    if not (0 < p2 < 1 and n_rows >= 1):
        raise UsageError(f"p2 is {p2} and n_rows {n_rows}; they must be in (0, 1) and 1 or more")
    return max(1, math.ceil(-math.log(n_rows) / math.log(p2) - 1e-9))


def rho(p1: ArrayLike, p2: ArrayLike) -> Doubles:
    """Return log(1 / p1) / log(1 / p2): a search costs about n^rho (p1: near rows, p2: far)."""
    return np.log(_probabilities(p1)) / np.log(_probabilities(p2))


def _doubles(values: ArrayLike) -> Doubles:
    return np.asarray(values, np.float64)


def _probabilities(values: ArrayLike) -> Doubles:
    found = _doubles(values)
    if not np.all((found >= 0) & (found <= 1)):
        raise UsageError(f"found {found} for a probability; it must be in [0, 1]")
    return found


def _scaled(kind: str, product: ArrayLike, length: ArrayLike) -> tuple[Doubles, Doubles, int]:
    extra = extra_dims(kind)
    return _doubles(product) * SHRINK[kind], _doubles(length) * SHRINK[kind], extra
