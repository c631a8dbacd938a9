"""MNIST's images from a folder of IDX files, or drawn ones where there are none."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SIDE = 28
_FILES = {"train": "train-{}-idx{}-ubyte.gz", "test": "t10k-{}-idx{}-ubyte.gz"}


class Pictures(NamedTuple):
    """Pictures f4[n, 784] of values 0 .. 255, and their labels i8[n]."""

    pixels: NDArray[np.float32]
    labels: NDArray[np.int64]
    source: str


def load(folder: Path | None, part: str, limit: int | None) -> Pictures:
    """Return the "train" or "test" pictures of MNIST in ``folder``; None: drawn ones."""
    if folder is None:
        return drawn(limit or (20_000 if part == "train" else 2_000), seed=1 if part == "train" else 2)
    with gzip.open(folder / _FILES[part].format("images", 3)) as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, SIDE * SIDE)
    with gzip.open(folder / _FILES[part].format("labels", 1)) as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return Pictures(pixels[:limit].astype(np.float32), labels[:limit].astype(np.int64), "MNIST")


def drawn(n: int, seed: int) -> Pictures:
    """Return pictures of ten kinds of strokes, each moved, bent and blurred a little differently."""
    random = np.random.default_rng(seed)
    labels = random.integers(10, size=n)
    along = np.linspace(0, 1, 40)
    kinds = np.random.default_rng(0).uniform(5, 23, (10, 4, 2))
    points = kinds[labels] + random.normal(0, 1.0, (n, 4, 2))
    weights = np.stack(
        [(1 - along) ** 3, 3 * along * (1 - along) ** 2, 3 * along**2 * (1 - along), along**3], axis=1
    )
    place = np.arange(SIDE, dtype=np.float32)
    pixels = np.empty((n, SIDE * SIDE), np.float32)
    for i in range(n):
        stroke = weights @ points[i]
        width = random.uniform(0.8, 1.6)
        rows, columns = (np.exp(-(((place - stroke[:, axis, None]) / width) ** 2)) for axis in (0, 1))
        pixels[i] = 255 * np.minimum(1.0, (rows.T @ columns) / 2).ravel()
    return Pictures(pixels, labels, "drawn strokes")
