"""Data sets: readers of text and images, the memory-mapped store, generated and downloaded data."""

from __future__ import annotations

from distlsh.data.dataset import Dataset
from distlsh.data.opening import open_dataset, open_pair

__all__ = ["Dataset", "open_dataset", "open_pair"]
