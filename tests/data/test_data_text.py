"""Reading sparse text: against NumPy and scikit-learn, and malformed lines one by one."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distlsh.data import open_dataset, streams
from distlsh.data.text import TextReader, looks_like_svmlight, parse_header
from distlsh.errors import DataError

N_FEATURES, N_LABELS = 50, 9


def read(path: Path, file_format: str = "auto", unit: bool = False):
    """Return (labels of each row, features of each row as dicts, reader)."""
    reader = TextReader(path, file_format=file_format, unit=unit)
    labels, features = [], []
    for block in reader.blocks():
        ends = np.cumsum(block.label_sizes)
        labels += [part.tolist() for part in np.split(block.labels, ends)[:-1]]
        ends = np.cumsum(block.feature_sizes)
        for ids, values in zip(
            np.split(block.indices, ends)[:-1], np.split(block.values, ends)[:-1], strict=True
        ):
            features.append(dict(zip(ids.tolist(), values.tolist(), strict=True)))
    return labels, features, reader


def write(tmp_path: Path, text: str | bytes, name: str = "data.txt") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
ROWS = st.lists(
    st.tuples(
        st.sets(st.integers(0, N_LABELS - 1), max_size=4),
        st.dictionaries(st.integers(0, N_FEATURES - 1), FINITE, max_size=6),
    ),
    max_size=12,
)
NUMBER_STYLES = st.sampled_from(["{!r}", "{:.9e}", "{:+.12g}", "{:.40f}"])


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("text") / "data.txt"


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, style=NUMBER_STYLES, crlf=st.booleans(), tabs=st.booleans(), block=st.integers(1, 200))
def test_any_rows_written_as_xc_text_are_read_back(scratch, rows, style, crlf, tabs, block):
    """Labels, ids and float32 values come back, whatever the number format, line end and block size."""
    lines = [f"{len(rows)} {N_FEATURES} {N_LABELS}"]
    for labels, features in rows:
        pairs = [f"{i}:{style.format(v)}" for i, v in sorted(features.items())]
        lines.append(("\t" if tabs else " ").join([",".join(map(str, sorted(labels))), *pairs]))
    end = "\r\n" if crlf else "\n"
    scratch.write_bytes((end.join(lines) + end).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams.text_blocks, "__defaults__", (block,))
        found_labels, found_features, reader = read(scratch)
    assert found_labels == [sorted(labels) for labels, _ in rows]
    for (_, features), found in zip(rows, found_features, strict=True):
        assert found.keys() == features.keys()
        for i, value in features.items():
            assert found[i] == np.float32(float(style.format(value)))
    assert (reader.n_rows, reader.n_features, reader.n_labels) == (len(rows), N_FEATURES, N_LABELS)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS.filter(len))
def test_svmlight_equals_scikit_learn(scratch, rows):
    """Multi-label svmlight text is read as scikit-learn reads it, with ids kept as they stand."""
    from sklearn.datasets import load_svmlight_file

    lines = ["# made by a test"]
    for n, (labels, features) in enumerate(rows):
        pairs = " ".join(f"{i}:{v!r}" for i, v in sorted(features.items()))
        lines.append(f"{','.join(map(str, sorted(labels)))} qid:{n} {pairs} # row {n}")
    scratch.write_text("\n".join(lines) + "\n")
    matrix, sk_labels = load_svmlight_file(
        str(scratch), n_features=N_FEATURES, multilabel=True, zero_based=True
    )
    found_labels, found_features, _ = read(scratch, "svmlight")
    assert found_labels == [sorted(int(x) for x in row) for row in sk_labels]
    for row, found in enumerate(found_features):
        start, stop = matrix.indptr[row : row + 2]
        expected = dict(
            zip(
                matrix.indices[start:stop].tolist(),
                matrix.data[start:stop].astype("f4").tolist(),
                strict=True,
            )
        )
        assert found == expected


@settings(max_examples=150, deadline=None)
@given(
    text=st.from_regex(
        r"[+-]?([0-9]{1,25}(\.[0-9]{0,25})?|\.[0-9]{1,25})([eE][+-]?[0-9]{1,2})?", fullmatch=True
    )
)
def test_any_decimal_number_is_read_to_the_nearest_float32(scratch, text):
    """Numbers of any length and exponent equal Python's to one float32 step, or are refused as too large."""
    scratch.write_text(f"1 1 1\n0 0:{text}\n")
    expected = np.float64(text)
    with np.errstate(over="ignore"):
        too_large = np.isinf(np.float32(expected))
    if too_large:
        with pytest.raises(DataError, match="too large for float32"):
            read(scratch)
        return
    value = np.float32(read(scratch)[1][0][0])
    assert abs(value - np.float32(expected)) <= np.spacing(np.abs(np.float32(expected)))


