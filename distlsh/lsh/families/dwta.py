"""Densified winner-take-all hashes."""

from __future__ import annotations

from distlsh.kernels.dwta import dwta_codes, dwta_probes
from distlsh.lsh.families.base import Family, Ids
from distlsh.lsh.families.bins import BinFamily
from distlsh.lsh.families.borrowing import Borrowing
from distlsh.lsh.rows import Floats
from distlsh.lsh.spec import HashSpec


class Dwta(BinFamily):
    """A digit is the place of a bin's largest value; zeros are no values, and empty bins borrow.

    Vectors without values in any bin get the codes of a vector of zeros: bins should have
    as many dimensions together as a vector, or it many values.
    """

    def __init__(self, spec: HashSpec) -> None:
        super().__init__(spec, 0.0)
        self._borrowing = Borrowing.of(spec.seed, len(self.bins))

    def one_by_one(self) -> Family:
        """Return the same hash functions for few vectors; see `base.Family`."""
        from distlsh.lsh.families.one_dwta import OneDwta

        return OneDwta(self.spec, self.bins, self.pad, self._borrowing)

    def hash_lines(self, lines: Floats, out: Ids) -> None:
        """Write the codes."""
        dwta_codes(lines, self.bins, self.spec.n_hashes, *self._borrowing, self.keys, out)

    def probe_lines(self, lines: Floats, out: Ids, scores: Floats) -> None:
        """Write the codes where runners-up win."""
        scratch = (self.keys, *self.choice_scratch)
        dwta_probes(lines, self.bins, *self._borrowing, self.spec.step_wise, *scratch, out, scores)
