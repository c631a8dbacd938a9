"""Text of sparse instances to arrays.

One pass over a block of whole lines; the caller's arrays are large enough for any
block of that length (`capacities`), so nothing is checked or grown inside.
"""

from __future__ import annotations

from distlsh.kernels._jit import device_function, kernel
from distlsh.kernels._types import F4_1, F8_1R, I4_1, I4_1R, I8_1, U1_1R, f8, i8, void
from distlsh.kernels.sorting import sort_ids

# Places of the kernel's ``state``.
ROWS, LABELS, FEATURES, LINES = 0, 1, 2, 3
ERROR, ERROR_AT = 4, 5
MAX_LABEL, MAX_FEATURE, MIN_FEATURE = 6, 7, 8
MINUS_LINE, OTHER_LINE = 9, 10
N_STATE = 11

# Values of ``state[ERROR]``.
OK = 0
BAD_LABEL, NEGATIVE_LABEL, LABEL_RANGE, FRACTION_LABEL = 1, 2, 3, 4
BAD_ID, NEGATIVE_ID, ID_RANGE = 5, 6, 7
NO_COLON, BAD_VALUE, NOT_FINITE = 8, 9, 10
SURPLUS_ROW, NO_LABEL_AFTER_COMMA, SUM_NOT_FINITE = 11, 12, 13

XC, SVMLIGHT = 0, 1
MAX_ID = 2**31 - 2
_FEW = 64
"""Entries of a row that are put in order by insertion; of many that would take their number squared."""

_FLOAT_LIMIT = 3.4028235677973366e38  # half a step above the largest float32: rounds to infinity
_MANTISSA_LIMIT = 922337203685477579  # one more digit still fits int64

_NEWLINE, _RETURN, _SPACE, _TAB = 10, 13, 32, 9
_HASH, _PLUS, _COMMA, _MINUS, _DOT, _ZERO, _COLON = 35, 43, 44, 45, 46, 48, 58


def capacities(n_bytes: int) -> tuple[int, int, int]:
    """Return the most rows, labels and features that ``n_bytes`` of text can hold."""
    return n_bytes + 1, n_bytes // 2 + 1, n_bytes // 4 + 1


@device_function
def _read_id(buf, i):  # type: ignore[no-untyped-def]
    """Return the digits at ``i`` as an int64 (MAX_ID + 1 if larger, -1 if none) and where they end."""
    value = i8(-1)
    c = i8(buf[i]) - _ZERO
    if 0 <= c <= 9:
        value = c
        i += 1
        c = i8(buf[i]) - _ZERO
        while 0 <= c <= 9:
            value = min(value * 10 + c, i8(MAX_ID + 1))
            i += 1
            c = i8(buf[i]) - _ZERO
    return value, i


@device_function
def _read_decimal(buf, i):  # type: ignore[no-untyped-def]
    """Return (mantissa, decimal exponent, negative, end) of the number at ``i``; end == i if there is none.

    At most 18 or 19 significant digits are kept; further ones only move the exponent.
    """
    start = i
    negative = buf[i] == _MINUS
    if negative or buf[i] == _PLUS:
        i += 1
    mantissa = i8(0)
    exponent = i8(0)
    n_digits = i8(0)
    c = i8(buf[i]) - _ZERO
    while 0 <= c <= 9:
        if mantissa < _MANTISSA_LIMIT:
            mantissa = mantissa * 10 + c
        else:
            exponent += 1
        n_digits += 1
        i += 1
        c = i8(buf[i]) - _ZERO
    if buf[i] == _DOT:
        i += 1
        c = i8(buf[i]) - _ZERO
        while 0 <= c <= 9:
            if mantissa < _MANTISSA_LIMIT:
                mantissa = mantissa * 10 + c
                exponent -= 1
            n_digits += 1
            i += 1
            c = i8(buf[i]) - _ZERO
    if n_digits == 0:
        return mantissa, exponent, negative, start
    if buf[i] == 101 or buf[i] == 69:  # e, E
        j = i + 1
        minus = buf[j] == _MINUS
        if minus or buf[j] == _PLUS:
            j += 1
        value, end = _read_id(buf, j)
        if value < 0:
            return mantissa, exponent, negative, start
        value = min(value, i8(100000))
        exponent += -value if minus else value
        i = end
    return mantissa, exponent, negative, i


