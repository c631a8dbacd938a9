"""JSON and `.npy` files that anyone may have written."""

from __future__ import annotations

import os

import numpy as np
import pytest

from distlsh.files import load_npy, open_plain, read_json


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3), np.zeros((0, 4), np.int8), np.float32(2)])
@pytest.mark.parametrize("mmap", [True, False])
def test_arrays_of_numbers_come_back(tmp_path, array, mmap):
    """Shape, type and numbers are those saved, mapped or read."""
    np.save(tmp_path / "a.npy", array)
    found = load_npy(tmp_path / "a.npy", mmap=mmap)
    assert (found.shape, found.dtype, found.tobytes()) == (array.shape, array.dtype, array.tobytes())


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize(
    ("shape", "what"),
    [
        ("(2305843009213693951,)", "its header says"),
        ("(-1,)", "not numbers in C order"),
        ("(" + "9" * 5000 + ",)", "not an .npy file"),
        ("(" * 900, "not an .npy file"),
        ("'x'", "not an .npy file"),
    ],
)
def test_a_header_sizes_nothing_that_the_file_does_not_hold(tmp_path, shape, what, mmap):
    """Shapes beyond the file, below zero, or no shapes at all are a ValueError, and no memory."""
    text = f"{{'descr': '<i4', 'fortran_order': False, 'shape': {shape}, }}".ljust(6005) + "\n"
    header = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
    (tmp_path / "a.npy").write_bytes(header + b"\0" * 64)
    with pytest.raises(ValueError, match=what):
        load_npy(tmp_path / "a.npy", mmap=mmap)


@pytest.mark.parametrize(
    "array", [np.array([{}], object), np.array(["x"]), np.asfortranarray(np.ones((2, 2)))]
)
def test_anything_but_numbers_in_c_order_is_refused(tmp_path, array):
    """Objects would be unpickled; text and Fortran order are nothing that kernels take."""
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match="not numbers in C order"):
        load_npy(tmp_path / "a.npy", mmap=False)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[" * 100_000, "nested"),
        ("[]", "not a JSON object"),
        ("{" + " " * 2_000_000, "more than"),
        ("\xff", "utf-8"),
    ],
)
def test_json_that_is_none_is_a_value_error(tmp_path, text, what):
    """Nesting, another kind of value, size, encoding."""
    (tmp_path / "x.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=what):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize("read", [open_plain, read_json, lambda path: load_npy(path, mmap=True)])
def test_a_pipe_is_refused_instead_of_waited_for_by_any_reader(tmp_path, read):
    """Whoever may write in a folder could put a pipe there, whose reader waits for a writer for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="no plain file"):
        read(tmp_path / "pipe")
