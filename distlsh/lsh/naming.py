"""Hash functions in words."""

from __future__ import annotations

from distlsh.lsh.spec import HashSpec


def name_of(spec: HashSpec) -> str:
    """Return the family with its width: ``cross_polytope 64``."""
    width = {
        "cross_polytope": f" {spec.dim}",
        "dwta": f" {spec.bin_size}",
        "wta": f" {spec.bin_size}",
        "l2": f" {spec.l2_width:.3g}",
        "sparse_srp": f" {spec.density:.3g}",
    }
    return (
        spec.family + width.get(spec.family, "") + ("" if spec.transform == "none" else f", {spec.transform}")
    )


def described(spec: HashSpec, bucket_size: int) -> str:
    """Return ``cross_polytope 64, K 2, L 40, 4 probes, buckets of 64``."""
    return (
        f"{name_of(spec)}, K {spec.n_hashes}, L {spec.n_tables}, {spec.n_probes} probes, "
        f"buckets of {bucket_size}"
    )
