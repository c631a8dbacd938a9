"""Readers of the two sparse text formats.

Extreme Classification (``xc``): a header ``n_instances n_features n_labels``, then a
line per instance, ``l1,l2 f:v f:v``.  Rows without labels begin with a space or with
their first feature; rows without features, and blank lines up to the header's count,
are rows.

svmlight (``svmlight``): no header; ``# comments``, ``qid:n`` (ignored) and blank lines
(skipped).  Ids are kept as they stand, so a file that counts from 1 has an unused
feature 0 (and label 0): train and test files can then never be shifted differently.
Labels are whole numbers (``3``, ``+3``, ``3.0``); in files of two classes -1 becomes 0
and +1 becomes 1, any other negative or fractional label is an error.

In both, separators are spaces or tabs, line ends LF or CRLF, a UTF-8 byte-order mark is
skipped; features of a row are sorted and repeated ones added up, labels sorted and
repeated ones dropped.  Explicit zeros are kept.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distlsh.data.block import RowBlock
from distlsh.data.streams import ByteSource, Progress, text_blocks
from distlsh.errors import DataError

_BOM = b"\xef\xbb\xbf"
_NO_LIMIT = 1 << 62
_DIGITS = 18
"""Most digits of a number in a header: what fits 64 bits."""

_LOOKED_AT = 1 << 16
"""Bytes of a first line that tell the format; words of a long one would take far more memory than it."""

_MAX_ID = 2**31 - 2


@dataclass(frozen=True, slots=True)
class Header:
    """Sizes that the first line of an Extreme Classification file states."""

    n_rows: int
    n_features: int
    n_labels: int


def parse_header(line: bytes) -> Header | None:
    """Return the header in ``line``, or None if it is not three whole numbers."""
    words = line[:_LOOKED_AT].split(None, 3)
    if len(words) != 3 or not all(word.isdigit() and len(word) <= _DIGITS for word in words):
        return None
    return Header(*(int(word) for word in words))


def looks_like_svmlight(line: bytes) -> bool:
    """Return whether ``line`` can be a row, a comment or a blank line of svmlight."""
    if len(line) > _LOOKED_AT:
        line = line[:_LOOKED_AT].rpartition(b" ")[0]
    words = line.split(b"#", 1)[0].split()
    first_is_label = bool(words) and b":" not in words[0]
    pairs = words[1:] if first_is_label else words
    return (bool(pairs) or b"#" in line or not words) and all(b":" in word for word in pairs)


class TextReader:
    """Reads a text file once, block by block; sizes are known after the last block.

    Iterate over `blocks`.  ``n_rows``, ``n_features`` and ``n_labels`` hold then;
    ``text_bytes`` and ``parse_s`` (seconds in the parser alone, without decompression)
    tell the speed.
    """

    def __init__(
        self,
        path: Path,
        *,
        file_format: str = "auto",
        unit: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.path = path
        self.file_format = file_format
        self.n_rows = self.n_features = self.n_labels = 0
        self.first_feature = 0
        self.text_bytes = 0
        self.parse_s = 0.0
        self._unit = unit
        self._progress = progress

    def blocks(self) -> Iterator[RowBlock]:
        """Yield the rows; DataError with the line number at the first malformed one."""
        with ByteSource(self.path, self._progress) as source:
            parser: _BlockParser | None = None
            for text in text_blocks(source):
                start = 0
                if parser is None:
                    parser, start = self._begin(text)
                began = time.perf_counter()
                block = parser.parse(text, start)
                self.parse_s += time.perf_counter() - began
                yield block
            if parser is None:
                raise DataError(self.path, "the file holds no text")
            self.text_bytes = source.n_bytes
            self._finish(parser)

    def _begin(self, text: bytes) -> tuple[_BlockParser, int]:
        start = len(_BOM) if text.startswith(_BOM) else 0
        end = text.index(b"\n") + 1
        line = text[start:end]
        header = parse_header(line) if self.file_format != "svmlight" else None
        if header is None:
            self._require_svmlight(line)
            self.file_format = "svmlight"
            return _BlockParser(self.path, None, self._unit), start
        self._check_header(header)
        self.file_format = "xc"
        return _BlockParser(self.path, header, self._unit), end

    def _require_svmlight(self, line: bytes) -> None:
        found = _shorten(line)
        if self.file_format == "xc":
            raise DataError(
                self.path, f"expected the header `n_instances n_features n_labels`, found {found!r}", 1
            )
        if self.file_format == "auto" and not looks_like_svmlight(line):
            raise DataError(
                self.path,
                f"found {found!r}: neither the header `n_instances n_features n_labels` of the Extreme "
                "Classification format nor a row `label feature:value ...` of svmlight",
                1,
            )

    def _check_header(self, header: Header) -> None:
        for name, value in (("features", header.n_features), ("labels", header.n_labels)):
            if value > _MAX_ID + 1:
                raise DataError(self.path, f"the header says {value} {name}; at most {_MAX_ID + 1} fit", 1)

    def _finish(self, parser: _BlockParser) -> None:
        self.n_rows = parser.n_rows
        header = parser.header
        if header is not None:
            if self.n_rows < header.n_rows:
                raise DataError(
                    self.path,
                    f"the header says {header.n_rows} instances, the file ends after {self.n_rows}; "
                    "was it cut off?",
                    parser.line,
                )
            self.n_features, self.n_labels = header.n_features, header.n_labels
        else:
            if self.n_rows == 0:
                raise DataError(self.path, "the file holds no instance")
            self.n_features, self.n_labels = parser.max_feature + 1, parser.max_label + 1
        self.first_feature = parser.min_feature


class _BlockParser:
    """The kernel with its scratch, limits and what goes on from block to block."""

    def __init__(self, path: Path, header: Header | None, unit: bool) -> None:
        from distlsh.kernels import parse

        self._parse = parse
        self.path = path
        self.header = header
        self.n_rows = 0
        self._unit = int(unit)
        self._powers: NDArray[np.float64] = np.array([float(f"1e{i}") for i in range(309)])
        self._state = np.zeros(parse.N_STATE, np.int64)
        self._state[[parse.MAX_LABEL, parse.MAX_FEATURE, parse.MINUS_LINE, parse.OTHER_LINE]] = -1
        self._state[parse.MIN_FEATURE] = _NO_LIMIT
        self._state[parse.LINES] = 0 if header is None else 1
        self._scratch = self._allocate(0)

    def _allocate(self, n_bytes: int) -> tuple[NDArray[np.int32], ...]:
        self._scratch_bytes = n_bytes
        rows, labels, features = self._parse.capacities(n_bytes)
        return (
            np.empty(rows, np.int32),
            np.empty(rows, np.int32),
            np.empty(labels, np.int32),
            np.empty(features, np.int32),
        )

    def parse(self, text: bytes, start: int) -> RowBlock:
        p, state = self._parse, self._state
        if len(text) > self._scratch_bytes:
            self._scratch = self._allocate(len(text))
            self._values = np.empty(len(self._scratch[3]), np.float32)
        header = self.header or Header(_NO_LIMIT, _MAX_ID + 1, _MAX_ID + 1)
        p.parse_lines(
            np.frombuffer(text, np.uint8),
            start,
            len(text),
            p.SVMLIGHT if self.header is None else p.XC,
            header.n_rows - self.n_rows,
            header.n_features,
            header.n_labels,
            self._unit,
            self._powers,
            *self._scratch,
            self._values,
            state,
        )
        if state[p.ERROR] != p.OK:
            raise self._error(text)
        self._check_two_classes()
        rows, n_labels, n_features = int(state[p.ROWS]), int(state[p.LABELS]), int(state[p.FEATURES])
        self.n_rows += rows
        label_sizes, feature_sizes, labels, indices = self._scratch
        return RowBlock(
            label_sizes[:rows],
            feature_sizes[:rows],
            labels[:n_labels],
            indices[:n_features],
            self._values[:n_features],
        )

    def _check_two_classes(self) -> None:
        minus = int(self._state[self._parse.MINUS_LINE])
        other = int(self._state[self._parse.OTHER_LINE])
        if minus >= 0 and other >= 0:
            raise DataError(
                self.path,
                f"label -1 beside other labels than +1 (line {other}); labels count from 0, and -1 is only "
                "understood in files of the two classes -1 and +1",
                minus,
            )

    def _error(self, text: bytes) -> DataError:
        p = self._parse
        at = int(self._state[p.ERROR_AT])
        code = int(self._state[p.ERROR])
        token = _shorten(text[at : at + 80].split(b"\n")[0].split(b" ")[0].split(b"\t")[0])
        return DataError(self.path, self._describe(code, token), self.line)

    def _describe(self, code: int, token: str) -> str:
        p = self._parse
        header = self.header
        if code == p.SURPLUS_ROW:
            assert header is not None
            return f"one row more than the {header.n_rows} instances of the header"
        n_labels = header.n_labels if header else _MAX_ID + 1
        n_features = header.n_features if header else _MAX_ID + 1
        whose = "the header allows" if header else "ids fit in"
        return {
            p.BAD_LABEL: f"{token!r} is not a label: expected whole numbers with commas between them",
            p.NO_LABEL_AFTER_COMMA: f"a label is missing after a comma, found {token!r}",
            p.NEGATIVE_LABEL: f"label {token!r} is negative; labels count from 0",
            p.FRACTION_LABEL: f"label {token!r} is not a whole number",
            p.LABEL_RANGE: f"label {token!r} is out of range; {whose} 0 to {n_labels - 1}",
            p.BAD_ID: f"{token!r} is not `feature:value`",
            p.NEGATIVE_ID: f"feature id in {token!r} is negative; ids count from 0",
            p.ID_RANGE: f"feature id in {token!r} is out of range; {whose} 0 to {n_features - 1}",
            p.NO_COLON: f"{token!r} has no colon: expected `feature:value`",
            p.BAD_VALUE: f"the value in {token!r} is not a number",
            p.NOT_FINITE: f"the value in {token!r} is not finite, or too large for float32",
            p.SUM_NOT_FINITE: f"in the row that begins {token!r}, values of a repeated feature add up to "
            "more than float32 holds",
        }[code]

    @property
    def line(self) -> int:
        return int(self._state[self._parse.LINES])

    @property
    def max_label(self) -> int:
        return int(self._state[self._parse.MAX_LABEL])

    @property
    def max_feature(self) -> int:
        return int(self._state[self._parse.MAX_FEATURE])

    @property
    def min_feature(self) -> int:
        found = int(self._state[self._parse.MIN_FEATURE])
        return 0 if found == _NO_LIMIT else found


def _shorten(text: bytes, limit: int = 40) -> str:
    shown = text.strip(b"\r\n").decode("utf-8", "replace")
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
