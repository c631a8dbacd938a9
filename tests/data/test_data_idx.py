"""MNIST's IDX files."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from distlsh.data import open_dataset
from distlsh.errors import DataError

PIXELS = np.array([[[0, 255, 51], [0, 0, 0]], [[1, 0, 0], [0, 0, 2]], [[0, 0, 0], [0, 0, 0]]], np.uint8)
LABELS = np.array([3, 0, 7], np.uint8)


def write_idx(folder: Path, *, pack=bytes, suffix: str = "", images=PIXELS, labels=LABELS) -> Path:
    path = folder / f"t-images-idx3-ubyte{suffix}"
    path.write_bytes(pack(b"\0\0\x08\x03" + struct.pack(">3I", *images.shape) + images.tobytes()))
    (folder / f"t-labels-idx1-ubyte{suffix}").write_bytes(
        pack(b"\0\0\x08\x01" + struct.pack(">I", len(labels)) + labels.tobytes())
    )
    return path


@pytest.mark.parametrize(("pack", "suffix"), [(bytes, ""), (gzip.compress, ".gz")])
def test_images_become_rows_of_scaled_pixels(tmp_path, pack, suffix):
    """Pixels are divided by 255, zeros dropped, labels found by the name, blank images kept."""
    data = open_dataset(write_idx(tmp_path, pack=pack, suffix=suffix))
    assert (data.n_rows, data.n_features, data.n_labels) == (3, 6, 8)
    assert data.to_csr().toarray() == pytest.approx(PIXELS.reshape(3, 6) / 255)
    assert len(data.indices) == 4
    assert data.labels.tolist() == [3, 0, 7]
    assert data.meta["format"] == "idx"


def test_labels_may_be_packed_otherwise(tmp_path):
    """A plain file of labels is found beside packed images."""
    path = write_idx(tmp_path)
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert open_dataset(packed, format="idx").labels.tolist() == [3, 0, 7]


def test_rows_can_be_scaled(tmp_path):
    """`normalize` works on images too."""
    data = open_dataset(write_idx(tmp_path), normalize="l2")
    assert np.linalg.norm(data.to_csr().toarray(), axis=1) == pytest.approx([1, 1, 0])


def test_changed_labels_are_parsed_again(tmp_path):
    """The store knows both files it was made of."""
    open_dataset(write_idx(tmp_path))
    assert open_dataset(write_idx(tmp_path, labels=LABELS[::-1].copy())).labels.tolist() == [7, 0, 3]


def test_damaged_idx_files_are_named(tmp_path):
    """Missing labels, wrong counts, cut files and wrong magic numbers each say what is wrong."""
    path = write_idx(tmp_path)
    labels = tmp_path / "t-labels-idx1-ubyte"
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.raises(DataError, match="cut off: 3 bytes are missing"):
        open_dataset(path)
    path.write_bytes(whole)
    labels.write_bytes(b"\0\0\x08\x01" + struct.pack(">I", 2) + b"\1\2")
    with pytest.raises(DataError, match=r"holds 3 images, .* 2 labels"):
        open_dataset(path)
    labels.write_bytes(b"\0\0\x09\x01" + struct.pack(">I", 3) + b"\1\2\3")
    with pytest.raises(DataError, match="begins with 00000901, expected 00000801"):
        open_dataset(path)
    labels.unlink()
    with pytest.raises(DataError, match="labels 't-labels-idx1-ubyte' is missing"):
        open_dataset(path)
    renamed = path.rename(tmp_path / "pictures")
    with pytest.raises(DataError, match="must contain `images-idx3`"):
        open_dataset(renamed)
