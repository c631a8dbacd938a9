"""What a worker counts: places in a row of float64 that it alone adds to and others read."""

from __future__ import annotations

from enum import IntEnum

from distlsh.kernels import output_layer


class Counter(IntEnum):
    """A place of the counters.  All are sums since the counters were zeroed."""

    SAMPLES = output_layer.SAMPLES
    LABELLED = output_layer.LABELLED
    """Samples with a finite loss: the divisor of LOSS."""
    LOSS = output_layer.LOSS
    ACTIVE = output_layer.ACTIVE
    RETRIEVED = output_layer.RETRIEVED
    """Of these, the ones found in the tables and no labels of the sample."""
    ROWS_UPDATED = output_layer.ROWS_UPDATED
    """Output rows stepped."""
    NON_FINITE = output_layer.NON_FINITE
    """Samples whose loss was inf or NaN; they changed no output row."""
    MACS = output_layer.MACS
    """Multiply-adds done, forward and backward, those of the pretraining too; hashing is not counted."""
    DENSE_MACS = 8
    """Multiply-adds of a network with all outputs active, for the same samples of the training."""
    BATCHES = 9
    HASHED_MACS = 10
    """Of MACS, those of hashed hidden layers."""
    HASHED_DENSE_MACS = 11
    """Of DENSE_MACS, those of the same layers."""
    CPU_S = 12
    """Seconds of a core in training tasks."""
    WATCHED = 13
    """Active outputs that were looked at for conflicts (`model.conflicts`)."""
    CONFLICTS = 14
    """Of these, the ones that another worker had in a batch at the same time."""
    PRETRAINED = 15
    """Samples of the pretraining: those of an instance that shares a label."""
    PRETRAIN_LOSS = 16
    """Their losses."""


N_COUNTERS = 24
"""Three cache lines, so that no two workers' counters share one."""