@device_function
def _at_word(buf, i, a, b, c):  # type: ignore[no-untyped-def]
    """Return whether the lower-case letters a, b, c stand at ``i``, in either case."""
    return (buf[i] | 32) == a and (buf[i + 1] | 32) == b and (buf[i + 2] | 32) == c


@device_function
def _sort_many(ids, values, with_values, start, stop):  # type: ignore[no-untyped-def]
    """Sort places [start, stop) by id in n log n steps, whatever the order (Williams 1964, heapsort)."""
    n = stop - start
    first = n >> 1
    while n > 1:
        if first > 0:
            first -= 1
        else:
            n -= 1
            ids[start], ids[start + n] = ids[start + n], ids[start]
            if with_values:
                values[start], values[start + n] = values[start + n], values[start]
        parent = first
        while 2 * parent + 1 < n:
            child = 2 * parent + 1
            if child + 1 < n and ids[start + child] < ids[start + child + 1]:
                child += 1
            if ids[start + parent] >= ids[start + child]:
                break
            ids[start + parent], ids[start + child] = ids[start + child], ids[start + parent]
            if with_values:
                values[start + parent], values[start + child] = values[start + child], values[start + parent]
            parent = child


@device_function
def _sort_pairs(ids, values, start, stop):  # type: ignore[no-untyped-def]
    """Sort places [start, stop) of both arrays by id; of few, equal ids keep their order."""
    if stop - start > _FEW:
        _sort_many(ids, values, True, start, stop)
        return
    for i in range(start + 1, stop):
        key = ids[i]
        if ids[i - 1] <= key:
            continue
        value = values[i]
        low, high = start, i
        while low < high:
            middle = (low + high) >> 1
            if ids[middle] <= key:
                low = middle + 1
            else:
                high = middle
        for j in range(i, low, -1):
            ids[j] = ids[j - 1]
            values[j] = values[j - 1]
        ids[low] = key
        values[low] = value


@device_function
def _sum_duplicates(ids, values, start, stop):  # type: ignore[no-untyped-def]
    """Add up values of equal ids in the sorted places [start, stop); return (new stop, all sums finite).

    In twice the precision, so that the sum of many does not depend on how they were sorted.
    """
    end = start
    finite = True
    total = f8(values[start])
    for i in range(start + 1, stop):
        if ids[i] == ids[end]:
            total += f8(values[i])
            values[end] = total
            finite = finite and abs(total) < _FLOAT_LIMIT
        else:
            end += 1
            ids[end] = ids[i]
            values[end] = values[i]
            total = f8(values[i])
    return end + 1, finite


@device_function
def _sort_distinct(ids, start, stop):  # type: ignore[no-untyped-def]
    """Sort places [start, stop) and drop repeats; return the new stop."""
    if stop - start > _FEW:
        _sort_many(ids, ids, False, start, stop)
    else:
        sort_ids(ids, start, stop)
    end = start
    for i in range(start + 1, stop):
        if ids[i] != ids[end]:
            end += 1
            ids[end] = ids[i]
    return end + 1


@device_function
def _scale_to_unit(values, start, stop):  # type: ignore[no-untyped-def]
    """Divide places [start, stop) by their Euclidean norm, unless it is 0."""
    total = 0.0
    for i in range(start, stop):
        total += f8(values[i]) * f8(values[i])
    if total > 0.0:
        inverse = 1.0 / total**0.5
        for i in range(start, stop):
            values[i] = values[i] * inverse


@device_function
def _fail(state, code, at):  # type: ignore[no-untyped-def]
    state[ERROR] = code
    state[ERROR_AT] = at


@device_function
def _is_blank(c):  # type: ignore[no-untyped-def]
    return c in (_SPACE, _TAB)


