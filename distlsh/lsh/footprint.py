"""What the hash functions of one thread take in memory, before they are made."""

from __future__ import annotations

from distlsh.lsh.families import describe
from distlsh.lsh.spec import HashSpec

_LANES = 16
_SCRATCH_BYTES, _MAX_BLOCKS = 1 << 19, 16
_NUMBER = 4
"""Bytes of a float32 or an int32."""


def hasher_bytes(spec: HashSpec) -> int:
    """Return about how many bytes a `Hasher` of batches holds: to within a tenth, or 256 KiB.

    For vectors of some thousand dimensions it is below 1 MiB; rotations and Gaussian projections
    of vectors as wide as a vocabulary take hundreds.
    """
    spec = spec.hashed
    n_hashes = spec.n_tables * spec.n_hashes
    if "jaccard" in describe(spec.family).metrics:
        return 7 * n_hashes * _NUMBER
    width, n_lines, held = _projection(spec, n_hashes)
    blocks = min(max(1, _SCRATCH_BYTES // (_NUMBER * _LANES * (width + n_lines))), _MAX_BLOCKS)
    choices = n_hashes * spec.n_choices * _LANES
    return _NUMBER * (blocks * _LANES * (width + n_lines) + held + choices)


def _projection(spec: HashSpec, n_hashes: int) -> tuple[int, int, int]:
    """Return the lines of a block, those of its coordinates, and how many numbers make the functions."""
    if spec.family in ("cross_polytope", "fast_srp"):
        each = spec.dim if spec.family == "cross_polytope" else 1
        width = max(64, 1 << (spec.n_dims - 1).bit_length(), each)
        rounds = 2 - (-n_hashes * each // width)
        return width, 0 if each > 1 else n_hashes, (rounds + _LANES) * width
    if spec.family in ("srp", "l2"):
        n_lines = -(-n_hashes // 64) * 64
        return spec.n_dims, n_lines, n_lines * spec.n_dims
    if spec.family == "sparse_srp":
        listed = n_hashes * max(1, round(spec.density * spec.n_dims))
        return spec.n_dims + 1, n_hashes, 3 * listed + 4 * spec.n_dims  # in order, and by dimension
    return spec.n_dims + 1, 0, n_hashes * spec.bin_size
