"""Nearest neighbours by hash tables, useful without a network."""

from __future__ import annotations

from distlsh.lsh.index.index import METRICS, LSHIndex

__all__ = ["METRICS", "LSHIndex"]
