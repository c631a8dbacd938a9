"""Locality-sensitive hashing: hash functions, tables of ids, and choosing from them."""

from __future__ import annotations

from distlsh.lsh.frame import Frame, mean_row
from distlsh.lsh.hasher import Hasher
from distlsh.lsh.maintain import build, refresh
from distlsh.lsh.sampler import ActiveSampler, retrieve
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.tables import Tables, TableStats, table_specs

__all__ = [
    "ActiveSampler",
    "Frame",
    "HashSpec",
    "Hasher",
    "TableStats",
    "Tables",
    "build",
    "mean_row",
    "refresh",
    "retrieve",
    "table_specs",
]
