"""Seeded, learnable data of any size, streamed to text or to a store.

Label frequencies follow a power law; labels lie in clusters that share features; an
instance mixes features of its labels' clusters, of the labels themselves and noise.
A test instance takes the labels of a random training instance, so every label of the
test set occurs in training.  Up to half of the training instances go once to each
label, the most frequent first, so that with two instances a label none is without.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from distlsh.config.schema import SynthConfig
from distlsh.data.block import RowBlock
from distlsh.data.cache import believed, build_once, open_current, user_cache_dir, writable_folder
from distlsh.data.dataset import Dataset
from distlsh.data.store import StoreWriter
from distlsh.data.text import Header
from distlsh.data.writing import write_xc

GENERATOR_VERSION = 1
_ROWS_A_BLOCK = 8192
_GOLDEN = (math.sqrt(5) - 1) / 2

RowProgress = Callable[[int, int], None]
"""Called with (rows done, rows in all)."""


def _step(n: int) -> int:
    """Return a multiplier that permutes range(n) and scatters neighbours."""
    step = max(1, int(n * _GOLDEN))
    while math.gcd(step, n) != 1:
        step += 1
    return step


def _parameters(config: SynthConfig) -> tuple[Any, Any]:
    from distlsh.kernels import synth as k

    max_features = min(int(1.5 * config.n_nonzeros) + 1, config.n_features // 2)
    max_labels = min(config.n_labels, int(4 * config.n_labels_mean) + 8)
    ints = np.zeros(k.N_INTS, np.int64)
    ints[k.N_TRAIN] = config.n_train
    ints[k.N_FEATURES], ints[k.N_LABELS] = config.n_features, config.n_labels
    ints[k.CLUSTER_SIZE] = config.cluster_size
    ints[k.N_GUARANTEED] = min(config.n_labels, config.n_train // 2)
    ints[k.ROW_STEP], ints[k.LABEL_STEP] = _step(config.n_train), _step(config.n_labels)
    ints[k.FEATURE_STEP] = _step(config.n_features)
    ints[k.CLUSTER_POOL] = max(8, 2 * config.n_nonzeros)
    ints[k.OWN_POOL] = max(4, config.n_nonzeros)
    ints[k.MAX_LABELS], ints[k.MAX_FEATURES] = max_labels, max_features
    reals = np.zeros(k.N_REALS, np.float64)
    reals[k.EXPONENT], reals[k.NOISE] = config.exponent, config.noise
    reals[k.MEAN_LABELS], reals[k.MEAN_FEATURES] = config.n_labels_mean, config.n_nonzeros
    return ints, reals


def synth_blocks(
    config: SynthConfig, split: str, *, progress: RowProgress | None = None
) -> Iterator[RowBlock]:
    """Yield the rows of ``split`` ("train" or "test"), some thousand at a time.

    The arrays of a block are overwritten by the next.
    """
    from distlsh.kernels import synth as k

    ints, reals = _parameters(config)
    n = min(_ROWS_A_BLOCK, _n_rows(config, split))
    label_sizes, feature_sizes = np.empty(n, np.int32), np.empty(n, np.int32)
    labels = np.empty(n * int(ints[k.MAX_LABELS]), np.int32)
    indices = np.empty(n * int(ints[k.MAX_FEATURES]), np.int32)
    values = np.empty(len(indices), np.float32)
    state, counts = np.empty(1, np.uint64), np.zeros(2, np.int64)
    total = _n_rows(config, split)
    seed = np.uint64(config.seed & (2**64 - 1))
    code = k.TRAIN if split == "train" else k.TEST
    for first in range(0, total, n):
        rows = min(n, total - first)
        out = (label_sizes, feature_sizes, labels, indices, values)
        k.synth_rows(ints, reals, seed, code, first, rows, state, *out, counts)
        n_lab, n_feat = int(counts[0]), int(counts[1])
        yield RowBlock(
            label_sizes[:rows], feature_sizes[:rows], labels[:n_lab], indices[:n_feat], values[:n_feat]
        )
        if progress is not None:
            progress(first + rows, total)


def _n_rows(config: SynthConfig, split: str) -> int:
    return config.n_train if split == "train" else config.n_test


def write_synth(
    config: SynthConfig, train: Path, test: Path | None = None, *, progress: RowProgress | None = None
) -> None:
    """Write generated data as Extreme Classification text; compressed by suffix (.gz, .bz2, .xz, .zst).

    The text parses to exactly the rows that `open_synth` gives.  DataError if a file cannot be written.
    """
    from distlsh.kernels.synth import DECIMALS

    for split, path in (("train", train), ("test", test)):
        if path is not None:
            header = Header(_n_rows(config, split), config.n_features, config.n_labels)
            write_xc(Path(path), header, synth_blocks(config, split, progress=progress), decimals=DECIMALS)


def open_synth(
    config: SynthConfig,
    *,
    cache_dir: str | None = None,
    normalize: str = "none",
    progress: RowProgress | None = None,
) -> tuple[Dataset, Dataset]:
    """Return the generated (training, test) sets, from their stores or generated into them now.

    cache_dir  of the stores; None: the user's cache (`data.cache.user_cache_dir`)
    """
    folders = [user_cache_dir() if cache_dir is None else Path(cache_dir)]
    return (
        _open_split(config, "train", folders, cache_dir is not None, normalize, progress),
        _open_split(config, "test", folders, cache_dir is not None, normalize, progress),
    )


def _open_split(
    config: SynthConfig,
    split: str,
    folders: list[Path],
    chosen: bool,
    normalize: str,
    progress: RowProgress | None,
) -> Dataset:
    made_from = {
        "synth": msgspec.to_builtins(config),
        "generator": GENERATOR_VERSION,
        "split": split,
        "normalize": normalize,
    }
    digest = hashlib.sha256(msgspec.json.encode(made_from, order="sorted")).hexdigest()[:12]
    name = f"synth-{split}-{digest}"

    def is_current(store: Dataset) -> bool:
        return bool(store.meta.get("made_from") == made_from)

    trusts = partial(believed, source=None, chosen=chosen)
    found = open_current(folders[0] / name, trusts, is_current)
    if found is not None:
        return found

    def build(temporary: Path) -> None:
        with StoreWriter(temporary) as writer:
            for block in synth_blocks(config, split, progress=progress):
                if normalize == "l2":
                    _scale(block)
                writer.append(block)
            meta = {"name": name, "made_from": made_from, "format": "synth", "normalize": normalize}
            writer.finish(config.n_features, config.n_labels, meta)

    return build_once(writable_folder(folders) / name, build, trusts, is_current)


def _scale(block: RowBlock) -> None:
    from distlsh.kernels.parse import scale_rows

    scale_rows(block.values, block.feature_sizes)
