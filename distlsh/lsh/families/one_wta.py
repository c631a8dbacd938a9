"""Winner-take-all hashes of one vector at a time."""

from __future__ import annotations

from distlsh.kernels.one_wta import one_wta_codes, one_wta_probes
from distlsh.lsh.families.base import Ids
from distlsh.lsh.families.one_bins import OneBinVector
from distlsh.lsh.rows import Floats


class OneWta(OneBinVector):
    """The hash functions of `wta.Wta`."""

    def hash_one(self, out: Ids) -> None:
        """Write the codes."""
        where = (self.vector, self.groups, self.places)
        one_wta_codes(*where, self.spec.n_hashes, self.lines, self.keys, out)

    def probe_one(self, out: Ids, scores: Floats) -> None:
        """Write the codes where runners-up win."""
        where = (self.vector, self.groups, self.places)
        scratch = (self.lines, self.keys, *self.choice_scratch)
        one_wta_probes(*where, self.spec.step_wise, *scratch, out, scores)
