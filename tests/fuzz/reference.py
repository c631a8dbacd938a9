"""The two text formats read character by character in plain Python: slow, and simple enough to be right."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from distlsh.data.text import looks_like_svmlight, parse_header

_BOM = b"\xef\xbb\xbf"
_LABEL = re.compile(rb"([+-]?)(\d+)")
_DECIMAL = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_FEATURE = re.compile(rb"(\d+):")
_QUERY = re.compile(rb"q[iI][dD]:(\d+)")
_LIMIT = float(np.finfo(np.float32).max) * (1 + 2**-25)
_MAX = 2**31 - 1


class BadText(Exception):
    """The text is not of the format."""


class Unsure(Exception):
    """A number is so near to what float32 holds that rounding decides: either answer is right."""


@dataclass
class Row:
    """One instance: labels ascending, features ascending with their values."""

    labels: list[int]
    features: dict[int, np.float32]


class _Line:
    """One line and its place, read from left to right; ``rest`` is what follows the place."""

    def __init__(self, text: bytes, svmlight: bool) -> None:
        self.text, self.at, self.svmlight = text, 0, svmlight

    @property
    def ends(self) -> bool:
        c = self.text[self.at : self.at + 1]
        return c in (b" ", b"\t", b"\r", b"\n") or (c == b"#" and self.svmlight)

    def skip(self) -> None:
        while self.text[self.at : self.at + 1] in (b" ", b"\t"):
            self.at += 1

    def match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        return pattern.match(self.text, self.at)

    def next(self) -> bytes:
        return self.text[self.at : self.at + 1]


class Reference:
    """Reads a whole text; `rows`, ``n_features`` and ``n_labels`` hold what it says."""

    def __init__(self, text: bytes) -> None:
        if not text:
            raise BadText
        text = text if text.endswith(b"\n") else text + b"\n"
        text = text.removeprefix(_BOM)
        first, rest = text.split(b"\n", 1)
        header = parse_header(first + b"\n")
        self.svmlight = header is None
        self.rows: list[Row] = []
        self.n_features = self.n_labels = _MAX
        self._minus = self._other = False
        if header is None:
            if not looks_like_svmlight(first + b"\n"):
                raise BadText
            rest = text
        else:
            self.n_features, self.n_labels = header.n_features, header.n_labels
            if max(self.n_features, self.n_labels) > _MAX:
                raise BadText
        self._wanted = None if header is None else header.n_rows
        for line in rest.split(b"\n")[:-1]:
            self._row(_Line(line + b"\n", self.svmlight))
        self._finish()

    def _finish(self) -> None:
        if self.svmlight:
            if not self.rows or (self._minus and self._other):
                raise BadText
            self.n_features = max((max(r.features, default=-1) for r in self.rows), default=-1) + 1
            self.n_labels = max((max(r.labels, default=-1) for r in self.rows), default=-1) + 1
        elif len(self.rows) != self._wanted:
            raise BadText

    def _row(self, line: _Line) -> None:
        labels: list[int] = []
        if not line.ends:
            self._labels(line, labels)
        pairs: list[tuple[int, np.float32]] = []
        query = False
        while not self._at_end(line):
            if self.svmlight and (found := line.match(_QUERY)):
                line.at, query = found.end(), True
                continue
            pairs.append(self._pair(line))
        if not pairs and not labels and not query and (self.svmlight or len(self.rows) >= self._wanted):
            return
        if not self.svmlight and len(self.rows) >= self._wanted:
            raise BadText
        self.rows.append(Row(sorted(set(labels)), _summed(pairs)))

    def _at_end(self, line: _Line) -> bool:
        line.skip()
        return line.text[line.at :] in (b"\n", b"\r\n") or (line.svmlight and line.next() == b"#")

    def _labels(self, line: _Line, labels: list[int]) -> None:
        while True:
            found = line.match(_LABEL)
            if found is None:
                raise BadText
            minus, value = found[1] == b"-", _whole(found[2])
            after = line.text[found.end() : found.end() + 1]
            if after == b":":
                if labels:
                    raise BadText
                return
            line.at = found.end()
            if self.svmlight and after == b".":
                line.at += 1
                while line.next() == b"0":
                    line.at += 1
                if line.next().isdigit():
                    raise BadText
            labels.append(self._label(minus, value))
            if line.next() != b",":
                break
            line.at += 1
            line.skip()
        if not line.ends:
            raise BadText

    def _label(self, minus: bool, value: int) -> int:
        if minus and value > 0:
            if not self.svmlight or value != 1:
                raise BadText
            self._minus = True
            value = 0
        elif value != 1:
            self._other = True
        if value >= self.n_labels:
            raise BadText
        return value

    def _pair(self, line: _Line) -> tuple[int, np.float32]:
        found = line.match(_FEATURE)
        if found is None:
            raise BadText
        feature = _whole(found[1])
        if feature >= self.n_features:
            raise BadText
        line.at = found.end()
        number = line.match(_DECIMAL)
        if number is None:
            raise BadText
        line.at = number.end()
        if not line.ends:
            raise BadText
        value = abs(float(number[0]))
        if abs(value / _LIMIT - 1) < 1e-12:
            raise Unsure
        if value >= _LIMIT:
            raise BadText
        return feature, np.float32(float(number[0]))


def _whole(digits: bytes) -> int:
    digits = digits.lstrip(b"0")
    return int(digits or b"0") if len(digits) < 20 else _MAX  # no id is that large


def _summed(pairs: list[tuple[int, np.float32]]) -> dict[int, np.float32]:
    """Return the sums of each feature, made in double precision."""
    sums: dict[int, float] = {}
    sizes: dict[int, float] = {}
    for feature, value in pairs:
        sums[feature] = sums.get(feature, 0.0) + float(value)
        sizes[feature] = sizes.get(feature, 0.0) + abs(float(value))
    if any(abs(total) >= _LIMIT for total in sums.values()):
        raise BadText
    if any(size >= _LIMIT for size in sizes.values()):
        raise Unsure  # the order decides whether a sum on the way is too large
    return {feature: np.float32(value) for feature, value in sums.items()}
