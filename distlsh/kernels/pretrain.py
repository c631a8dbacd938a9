"""Contrastive pretraining of the first layer: partners of an instance, and the loss within a batch."""

from __future__ import annotations

import math

import numpy as np

from distlsh.kernels._jit import kernel
from distlsh.kernels._types import F4_1, F4_1R, F4_2, I4_1, I4_1R, I8_1, I8_1R, U8_1, f4, f8, i4, i8
from distlsh.kernels.random import next_u8, scaled

NONE = -1
"""No label, no instance."""


@kernel(i8(I8_1R, I4_1R, I8_1, I4_1, I4_1))
def group_by_label(label_indptr, labels, starts, by_label, last):  # type: ignore[no-untyped-def]
    """List the instances of each label, ascending, each once; return the number of entries.

    label_indptr, labels  i8[n+1], i4[entries]: labels of the instances, which may repeat in one
    starts    i8[n_labels+1], overwritten: those of label l lie in places starts[l] to starts[l+1]
    by_label  i4[entries], its first places are overwritten
    last      i4[n_labels], scratch, overwritten

    Concurrency: none needed.  Allocates: nothing.  Cost: O(entries + n_labels).  Unchecked: ranges.
    """
    starts[:] = 0
    last[:] = NONE
    for row in range(label_indptr.shape[0] - 1):
        for p in range(label_indptr[row], label_indptr[row + 1]):
            if last[labels[p]] != row:
                last[labels[p]] = row
                starts[labels[p] + 1] += 1
    for label in range(last.shape[0]):
        starts[label + 1] += starts[label]
    total = starts[last.shape[0]]
    # From the last instance back, so that a label's end moves down to its start.
    last[:] = NONE
    for row in range(label_indptr.shape[0] - 2, -1, -1):
        for p in range(label_indptr[row], label_indptr[row + 1]):
            if last[labels[p]] != row:
                last[labels[p]] = row
                starts[labels[p] + 1] -= 1
                by_label[starts[labels[p] + 1]] = row
    for label in range(last.shape[0]):
        starts[label] = starts[label + 1]
    starts[last.shape[0]] = total
    return total


@kernel(i8(I8_1R, I4_1R, I8_1R, I8_1R, U8_1, I8_1, I4_1))
def choose_labels(label_indptr, labels, starts, rows, state, kept, chosen):  # type: ignore[no-untyped-def]
    """Draw a label for each instance among those that another instance has too; return how many have one.

    label_indptr, labels  i8[n+1], i4[entries]: labels of the instances
    starts  i8[n_labels+1]: where each label's instances begin in a list by label
    rows    i8[m], instances
    state   u8[1], random state, advanced
    kept    i8[m]: its first places are overwritten by the instances that have such a label, in order
    chosen  i4[m]: likewise by their labels

    Concurrency: none needed.  Allocates: nothing.  Cost: O(labels of the rows).  Unchecked: ranges.
    """
    n = 0
    for i in range(rows.shape[0]):
        first, last = label_indptr[rows[i]], label_indptr[rows[i] + 1]
        seen, label = 0, i4(NONE)
        for p in range(first, last):
            if starts[labels[p] + 1] - starts[labels[p]] > 1:
                seen += 1
                if scaled(next_u8(state), seen) == 0:
                    label = labels[p]
        if seen > 0:
            kept[n], chosen[n] = rows[i], label
            n += 1
    return n


@kernel(i8(I8_1R, I4_1R, I8_1R, I4_1R, i8, U8_1, I8_1, I8_1))
def choose_partners(starts, by_label, rows, labels, most, state, ends, partners):  # type: ignore[no-untyped-def]
    """Write other instances of each row's label: all of them, or ``most`` drawn ones; return their number.

    starts, by_label  i8[n_labels+1], i4[entries]: the distinct instances of each label
    rows, labels      i8[m], i4[m]: instances, and a label of each that another instance has too
    most              at most so many partners a row, drawn with replacement where there are more
    state             u8[1], random state, advanced
    ends              i8[m+1], overwritten: partners of row i lie in places ends[i] to ends[i+1]
    partners          i8[m * most] or longer, overwritten

    Concurrency: none needed.  Allocates: nothing.  Cost: O(m * most).  Unchecked: ranges.
    """
    at = 0
    ends[0] = 0
    for i in range(rows.shape[0]):
        first, last = starts[labels[i]], starts[labels[i] + 1]
        if last - first - 1 <= most:
            for p in range(first, last):
                if by_label[p] != rows[i]:
                    partners[at] = by_label[p]
                    at += 1
        else:
            drawn = 0
            while drawn < most:
                other = i8(by_label[first + scaled(next_u8(state), last - first)])
                if other != rows[i]:
                    partners[at] = other
                    at += 1
                    drawn += 1
        ends[i + 1] = at
    return at


@kernel(i8(I8_1R, I4_1R, F4_1R, I8_1R, I8_1R, I8_1, I4_1, F4_1))
def join_instances(indptr, indices, values, ends, partners, out_ends, out_indices, out_values):  # type: ignore[no-untyped-def]
    """Write the features of each row's partners one after the other; return how many.

    indptr, indices, values  CSR of all instances: i8[n+1], i4[nnz], f4[nnz]
    ends, partners           i8[m+1], i8[entries], of ``choose_partners``
    out_ends                 i8[m+1], overwritten: CSR places of the joined rows
    out_indices, out_values  i4[room], f4[room], overwritten; a feature of two partners stands there twice

    Concurrency: none needed.  Allocates: nothing.  Cost: O(features written).  Unchecked: room, ranges.
    """
    at = 0
    out_ends[0] = 0
    for i in range(ends.shape[0] - 1):
        for q in range(ends[i], ends[i + 1]):
            for p in range(indptr[partners[q]], indptr[partners[q] + 1]):
                out_indices[at], out_values[at] = indices[p], values[p]
                at += 1
        out_ends[i + 1] = at
    return at


@kernel(f8(F4_2, I8_1R, I4_1R, I8_1R, I4_1R, f4))
def contrastive_gradient(cosines, rows, drawn, label_indptr, labels, scale):  # type: ignore[no-untyped-def]
    """Turn cosines into gradients of the softmax loss of each row, in place; return the summed loss.

    cosines  f4[m, m]: of instance i and the partners of instance j; the logits are ``scale`` times these.
             Row i's target is i; a column of a label that the row's instance has is no negative.
    rows     i8[m], instances
    drawn    i4[m], the label of each that its partners have
    label_indptr, labels  i8[n+1], i4[entries]: labels of the instances

    Concurrency: none needed.  Allocates: nothing.  Cost: O(m**2), each for all labels of a row.
    Source: van den Oord et al. 2018 (InfoNCE), equation 4; in-batch negatives: Karpukhin et al. 2020, 3.2.
    """
    m = cosines.shape[0]
    loss = 0.0
    for i in range(m):
        mine = cosines[i, i]
        own = scale * mine
        for p in range(label_indptr[rows[i]], label_indptr[rows[i] + 1]):
            label = labels[p]
            for j in range(m):
                if drawn[j] == label:
                    cosines[i, j] = f4(-np.inf)
        cosines[i, i] = mine
        top = own
        for j in range(m):
            z = scale * cosines[i, j]
            cosines[i, j] = z
            top = max(top, z)
        total = f4(0.0)
        for j in range(m):
            e = f4(math.exp(cosines[i, j] - top))
            cosines[i, j] = e
            total += e
        loss += math.log(total) + top - own
        share = scale / total
        for j in range(m):
            cosines[i, j] *= share
        cosines[i, i] -= scale
    return loss
