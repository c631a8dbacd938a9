"""What a set of hash functions is: family, counts, widths and seed, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import Any, get_args

from distlsh.config.schema import HashingConfig, ProbeOrder, Probing, Transform
from distlsh.constants import GLOBAL_FACTOR
from distlsh.errors import ConfigError
from distlsh.lsh.families.base import describe
from distlsh.lsh.transforms import extra_dims

MAX_BUCKETS = 1 << 24
MAX_HASHES = 256
"""Hashes of a code: far more than any bucket count needs, and few enough to compute with."""

MAX_CODE_BITS = 62
MAX_DIMS = (1 << 31) - 1
MAX_HITS = (1 << 16) - 2
"""Buckets that a query may read: its hits are counted in 16 bits."""

_SIGNS = ("srp", "fast_srp", "sparse_srp")
_BINS = ("wta", "dwta")
_SIZE_KEYS = {"cross_polytope": " or lsh.dim", "wta": " or lsh.bin_size", "dwta": " or lsh.bin_size"}
_INTEGERS = ("n_hashes", "n_tables", "n_probes", "n_dims", "dim", "bin_size", "code_bits", "seed")
_CHOICES = {
    "probing": get_args(Probing),
    "probe_order": get_args(ProbeOrder),
    "transform": get_args(Transform),
}


def _is_power_of_two(number: int) -> bool:
    return number >= 2 and number & (number - 1) == 0


@dataclass(frozen=True)
class HashSpec:
    """Everything that the hash functions depend on; equal specs hash alike on every machine.

    n_hashes     K, hashes of a code
    n_tables     L, codes of a vector
    n_probes     more buckets that a query reads, on average in each table
    n_dims       width of the vectors
    dim          coordinates of a hash (cross_polytope), a power of two
    bin_size     coordinates that a hash compares (wta, dwta), a power of two; these and those of
                 ``dim`` are compared with log2 of their number fewer bits than a float32 has
    density      share of a projection's coordinates that are not 0 (sparse_srp)
    l2_width     r, the width of a projection's slots, in the vectors' units (l2)
    code_bits    K values are hashed to 2**code_bits buckets (l2, minhash, doph)
    probing      "query_directed": by distance to the other buckets; "step_wise": by number of steps
    probe_order  "table": n_probes of each table; "global": the best n_tables * n_probes of all tables
    transform    of rows and queries, for inner products; see `distlsh.lsh.transforms`

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
    density: float = 1 / 3
    l2_width: float = 4.0
    code_bits: int = 16
    probing: str = "query_directed"
    probe_order: str = "table"
    transform: str = "none"

    def __post_init__(self) -> None:
        self._check_kind()
        self._check_integers()
        self._check_widths()
        self._check_counts()
        self._check_size()

    @classmethod
    def from_config(cls, config: HashingConfig, n_dims: int, seed: int) -> HashSpec:
        """Return the spec of a configuration's ``lsh`` or ``lsh.hidden`` group for vectors of ``n_dims``."""
        given = {field.name for field in fields(cls)} - {"n_dims", "seed"}
        return cls(n_dims=n_dims, seed=seed, **{name: getattr(config, name) for name in given})

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> HashSpec:
        """Return the spec that a checkpoint names; fields that it does not know keep their defaults.

        Checkpoints without ``probing`` are of a time when "srp" was what "fast_srp" is now.
        """
        known = {field.name for field in fields(cls)}
        found = {name: value for name, value in state.items() if name in known}
        if "probing" not in state and found["family"] == "srp":
            found["family"] = "fast_srp"
        return cls(**found)

    @property
    def hashed(self) -> HashSpec:
        """The spec of the vectors that are hashed: those given, with what the transform appends."""
        return replace(self, n_dims=self.n_dims + extra_dims(self.transform), transform="none")

    @property
    def n_digits(self) -> int:
        """Values that one hash takes; of l2, minhash and doph, whose values are mixed, 2**code_bits."""
        if describe(self.family).mixed:
            return 1 << self.code_bits
        return 2 * self.dim if self.family == "cross_polytope" else self._per_hash

    @property
    def n_buckets(self) -> int:
        """Codes that a table has; all are reached, but by vectors narrower than ``bin_size``."""
        return self.n_digits if describe(self.family).mixed else int(self.n_digits**self.n_hashes)

    @property
    def narrower(self) -> str:
        """The keys to lower for fewer buckets."""
        return (
            "lsh.code_bits"
            if describe(self.family).mixed
            else f"lsh.n_hashes{_SIZE_KEYS.get(self.family, '')}"
        )

    @property
    def n_codes(self) -> int:
        """Codes of a query in a table, its own included: the last dimension of arrays of probes."""
        wanted = self.n_probes * (GLOBAL_FACTOR if self.probe_order == "global" else 1)
        return 1 + min(wanted, int(self._per_hash**self.n_hashes) - 1, self.n_buckets - 1)

    @property
    def n_choices(self) -> int:
        """Best values of one hash that probes choose among."""
        return min(self.n_codes, self._per_hash)

    @property
    def step_wise(self) -> bool:
        """Whether probes are ordered by steps."""
        return self.probing == "step_wise"

    @property
    def _per_hash(self) -> int:
        """Values of one hash that a query may choose: its own, and others that are near."""
        if self.family in _SIGNS:
            return 2
        if self.family in _BINS:
            return self.bin_size
        return {"cross_polytope": self.dim, "l2": 3}.get(self.family, 1)

    def _check_kind(self) -> None:
        info = describe(self.family)
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"lsh.{name} is {getattr(self, name)!r}; it must be one of {', '.join(allowed)}"
                )
        if self.n_probes > 0 and not info.probes:
            raise ConfigError(
                f"lsh.n_probes is {self.n_probes}, but {self.family} has no probes; set it to 0"
            )
        if self.transform != "none" and "jaccard" in info.metrics:
            raise ConfigError(
                f"lsh.transform is {self.transform!r}, but {self.family} hashes sets; set it to none"
            )

    def _check_integers(self) -> None:
        for name in _INTEGERS:
            given = getattr(self, name)
            if not isinstance(given, Integral):
                raise ConfigError(f"lsh.{name} is {given!r}; it must be a whole number")
            object.__setattr__(self, name, int(given))  # NumPy's can neither be saved as JSON nor mask a seed

    def _check_widths(self) -> None:
        for name, used in (("dim", ("cross_polytope",)), ("bin_size", _BINS)):
            if self.family in used and not _is_power_of_two(getattr(self, name)):
                raise ConfigError(f"lsh.{name} is {getattr(self, name)}; it must be a power of two")
        if not 0 < self.density <= 1:
            raise ConfigError(f"lsh.density is {self.density}; it must be above 0 and at most 1")
        if not 0 < self.l2_width < float("inf"):
            raise ConfigError(f"lsh.l2_width is {self.l2_width}; it must be above 0 and finite")

    def _check_counts(self) -> None:
        least_of = (("n_hashes", 1), ("n_tables", 1), ("n_probes", 0), ("n_dims", 1), ("code_bits", 1))
        for name, least in least_of:
            if getattr(self, name) < least:
                raise ConfigError(f"lsh.{name} is {getattr(self, name)}; it must be {least} or more")
        # Before any power of them is computed: a spec may come from a file.
        for name, most in (("n_hashes", MAX_HASHES), ("code_bits", MAX_CODE_BITS), ("n_dims", MAX_DIMS)):
            if getattr(self, name) > most:
                raise ConfigError(f"lsh.{name} is {getattr(self, name)}; it must be {most} or less")
        buckets_read = self.n_tables * (1 + self.n_probes)
        if buckets_read > MAX_HITS:
            raise ConfigError(
                f"lsh.n_tables * (1 + lsh.n_probes) is {buckets_read}, more than {MAX_HITS}; lower either"
            )

    def _check_size(self) -> None:
        if self.n_buckets > MAX_BUCKETS:
            raise ConfigError(f"{self._sizes()}, more than {MAX_BUCKETS}; lower {self.narrower}")
        if self.n_probes >= (found := self._per_hash**self.n_hashes):
            raise ConfigError(
                f"lsh.n_probes is {self.n_probes}, but a query chooses among {found} "
                f"buckets of a table; lower lsh.n_probes or raise lsh.n_hashes"
            )

    def _sizes(self) -> str:
        if describe(self.family).mixed:
            return f"lsh.code_bits {self.code_bits} makes {self.n_buckets} buckets a table"
        return f"lsh.n_hashes {self.n_hashes} of {self.family} makes {self.n_buckets} buckets a table"
