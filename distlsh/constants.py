"""Numbers that several packages must agree on."""

from __future__ import annotations

import numpy as np

FLOAT = np.dtype(np.float32)
ID = np.dtype(np.int32)
OFFSET = np.dtype(np.int64)

EMPTY = -1
"""Marks an unused place in an array of ids."""

CACHE_LINE_BYTES = 64
PROTOCOL_VERSION = 1
METRICS_VERSION = 2
"""1 had no frame for it."""

NO_MEMORY_CODE = 71
"""Exit code of a child that could get no more memory."""

STORE_VERSION = 1
CHECKPOINT_VERSION = 1

GLOBAL_FACTOR = 4
"""Probes of a table that a global order chooses among, for each that a table has on average."""

TUNED_FAMILIES = ("cross_polytope", "fast_srp", "dwta")
"""Families that a run chooses from."""

TUNED_TABLES = 64
TUNED_PROBES = 16
"""Most tables, and extra buckets of each, that tuning chooses from."""

TOP_K = 5
"""Largest k of the reported ranking metrics."""

RECALL_K = 10
"""Largest k of the reported table recall."""

ROW_BLOCK = 1024
LABEL_BLOCK = 1024
"""Rows and labels that exact inference scores together: a block's scores (4 MiB) and the weights it
needs stay in the outer caches, and BLAS is within some percent of its best."""

LSH_BLOCK = 128
"""Rows whose candidates LSH inference retrieves together; bounds the memory of the candidates."""

SPARSE_BLOCK = 128
"""Rows that inference takes through hashed hidden layers together; bounds the scratch."""

PRETRAIN = "pretrain"
"""Name of the pretraining: of its stage in a run's position, its steps, tasks and reports."""

SKETCH = 64
"""Projections of an instance's vector by which the pretraining finds those that are alike."""

SKETCH_BLOCK = 4096
"""Instances whose vectors are projected together; bounds the scratch."""