HEADER = "2 10 5\n"
MALFORMED = [
    ("label is a word", HEADER + "x 1:1\n0 1:1\n", 2, "'x' is not a label"),
    ("label with rubbish", HEADER + "0 1:1\n1;2 1:1\n", 3, "'1;2' is not a label"),
    ("label fraction", HEADER + "0.5 1:1\n0 1:1\n", 2, "is not a label"),
    ("negative label", HEADER + "-1 1:1\n0 1:1\n", 2, "'-1' is negative"),
    ("label out of range", HEADER + "0 1:1\n5 1:1\n", 3, "'5' is out of range; the header allows 0 to 4"),
    ("huge label", HEADER + "0 1:1\n99999999999999999999 1:1\n", 3, "out of range"),
    ("comma at the end", HEADER + "0, 1:1\n0 1:1\n", 2, "missing after a comma"),
    ("two commas", HEADER + "0,,1 1:1\n0 1:1\n", 2, "missing after a comma"),
    ("feature is a word", HEADER + "0 a:1\n0 1:1\n", 2, "'a:1' is not `feature:value`"),
    ("no feature before the colon", HEADER + "0 :1\n0 1:1\n", 2, "':1' is not"),
    ("negative feature", HEADER + "0 -3:1\n0 1:1\n", 2, "'-3:1' is negative"),
    (
        "feature out of range",
        HEADER + "0 1:1\n0 2:1 10:1\n",
        3,
        "'10:1' is out of range; the header allows 0 to 9",
    ),
    ("no colon", HEADER + "0 1:1 7\n0 1:1\n", 2, "'7' has no colon"),
    ("no colon before a feature", HEADER + "0 7 1:1\n0 1:1\n", 2, "'7' has no colon"),
    ("label after a space", HEADER + " 3 1:1\n0 1:1\n", 2, "'3' has no colon"),
    ("space after the colon", HEADER + "0 1: 1\n0 1:1\n", 2, "'1:' is not a number"),
    ("value is a word", HEADER + "0 1:1\n0 1:1 2:x\n", 3, "'2:x' is not a number"),
    ("value with rubbish", HEADER + "0 1:1.5.2\n0 1:1\n", 2, "'1:1.5.2' is not a number"),
    ("value is a sign", HEADER + "0 1:-\n0 1:1\n", 2, "not a number"),
    ("exponent without digits", HEADER + "0 1:1e\n0 1:1\n", 2, "not a number"),
    ("NaN", HEADER + "0 1:nan\n0 1:1\n", 2, "not finite"),
    ("infinity", HEADER + "0 1:1\n0 1:-Inf\n", 3, "not finite"),
    ("too large", HEADER + "0 1:1e39\n0 1:1\n", 2, "too large for float32"),
    ("far too large", HEADER + "0 1:1e999\n0 1:1\n", 2, "too large for float32"),
    ("comment in xc", HEADER + "0 1:1 # note\n0 1:1\n", 2, "'#' is not"),
    ("lone carriage return", HEADER + "0 1:1\r2:1\n0 1:1\n", 2, "is not"),
    ("fewer rows", HEADER + "0 1:1\n", 2, "the header says 2 instances, the file ends after 1"),
    ("more rows", HEADER + "0 1:1\n0 1:1\n1 1:1\n", 4, "one row more than the 2 instances"),
    ("not text", b"\x7fELF\x02\x01\n", 1, "neither the header"),
    ("two numbers for a header", "2 10\n0 1:1\n", 1, "neither the header"),
    ("no text at all", "header\n", 1, "neither the header"),
    ("header with too many labels", f"1 10 {2**31}\n0 1:1\n", 1, "at most"),
]


