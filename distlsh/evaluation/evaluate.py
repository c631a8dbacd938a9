"""Exact and LSH inference side by side over rows of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distlsh.constants import LSH_BLOCK, RECALL_K, ROW_BLOCK, TOP_K
from distlsh.data.dataset import Dataset
from distlsh.evaluation.ranking import labelled_rows, ranking_sums
from distlsh.evaluation.screening import RowCodes
from distlsh.evaluation.sums import EvalSums, LshSums, RankingSums
from distlsh.evaluation.tables import rank_candidates, retrieve_labels
from distlsh.evaluation.topk import exact_topk
from distlsh.kernels.topk import mark_found
from distlsh.lsh.hasher import Hasher
from distlsh.lsh.tables import Tables
from distlsh.model.layers.choosers import Chooser
from distlsh.model.network import Network

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]
Rows = NDArray[np.int64]


def evaluate_rows(
    network: Network,
    hasher: Hasher | None,
    tables: Tables | None,
    dataset: Dataset,
    rows: Rows,
    inv_propensity: Floats,
    choosers: Mapping[int, Chooser] | None = None,
    codes: RowCodes | None = None,
) -> EvalSums:
    """Return the sums over ``rows``, of exact inference and of inference by tables.

    hasher, tables  of the output; None: every output is scored
    choosers        of hashed hidden layers by their number; with neither choosers nor tables,
                    there is exact inference only
    rows            i8[m], any order; those without labels are passed over
    inv_propensity  f4[n_labels] of the network
    codes           of the output rows, where the caller keeps them

    ShapeError if the data has features or labels that the network lacks.  Runs in blocks
    of 1,024 rows: allocates some tens of MiB, whatever m is.
    """
    network.check_fits(dataset)
    evaluator = _Evaluator(network, hasher, tables, dataset, inv_propensity, choosers or {}, codes)
    counted = labelled_rows(dataset, rows)
    sums = EvalSums(lsh=LshSums(output=tables is not None) if tables or choosers else None)
    for first in range(0, len(counted), ROW_BLOCK):
        sums += evaluator.block(counted[first : first + ROW_BLOCK])
    return sums


def exact_labels(
    network: Network, hidden: Floats, k: int, codes: RowCodes | None = None
) -> tuple[Ids, Floats]:
    """Return i4[m, k] and f4[m, k]: each hidden vector's best labels and their logits.

    codes  of the output rows, where the caller keeps them
    """
    spec = network.spec
    bias = network.output_bias.weights if spec.bias else None
    return exact_topk(hidden, network.output.weights, bias, spec.logit_scale, k, codes)


@dataclass(frozen=True, slots=True)
class _Evaluator:
    network: Network
    hasher: Hasher | None
    tables: Tables | None
    dataset: Dataset
    inv_propensity: Floats
    choosers: Mapping[int, Chooser]
    codes: RowCodes | None

    def block(self, rows: Rows) -> EvalSums:
        spec, dataset = self.network.spec, self.dataset
        hidden = self.network.hidden(dataset, rows)
        top, _ = exact_labels(self.network, hidden, RECALL_K, self.codes)
        n_nonzeros = int((dataset.indptr[rows + 1] - dataset.indptr[rows]).sum())
        hidden_macs = spec.hidden_macs(n_nonzeros, len(rows))
        sums = EvalSums(
            len(rows), self._ranking(top, rows), hidden_macs + len(rows) * spec.n_labels * spec.width
        )
        if self.choosers:
            sums.lsh, hidden = self._hashed(rows)
            top, _ = exact_labels(self.network, hidden, RECALL_K, self.codes)
        elif self.tables is not None:
            sums.lsh = LshSums(macs=hidden_macs)
        if sums.lsh is not None:
            for first in range(0, len(rows), LSH_BLOCK):
                some = slice(first, first + LSH_BLOCK)
                sums.lsh += self._lsh(rows[some], hidden[some], top[some])
        return sums

    def _hashed(self, rows: Rows) -> tuple[LshSums, Floats]:
        """Return the hidden vectors by the tables of the hidden layers, and what that took."""
        from distlsh.model.layers.inference import sparse_forward

        data = self.dataset
        csr = (data.indptr, data.indices, data.values)
        found = sparse_forward(self.network, csr, rows, self.choosers, recall=True)
        output = self.tables is not None
        sums = LshSums(output=output, macs=found.macs, hidden=found.wanted, hidden_found=found.found)
        return sums, found.hidden

    def _ranking(self, ids: Ids, rows: Rows) -> RankingSums:
        return ranking_sums(ids, rows, self.dataset.label_indptr, self.dataset.labels, self.inv_propensity)

    def _lsh(self, rows: Rows, hidden: Floats, top: Ids) -> LshSums:
        if self.hasher is None or self.tables is None:
            spec = self.network.spec
            macs = len(rows) * spec.n_labels * spec.width
            return LshSums(self._ranking(top, rows), output=False, macs=macs)
        candidates, counts = retrieve_labels(hidden, self.tables, self.hasher)
        ids, _ = rank_candidates(self.network, hidden, candidates, counts, TOP_K, self.codes)
        found = np.empty_like(top)
        mark_found(top, candidates, counts, found)
        retrieved = int(counts.sum())
        return LshSums(
            self._ranking(ids, rows),
            top_1=int((found[:, 0] >= 0).sum()),
            top_1_found=int((found[:, 0] == 1).sum()),
            top_10=int((found >= 0).sum()),
            top_10_found=int((found == 1).sum()),
            retrieved=retrieved,
            macs=retrieved * self.network.spec.width,
        )