@device_function
def _ends_token(c, file_format):  # type: ignore[no-untyped-def]
    """Return whether a number may end before the character ``c``."""
    return c in (_SPACE, _NEWLINE, _RETURN, _TAB) or (c == _HASH and file_format == SVMLIGHT)


@device_function
def _read_labels(buf, i, file_format, n_labels, labels, n, state):  # type: ignore[no-untyped-def]
    """Read the label list at ``i`` into ``labels`` from place ``n``; return (end, new n).

    The first number of a row without labels is a feature: then nothing is read.
    """
    first = n
    while True:
        start = i
        minus = buf[i] == _MINUS
        if minus or buf[i] == _PLUS:
            i += 1
        value, i = _read_id(buf, i)
        if value < 0:
            _fail(state, NO_LABEL_AFTER_COMMA if n > first else BAD_LABEL, start)
            return i, n
        if buf[i] == _COLON:
            if n > first:
                _fail(state, NO_LABEL_AFTER_COMMA, start)
            return start, n
        if file_format == SVMLIGHT and buf[i] == _DOT:
            i += 1
            while buf[i] == _ZERO:
                i += 1
            if 0 <= i8(buf[i]) - _ZERO <= 9:
                _fail(state, FRACTION_LABEL, start)
                return i, n
        if minus and value > 0:
            if file_format != SVMLIGHT or value != 1:
                _fail(state, NEGATIVE_LABEL, start)
                return i, n
            value = i8(0)
            if state[MINUS_LINE] < 0:
                state[MINUS_LINE] = state[LINES]
        elif value != 1 and state[OTHER_LINE] < 0:
            state[OTHER_LINE] = state[LINES]
        if value >= n_labels:
            _fail(state, LABEL_RANGE, start)
            return i, n
        labels[n] = value
        n += 1
        state[MAX_LABEL] = max(state[MAX_LABEL], value)
        if buf[i] != _COMMA:
            break
        i += 1
        while _is_blank(buf[i]):
            i += 1
    if not _ends_token(buf[i], file_format):
        _fail(state, BAD_LABEL, start)
    return i, n