@pytest.mark.parametrize(("text", "line", "what"), [m[1:] for m in MALFORMED], ids=[m[0] for m in MALFORMED])
def test_a_malformed_line_is_named_by_number_and_content(tmp_path, text, line, what):
    """Every kind of malformed line raises DataError with file, line number and what was found."""
    path = write(tmp_path, text)
    with pytest.raises(DataError) as caught:
        read(path)
    assert caught.value.line == line
    assert str(caught.value).startswith(f"{path}, line {line}: ")
    assert what in str(caught.value)


MALFORMED_SVMLIGHT = [
    ("fraction", "0.5 1:1\n", 1, "'0.5' is not a whole number"),
    ("negative", "1 1:1\n-2 1:1\n", 2, "'-2' is negative"),
    ("minus one among others", "3 1:1\n1 2:1\n-1 1:1\n", 3, "label -1 beside other labels than +1 (line 1)"),
    ("zero and minus one", "-1 1:1\n\n0 1:1\n", 1, "label -1 beside"),
    ("query without number", "1 qid:x 1:1\n", 1, "'qid:x' is not a number"),
    ("value", "# c\n\n1 1:1 3:one\n", 3, "'3:one'"),
    ("huge id", "1 2147483647:1\n", 1, "out of range"),
    ("header asked for", "1 1:1\n", 1, "expected the header"),
]


@pytest.mark.parametrize(
    ("text", "line", "what"), [m[1:] for m in MALFORMED_SVMLIGHT], ids=[m[0] for m in MALFORMED_SVMLIGHT]
)
def test_a_malformed_svmlight_line_is_named(tmp_path, text, line, what):
    """Line numbers count comments and blank lines too."""
    path = write(tmp_path, text)
    with pytest.raises(DataError) as caught:
        read(path, "xc" if "header" in what else "svmlight")
    assert caught.value.line == line
    assert what in str(caught.value)


def test_line_numbers_go_on_across_blocks(tmp_path, monkeypatch):
    """An error far behind the first block names the line of the file, not of the block."""
    rows = ["0 1:1"] * 1000
    rows[777] = "0 1:oops"
    path = write(tmp_path, "1000 10 5\n" + "\n".join(rows) + "\n")
    monkeypatch.setattr(streams.text_blocks, "__defaults__", (64,))
    with pytest.raises(DataError) as caught:
        read(path)
    assert caught.value.line == 779


def test_rows_without_labels_or_features_are_kept(tmp_path):
    """Rows may begin with a space or a feature, have labels only, or be blank up to the header's count."""
    text = "7 10 5\n 1:1\n2:1 3:1\n4\n4,1\n\n  \n0 1:1\n\n\n"
    labels, features, _ = read(write(tmp_path, text))
    assert labels == [[], [], [4], [1, 4], [], [], [0]]
    assert features == [{1: 1.0}, {2: 1.0, 3: 1.0}, {}, {}, {}, {}, {1: 1.0}]


def test_the_last_line_needs_no_newline(tmp_path):
    """A text that ends without a newline loses nothing."""
    assert read(write(tmp_path, "2 10 5\n0 1:1\n1 2:2.5"))[1] == [{1: 1.0}, {2: 2.5}]


def test_a_byte_order_mark_is_skipped(tmp_path):
    """Text saved with a UTF-8 byte-order mark is read."""
    assert read(write(tmp_path, b"\xef\xbb\xbf1 10 5\n0 1:1\n"))[0] == [[0]]


def test_unsorted_and_repeated_ids_are_put_in_order(tmp_path):
    """Features are sorted and repeated ones added up; labels sorted and repeated ones dropped."""
    labels, features, _ = read(write(tmp_path, "2 10 5\n3,1,3 7:1 2:0.5 7:2 0:1\n0 1:1 1:1\n"))
    assert labels == [[1, 3], [0]]
    assert features == [{0: 1.0, 2: 0.5, 7: 3.0}, {1: 2.0}]
    assert list(features[0]) == [0, 2, 7]


def test_blanks_after_commas_and_several_blanks_are_accepted(tmp_path):
    """`545, 32 8:1` (WikiLSHTC as published on Kaggle) is two labels and a feature."""
    labels, features, _ = read(write(tmp_path, "1 10 600\n545, 32  8:1\t 9:2 \n"))
    assert (labels, features) == ([[32, 545]], [{8: 1.0, 9: 2.0}])


