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
STORE_VERSION = 1
CHECKPOINT_VERSION = 1

TOP_K = 5
"""Largest k of the reported ranking metrics."""

RECALL_K = 10
"""Largest k of the reported table recall."""

MAX_SAMPLES = 1 << 40
"""Seeds are made from (seed, sample number); sample numbers stay below this."""
