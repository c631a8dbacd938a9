"""Locality-sensitive hashing: hash functions, tables of ids, and choosing from them."""

from __future__ import annotations

from distlsh.lsh.frame import Frame, mean_row
from distlsh.lsh.hasher import Hasher
from distlsh.lsh.layout import table_bytes, table_specs
from distlsh.lsh.maintain import build, refresh
from distlsh.lsh.sampler import ActiveSampler, retrieve
from distlsh.lsh.sketch import Sketcher
from distlsh.lsh.spec import HashSpec
from distlsh.lsh.stats import TableStats
from distlsh.lsh.tables import Tables

__all__ = [
    "ActiveSampler",
    "Frame",
    "HashSpec",
    "Hasher",
    "Sketcher",
    "TableStats",
    "Tables",
    "build",
    "mean_row",
    "refresh",
    "retrieve",
    "table_bytes",
    "table_specs",
]