def test_two_class_svmlight_labels_are_mapped(tmp_path):
    """-1 becomes label 0 and +1 label 1; comments and blank lines are no rows."""
    text = "# two classes\n+1 1:1\n-1 2:1 # a comment\n\n1 3:1\n-1\n"
    labels, _, reader = read(write(tmp_path, text))
    assert labels == [[1], [0], [1], [0]]
    assert (reader.file_format, reader.n_rows, reader.n_labels, reader.n_features) == ("svmlight", 4, 2, 4)


def test_svmlight_ids_are_kept_as_they_stand(tmp_path):
    """A file that counts from 1 keeps its ids, has an unused id 0, and says where its ids start."""
    labels, features, reader = read(write(tmp_path, "1.0,3 1:1 4:1\n2 2:1\n"))
    assert labels == [[1, 3], [2]]
    assert features == [{1: 1.0, 4: 1.0}, {2: 1.0}]
    assert (reader.n_features, reader.n_labels, reader.first_feature) == (5, 4, 1)


def test_rows_can_be_scaled_to_unit_norm(tmp_path):
    """With `unit` each row has Euclidean norm 1, and rows of zeros stay as they are."""
    _, features, _ = read(write(tmp_path, "3 10 5\n0 1:3 2:4\n0 1:0\n0\n"), unit=True)
    assert features[0] == pytest.approx({1: 0.6, 2: 0.8})
    assert features[1:] == [{1: 0.0}, {}]


def compress(kind: str, data: bytes) -> bytes:
    if kind == "zstd":
        zstandard = pytest.importorskip("zstandard", reason="the zstd extra is not installed")
        return zstandard.ZstdCompressor().compress(data)
    return {"gzip": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "plain": bytes}[kind](data)


