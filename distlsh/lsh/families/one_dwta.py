"""Densified winner-take-all hashes of one vector at a time."""

from __future__ import annotations

from distlsh.kernels.one_dwta import one_dwta_codes, one_dwta_probes
from distlsh.lsh.families.base import Ids
from distlsh.lsh.families.borrowing import Borrowing
from distlsh.lsh.families.one_bins import OneBinVector
from distlsh.lsh.rows import Floats
from distlsh.lsh.spec import HashSpec


class OneDwta(OneBinVector):
    """The hash functions of `dwta.Dwta`."""

    def __init__(self, spec: HashSpec, bins: Ids, pad: float, borrowing: Borrowing) -> None:
        super().__init__(spec, bins, pad)
        self._borrowing = borrowing

    def hash_one(self, out: Ids) -> None:
        """Write the codes."""
        where = (self.vector, self.groups, self.places)
        one_dwta_codes(*where, self.spec.n_hashes, *self._borrowing, self.lines, self.keys, out)

    def probe_one(self, out: Ids, scores: Floats) -> None:
        """Write the codes where runners-up win."""
        where = (self.vector, self.groups, self.places)
        scratch = (self.lines, self.keys, *self.choice_scratch)
        one_dwta_probes(*where, *self._borrowing, self.spec.step_wise, *scratch, out, scores)
