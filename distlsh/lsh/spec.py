"""What a set of hash functions is: family, counts, widths and seed, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from distlsh.config.schema import Family, LshConfig
from distlsh.errors import ConfigError

FAMILIES = get_args(Family)
MAX_BUCKETS = 1 << 24
MAX_HITS = (1 << 16) - 2
"""Buckets that a query may read: its hits are counted in 16 bits."""


def _is_power_of_two(number: int) -> bool:
    return number >= 2 and number & (number - 1) == 0


@dataclass(frozen=True)
class HashSpec:
    """Everything that the hash functions depend on; equal specs hash alike on every machine.

    ``n_hashes`` (K) hashes make one code, ``n_tables`` (L) codes a vector, and a query
    reads ``n_probes`` more buckets a table.  ``n_dims`` is the width of the vectors.
    ``dim`` is used by cross_polytope alone, ``bin_size`` by dwta alone.

    Raises ConfigError for values that cannot be hashed with, naming the keys to change.
    """

    family: str
    n_hashes: int
    n_tables: int
    n_probes: int
    n_dims: int
    dim: int = 64
    bin_size: int = 8
    seed: int = 1

    def __post_init__(self) -> None:
        self._check_family()
        self._check_counts()
        self._check_size()

    @classmethod
    def from_config(cls, config: LshConfig, n_dims: int, seed: int) -> HashSpec:
        """Return the spec of a configuration's ``lsh`` group for vectors of ``n_dims``."""
        return cls(
            family=config.family,
            n_hashes=config.n_hashes,
            n_tables=config.n_tables,
            n_probes=config.n_probes,
            n_dims=n_dims,
            dim=config.dim,
            bin_size=config.bin_size,
            seed=seed,
        )

    @property
    def n_digits(self) -> int:
        """Values that one hash takes."""
        return {"srp": 2, "cross_polytope": 2 * self.dim, "dwta": self.bin_size}[self.family]

    @property
    def n_buckets(self) -> int:
        """Codes that a table has, all of them reachable."""
        return int(self.n_digits**self.n_hashes)

    @property
    def n_choices(self) -> int:
        """Best values of one hash that probes choose among."""
        of_hash = self.dim if self.family == "cross_polytope" else self.n_digits
        return min(self.n_probes + 1, of_hash)

    def _check_family(self) -> None:
        if self.family not in FAMILIES:
            raise ConfigError(f"lsh.family is {self.family!r}; it must be one of {', '.join(FAMILIES)}")
        for name, used in (("dim", "cross_polytope"), ("bin_size", "dwta")):
            if self.family == used and not _is_power_of_two(getattr(self, name)):
                raise ConfigError(f"lsh.{name} is {getattr(self, name)}; it must be a power of two")

    def _check_counts(self) -> None:
        for name, least in (("n_hashes", 1), ("n_tables", 1), ("n_probes", 0), ("n_dims", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"lsh.{name} is {getattr(self, name)}; it must be {least} or more")
        buckets_read = self.n_tables * (1 + self.n_probes)
        if buckets_read > MAX_HITS:
            raise ConfigError(
                f"lsh.n_tables * (1 + lsh.n_probes) is {buckets_read}, more than {MAX_HITS}; lower either"
            )

    def _check_size(self) -> None:
        if self.n_buckets > MAX_BUCKETS:
            width = {"srp": "", "cross_polytope": " or lsh.dim", "dwta": " or lsh.bin_size"}[self.family]
            raise ConfigError(
                f"lsh.n_hashes {self.n_hashes} of {self.family} makes {self.n_buckets} buckets a table, more "
                f" than {MAX_BUCKETS}; lower lsh.n_hashes{width}"
            )
        of_hash = self.dim if self.family == "cross_polytope" else self.n_digits
        if self.n_probes >= of_hash**self.n_hashes:
            raise ConfigError(
                f"lsh.n_probes is {self.n_probes}, but a query chooses among {of_hash**self.n_hashes} "
                f"buckets of a table; lower lsh.n_probes or raise lsh.n_hashes"
            )
