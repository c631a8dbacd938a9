from __future__ import annotations

import gzip
import json
import subprocess
import sys

import parse_speed
import pytest
from sklearn.datasets import load_svmlight_file

TEXT = b"3 5 9\n1,4 0:0.5 3:2\n 1:1\n8 0:1 4:0.25\n"


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "rows.txt.gz"
    path.write_bytes(gzip.compress(TEXT))
    return path


def test_all_formats_hold_the_same_rows(source, tmp_path):
    """Text, gzip and svmlight are written from one file, with a header that counts the rows taken."""
    files = parse_speed.write_files(source, tmp_path, 2)
    assert files["txt"].read_bytes() == b"2 5 9\n" + b"".join(TEXT.splitlines(keepends=True)[1:3])
    assert gzip.decompress(files["gz"].read_bytes()) == files["txt"].read_bytes()
    X, y = load_svmlight_file(str(files["svm"]), multilabel=True, zero_based=True)
    assert (X.shape, y) == ((2, 4), [(1.0, 4.0), ()])
    assert (files["rows"], files["bytes"]) == (2, files["txt"].stat().st_size)


def test_a_file_without_a_header_is_refused(tmp_path):
    """Text without the three sizes is named, with what was expected."""
    (tmp_path / "a.svm").write_bytes(b"1 0:1\n")
    with pytest.raises(SystemExit, match=r"a\.svm: expected the header"):
        parse_speed.write_files(tmp_path / "a.svm", tmp_path, 0)


def test_medians_and_speeds_of_a_reader():
    """Speeds come from the median of wall and of CPU seconds."""
    found = parse_speed.summary("x", [(1.0, 0.5, 10), (4.0, 0.5, 10), (2.0, 0.25, 10)], 8_000_000)
    assert (found["mb_per_s"], found["mb_per_cpu_s"], found["rows_per_s"]) == (4.0, 16.0, 5.0)


def test_a_script_tells_its_reading_or_why_it_cannot():
    """A script's last three words are its reading; one that lacks its reader fails with the reason."""
    assert parse_speed.run_script(sys.executable, "print('loud', 1.5, 0.5, 7)", ()) == (1.5, 0.5, 7)
    with pytest.raises(subprocess.CalledProcessError) as failed:
        parse_speed.run_script(sys.executable, parse_speed.NAPKINXC, ("rows.txt",))
    assert "napkinxc" in failed.value.stderr


@pytest.mark.slow
def test_the_command_writes_speeds_and_a_picture(source, tmp_path):
    """One command measures the readers that are there and writes JSON and picture."""
    command = [sys.executable, parse_speed.__file__, str(source), "--quick", "--results", str(tmp_path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Omikuji load_data_set: left out" in printed
    readers = {r["reader"]: r for r in json.loads((tmp_path / "parse_speed.json").read_text())["readers"]}
    assert {"distlsh, parsing", "distlsh, gzip to store", "scikit-learn load_svmlight_file"} <= set(readers)
    assert all(reader["rows_per_s"] > 0 for reader in readers.values())
    assert (tmp_path / "parse_speed.svg").exists()