KINDS = ["plain", "gzip", "bz2", "xz", "zstd"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_compression_is_known_by_its_content(tmp_path, kind):
    """The name says nothing: each compression, also of several parts, is told by its first bytes."""
    rows = [f"{i % 5} {i % 10}:{i / 8}\n" for i in range(5000)]
    head, tail = b"5000 10 5\n" + "".join(rows[:2000]).encode(), "".join(rows[2000:]).encode()
    data = head + tail if kind == "plain" else compress(kind, head) + compress(kind, tail)
    labels, features, reader = read(write(tmp_path, data, "misleading.gz"))
    assert labels == [[i % 5] for i in range(5000)]
    assert features[4321] == {1: 4321 / 8}
    assert reader.text_bytes == len(head + tail)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_truncated_file_is_named(tmp_path, kind):
    """Compressed text that ends early is an error that says so, not a smaller data set."""
    rng = np.random.default_rng(1)
    text = b"".join(b"%d %d:%.7f\n" % (i % 5, i % 10, x) for i, x in enumerate(rng.random(20_000)))
    data = compress(kind, text)
    with pytest.raises(DataError, match="ends early, after"):
        read(write(tmp_path, data[: len(data) * 2 // 3]), "svmlight")


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_damaged_file_is_named(tmp_path, kind):
    """Compressed text with wrong bytes inside is an error that says so."""
    rng = np.random.default_rng(1)
    text = b"".join(b"%d %d:%.7f\n" % (i % 5, i % 10, x) for i, x in enumerate(rng.random(20_000)))
    data = bytearray(compress(kind, text))
    data[len(data) // 2 : len(data) // 2 + 400] = bytes(400)
    with pytest.raises(DataError):
        read(write(tmp_path, bytes(data)), "svmlight")


def test_missing_empty_and_folder_paths_are_named(tmp_path):
    """A missing file, an empty one, a folder and an empty archive each say what is wrong."""
    with pytest.raises(DataError, match="no such file"):
        open_dataset(tmp_path / "nothing.txt")
    with pytest.raises(DataError, match="the file is empty"):
        open_dataset(write(tmp_path, b""))
    with pytest.raises(DataError, match="is a folder"):
        open_dataset(tmp_path)
    with pytest.raises(DataError, match="no text"):
        open_dataset(write(tmp_path, gzip.compress(b"")))
    with pytest.raises(DataError, match="no instance"):
        open_dataset(write(tmp_path, b"# only a comment\n"))


def test_a_line_longer_than_a_block_is_read(tmp_path, monkeypatch):
    """Blocks grow to hold a line, whatever its length."""
    monkeypatch.setattr(streams.text_blocks, "__defaults__", (100,))
    pairs = " ".join(f"{i}:1" for i in range(5000))
    assert len(read(write(tmp_path, f"1 5000 1\n0 {pairs}\n"))[1][0]) == 5000


def test_an_endless_line_is_refused(tmp_path, monkeypatch):
    """A file without line ends is not collected in memory without limit."""
    monkeypatch.setattr(streams, "LINE_LIMIT", 1000)
    monkeypatch.setattr(streams.text_blocks, "__defaults__", (100,))
    with pytest.raises(DataError, match="a line is longer than 1,000 bytes"):
        read(write(tmp_path, "0 " * 5000))


def test_the_reading_thread_ends_with_the_reader(tmp_path, monkeypatch):
    """A reader that is dropped in the middle leaves no thread behind."""
    import threading

    monkeypatch.setattr(streams.text_blocks, "__defaults__", (10,))
    blocks = TextReader(write(tmp_path, "500 10 5\n" + "0 1:1\n" * 500)).blocks()
    next(blocks)
    blocks.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "distlsh-read"]


def test_progress_ends_at_the_size_of_the_file(tmp_path):
    """Progress counts bytes of the file as it lies on the disk."""
    path = write(tmp_path, gzip.compress(b"500 10 5\n" + b"0 1:1\n" * 500))
    calls: list[tuple[int, int]] = []
    list(TextReader(path, progress=lambda done, total: calls.append((done, total))).blocks())
    assert calls[-1] == (path.stat().st_size, path.stat().st_size)


def test_headers_and_first_lines_are_told_apart():
    """Three whole numbers are a header; label and pairs, or pairs alone, a row of svmlight."""
    assert parse_header(b"3 4 5\r\n") is not None
    assert parse_header(b"3 4 5 6\n") is None
    assert parse_header(b"3 -4 5\n") is None
    assert looks_like_svmlight(b"1,2 3:4\n")
    assert looks_like_svmlight(b" 3:4\n")
    assert looks_like_svmlight(b"# comment\n")
    assert not looks_like_svmlight(b"some words\n")


def test_zstd_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    """Without the zstandard package the message names it."""
    import builtins

    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "zstandard":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DataError, match="install the package `zstandard`"):
        read(write(tmp_path, b"\x28\xb5\x2f\xfd" + bytes(20)))


def test_written_blocks_are_read_back(tmp_path):
    """`write_xc` and the reader are each other's inverse, in every compression it writes."""
    from distlsh.data.block import RowBlock
    from distlsh.data.text import Header
    from distlsh.data.writing import write_xc

    block = RowBlock(
        np.array([2, 0, 1], "i4"),
        np.array([1, 2, 0], "i4"),
        np.array([1, 3, 0], "i4"),
        np.array([9, 0, 4], "i4"),
        np.array([0.25, -12345.5, 3.0], "f4"),
    )
    for suffix in ("", ".gz", ".bz2", ".xz", ".zst"):
        path = tmp_path / f"out.txt{suffix}"
        write_xc(path, Header(3, 10, 5), [block], decimals=2)
        labels, features, _ = read(path)
        assert labels == [[1, 3], [], [0]]
        assert features == [{9: 0.25}, {0: -12345.5, 4: 3.0}, {}]
    assert gzip.decompress((tmp_path / "out.txt.gz").read_bytes()).startswith(b"3 10 5\n")
    assert not list(tmp_path.glob(".*"))


def test_a_failed_write_leaves_nothing(tmp_path):
    """When the blocks fail in the middle, no file appears under the name."""
    from distlsh.data.text import Header
    from distlsh.data.writing import write_xc

    def blocks():
        raise ValueError("stop")
        yield

    with pytest.raises(ValueError, match="stop"):
        write_xc(tmp_path / "out.txt", Header(1, 1, 1), blocks())
    assert not list(tmp_path.iterdir())


def test_raw_stream_reads_in_small_steps(tmp_path):
    """The zstd stream gives the same bytes whatever the size of the reads."""
    zstandard = pytest.importorskip("zstandard", reason="the zstd extra is not installed")
    data = np.random.default_rng(0).bytes(300_000)
    stream = io.BufferedReader(streams._ZstdReader(io.BytesIO(zstandard.ZstdCompressor().compress(data))))
    found = b""
    while part := stream.read(70_001):
        found += part
    assert found == data