@kernel(
    void(U1_1R, i8, i8, i8, i8, i8, i8, i8, F8_1R, I4_1, I4_1, I4_1, I4_1, F4_1, I8_1),
    fastmath=False,  # a value divided by a power of ten must round as written
)
def parse_lines(  # type: ignore[no-untyped-def]
    buf,
    start,
    stop,
    file_format,
    rows_left,
    n_features,
    n_labels,
    unit,
    powers,
    label_sizes,
    feature_sizes,
    labels,
    indices,
    values,
    state,
):
    """Parse the whole lines ``buf[start:stop]``; stop at the first malformed one.

    buf            u1[>= stop], text; ``buf[stop - 1]`` is a newline
    file_format    XC or SVMLIGHT
    rows_left      rows the header still allows; blank lines count as rows up to it (XC)
    n_features, n_labels   ids must lie below
    unit           1: scale each row to Euclidean norm 1
    powers         f8[309], 10.0**i
    label_sizes, feature_sizes   i4[rows], entries of each row, written
    labels, indices              i4, ids in ascending order, written
    values                       f4, written; repeated features of a row are added up
    state          i8[N_STATE]; counts are set; MAX_*, MIN_FEATURE, LINES, *_LINE go on from the block before

    Values are exact where the text has up to 15 digits and 22 places, else within one part in 2**52
    before the rounding to float32.
    Concurrency: none shared.  Allocates: nothing.
    Cost: O(stop - start), and n log n of a row whose n entries are not in order.
    Unchecked: array sizes; `capacities` gives them.
    """
    i = start
    n_rows, n_lab, n_feat = i8(0), i8(0), i8(0)
    state[ERROR] = OK
    while i < stop:
        line_start = i
        row_lab, row_feat = n_lab, n_feat
        state[LINES] += 1
        if not _ends_token(buf[i], file_format):
            i, n_lab = _read_labels(buf, i, file_format, n_labels, labels, n_lab, state)
            if state[ERROR] != OK:
                break
        last = i8(-1)
        ascending = True
        has_query = False
        ended = False
        while not ended:
            while _is_blank(buf[i]):
                i += 1
            c = buf[i]
            if c == _NEWLINE:
                ended = True
                continue
            if c == _RETURN and buf[i + 1] == _NEWLINE:
                i += 1
                ended = True
                continue
            if file_format == SVMLIGHT:
                if c == _HASH:
                    while buf[i] != _NEWLINE:
                        i += 1
                    ended = True
                    continue
                if c == 113 and _at_word(buf, i, 113, 105, 100) and buf[i + 3] == _COLON:  # qid:
                    value_id, end = _read_id(buf, i + 4)
                    if value_id < 0:
                        _fail(state, BAD_VALUE, i)
                        break
                    i = end
                    has_query = True
                    continue
            token = i
            feature, i = _read_id(buf, i)
            if feature < 0:
                minus = c == _MINUS and 0 <= i8(buf[i + 1]) - _ZERO <= 9
                _fail(state, NEGATIVE_ID if minus else BAD_ID, token)
                break
            if buf[i] != _COLON:
                _fail(state, NO_COLON if _ends_token(buf[i], file_format) else BAD_ID, token)
                break
            if feature >= n_features:
                _fail(state, ID_RANGE, token)
                break
            i += 1
            mantissa, exponent, negative, end = _read_decimal(buf, i)
            if end == i or not _ends_token(buf[end], file_format):
                j = i + 1 if buf[i] == _MINUS or buf[i] == _PLUS else i
                wild = _at_word(buf, j, 110, 97, 110) or _at_word(buf, j, 105, 110, 102)
                _fail(state, NOT_FINITE if wild else BAD_VALUE, token)
                break
            i = end
            value = float(mantissa)
            if exponent < 0:
                if exponent < -308:
                    value /= powers[308]
                    exponent += 308
                value /= powers[min(-exponent, 308)]
            elif exponent > 0 and mantissa > 0:
                value = value * powers[exponent] if exponent <= 308 else 1e300
            if value >= _FLOAT_LIMIT:
                _fail(state, NOT_FINITE, token)
                break
            ascending = ascending and feature > last
            last = feature
            indices[n_feat] = feature
            values[n_feat] = -value if negative else value
            n_feat += 1
            state[MAX_FEATURE] = max(state[MAX_FEATURE], feature)
            state[MIN_FEATURE] = min(state[MIN_FEATURE], feature)
        if state[ERROR] != OK:
            break
        i += 1
        empty = n_feat == row_feat and n_lab == row_lab and not has_query
        if empty and (file_format == SVMLIGHT or n_rows >= rows_left):
            continue
        if n_rows >= rows_left:
            _fail(state, SURPLUS_ROW, line_start)
            break
        if n_lab > row_lab + 1:
            n_lab = _sort_distinct(labels, row_lab, n_lab)
        if not ascending:
            _sort_pairs(indices, values, row_feat, n_feat)
            n_feat, finite = _sum_duplicates(indices, values, row_feat, n_feat)
            if not finite:
                _fail(state, SUM_NOT_FINITE, line_start)
                break
        if unit:
            _scale_to_unit(values, row_feat, n_feat)
        label_sizes[n_rows] = n_lab - row_lab
        feature_sizes[n_rows] = n_feat - row_feat
        n_rows += 1
    state[ROWS], state[LABELS], state[FEATURES] = n_rows, n_lab, n_feat


@kernel(void(F4_1, I4_1R))
def scale_rows(values, sizes):  # type: ignore[no-untyped-def]
    """Scale each row of a block to Euclidean norm 1; rows of norm 0 stay.

    values  f4[sum(sizes)], in place
    sizes   i4[n_rows], entries of each row

    Concurrency: none shared.  Allocates: nothing.  Cost: O(sum(sizes)).  Unchecked: sizes.
    """
    start = i8(0)
    for row in range(sizes.shape[0]):
        stop = start + sizes[row]
        _scale_to_unit(values, start, stop)
        start = stop
