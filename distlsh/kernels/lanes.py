"""Operations on lines of 16 samples, spelled out as vectors.

The hashes take 16 vectors at a time, transposed: line ``i`` of a scratch array
``f4[width, 16]`` holds coordinate ``i`` of each.  LLVM's loop vectoriser gives up on
a radix-16 butterfly, because it cannot prove that 16 streams of one array do not
overlap; so the loads, stores and arithmetic are written here as 16-lane vectors,
which LLVM splits where the machine has narrower ones.  All of it is exact or in a
fixed order: codes are the same on every machine, whatever the batch.

No bounds are checked: callers keep line numbers inside the arrays.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types

from distlsh.kernels._bounds import element
from distlsh.kernels._ir import (
    INT,
    KEYS,
    LANES,
    VALUES,
    keys_of,
    line_pointer,
    load_line,
    splat,
    store_line,
    store_lines,
)
from distlsh.kernels._jit import device_function, intrinsic

MAX_TOP = 8
"""Most keys that one pass over a block of lines keeps."""


def _shift_line(builder, first, step, times):  # type: ignore[no-untyped-def]
    return builder.add(first, builder.mul(step, ir.Constant(step.type, times)))


def butterfly_values(builder, values):  # type: ignore[no-untyped-def]
    """Return the Hadamard transform of a list of vectors, its length a power of two."""
    half = 1
    while half < len(values):
        for i in range(len(values)):
            if not i & half:
                low, high = values[i], values[i + half]
                values[i], values[i + half] = builder.fadd(low, high), builder.fsub(low, high)
        half *= 2
    return values


def _make_butterfly(radix):  # type: ignore[no-untyped-def]
    @intrinsic
    def butterfly(typingctx, lines, first, stride):  # type: ignore[no-untyped-def]
        """Transform, in place, the lines ``first, first + stride, ...`` of ``f4[n, 16]``."""
        del typingctx

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            array, at, step = args
            places = [_shift_line(builder, at, step, i) for i in range(radix)]
            values = [load_line(context, builder, signature.args[0], array, place) for place in places]
            for place, value in zip(places, butterfly_values(builder, values), strict=True):
                store_line(context, builder, signature.args[0], array, place, value)
            return context.get_dummy_value()

        return types.void(lines, types.int64, types.int64), codegen

    return butterfly


def _make_signed_butterfly(radix):  # type: ignore[no-untyped-def]
    @intrinsic
    def butterfly(typingctx, source, signs, target, row, first):  # type: ignore[no-untyped-def]
        """Transform adjacent lines of ``source``, each times its sign of ``signs[row]``, into ``target``."""
        del typingctx

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            from_, sign_array, into, number, at = args
            from_type, sign_type, into_type = signature.args[:3]
            sign_view = context.make_array(sign_type)(context, builder, sign_array)
            width = builder.extract_value(sign_view.shape, 1)
            start = builder.add(builder.mul(number, width), at)
            values = []
            for i in range(radix):
                step = ir.Constant(at.type, i)
                place = element(context, builder, sign_type, sign_array, builder.add(start, step))
                sign = builder.load(place)
                value = load_line(context, builder, from_type, from_, builder.add(at, step))
                values.append(builder.fmul(value, splat(builder, sign)))
            store_lines(context, builder, into_type, into, at, butterfly_values(builder, values))
            return context.get_dummy_value()

        return types.void(source, signs, target, types.int64, types.int64), codegen

    return butterfly


butterfly_8, butterfly_16 = _make_butterfly(8), _make_butterfly(16)
signed_butterfly_8, signed_butterfly_16 = _make_signed_butterfly(8), _make_signed_butterfly(16)


@intrinsic
def float_of(typingctx, bits):  # type: ignore[no-untyped-def]
    """Return the float32 whose bits are those of a uint32."""
    del typingctx

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        del context, signature
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.uint32), codegen


def _interleave(builder, low, high):  # type: ignore[no-untyped-def]
    """Return the perfect shuffle of two vectors as two vectors."""
    order = [place for pair in zip(range(LANES), range(LANES, 2 * LANES), strict=True) for place in pair]
    return [
        builder.shuffle_vector(low, high, ir.Constant(KEYS, order[half * LANES : (half + 1) * LANES]))
        for half in range(2)
    ]


@intrinsic
def transpose_16(typingctx, rows, first_row, last_row, column, center, target):  # type: ignore[no-untyped-def]
    """Write columns ``column .. column+15`` of 16 rows, less ``center``, as 16 lines of ``target``.

    Rows after ``last_row`` repeat it, so that the lanes of a short block hold real vectors.
    """
    del typingctx

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        source, first, last, at, middle, into = args
        source_type, middle_type, into_type = signature.args[0], signature.args[4], signature.args[5]
        width = builder.extract_value(context.make_array(source_type)(context, builder, source).shape, 1)
        offset = builder.load(line_pointer(context, builder, middle_type, middle, at, VALUES), align=4)
        values = []
        for i in range(LANES):
            row = builder.add(first, ir.Constant(first.type, i))
            row = builder.select(builder.icmp_signed("<", row, last), row, last)
            place = builder.add(builder.mul(row, width), at)
            value = builder.load(line_pointer(context, builder, source_type, source, place, VALUES), align=4)
            values.append(builder.fsub(value, offset))
        # Four perfect shuffles of the 256 elements take row-major order to column-major.
        for _ in range(4):
            pairs = [_interleave(builder, values[i], values[i + LANES // 2]) for i in range(LANES // 2)]
            values = [value for pair in pairs for value in pair]
        store_lines(context, builder, into_type, into, at, values)
        return context.get_dummy_value()

    signature = types.void(rows, types.int64, types.int64, types.int64, center, target)
    return signature, codegen


def _insert_sorted(builder, tops, key):  # type: ignore[no-untyped-def]
    """Return the keys of ``tops``, largest first, with ``key`` put in and the smallest dropped."""
    kept = []
    for i, top in enumerate(tops):
        above = builder.icmp_unsigned(">", top, key)
        kept.append(builder.select(above, top, key))
        if i + 1 < len(tops):
            key = builder.select(above, key, top)
    return kept


def _fold_lines(builder, count, tops, key_of):  # type: ignore[no-untyped-def]
    """Loop over ``count`` (> 0) lines, keeping the largest keys of each lane; return them."""
    before = builder.block
    loop = builder.append_basic_block("lines")
    after = builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    number = builder.phi(count.type)
    number.add_incoming(ir.Constant(count.type, 0), before)
    kept = []
    for top in tops:
        phi = builder.phi(KEYS)
        phi.add_incoming(top, before)
        kept.append(phi)
    new = _insert_sorted(builder, kept, key_of(number))
    following = builder.add(number, ir.Constant(count.type, 1))
    number.add_incoming(following, builder.block)
    for phi, key in zip(kept, new, strict=True):
        phi.add_incoming(key, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
    builder.position_at_end(after)
    return new


def _magnitude_key(builder, value, number, low_bits):  # type: ignore[no-untyped-def]
    """Key of a signed coordinate: magnitude, then its number, then its sign (1: negative)."""
    bits = builder.bitcast(value, KEYS)
    rotated = builder.or_(builder.shl(bits, keys_of(1)), builder.lshr(bits, keys_of(31)))
    high = builder.and_(rotated, splat(builder, builder.not_(low_bits)))
    return builder.or_(high, splat(builder, builder.shl(number, ir.Constant(INT, 1))))


def _order_key(builder, value, number, low_bits, zeros):  # type: ignore[no-untyped-def]
    """Key of a value: its order among floats, then its number; 0 where there is no value.

    A value of 0 is none, unless ``zeros`` count.
    """
    if zeros:
        value = builder.fadd(value, ir.Constant(VALUES, [0.0] * LANES))  # -0.0 becomes 0.0
    bits = builder.bitcast(value, KEYS)
    flip = builder.or_(builder.ashr(bits, keys_of(31)), keys_of(0x80000000))
    high = builder.and_(builder.xor(bits, flip), splat(builder, builder.not_(low_bits)))
    key = builder.or_(high, splat(builder, number))
    if zeros:
        return key
    present = builder.fcmp_unordered("!=", value, ir.Constant(VALUES, [0.0] * LANES))
    return builder.select(present, key, keys_of(0))


def _low_mask(builder, count, shift):  # type: ignore[no-untyped-def]
    """Return ``(count - 1) << shift`` as a 32-bit number."""
    mask = builder.trunc(builder.sub(count, ir.Constant(count.type, 1)), INT)
    return builder.shl(mask, ir.Constant(INT, shift))


def _below(builder, key, bound):  # type: ignore[no-untyped-def]
    """Drop (to 0) the keys that an earlier pass has already taken: those not below ``bound``."""
    return builder.select(builder.icmp_unsigned("<", key, bound), key, keys_of(0))


def _make_top_magnitudes(width):  # type: ignore[no-untyped-def]
    @intrinsic
    def top(typingctx, lines, first, count, bound, keys, at):  # type: ignore[no-untyped-def]
        """Write the largest magnitude keys below line ``bound`` of ``count`` lines to ``keys[at:]``.

        ``count`` is a power of two; ``keys`` u4[n, 16].  Bit 0 of a key is the sign,
        the next log2(count) bits the line's number, the others the magnitude's bits.
        """
        del typingctx

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            array, start, n, bound_line, into, place = args
            lines_type, keys_type = signature.args[0], signature.args[4]
            limit = load_line(context, builder, keys_type, into, bound_line, KEYS)
            low_bits = _low_mask(builder, n, 1)

            def key_of(number):  # type: ignore[no-untyped-def]
                value = load_line(context, builder, lines_type, array, builder.add(start, number))
                key = _magnitude_key(builder, value, builder.trunc(number, INT), low_bits)
                return _below(builder, key, limit)

            kept = _fold_lines(builder, n, [keys_of(0)] * width, key_of)
            store_lines(context, builder, keys_type, into, place, kept)
            return context.get_dummy_value()

        signature = types.void(lines, types.int64, types.int64, types.int64, keys, types.int64)
        return signature, codegen

    return top


def _make_top_values(width, zeros=False):  # type: ignore[no-untyped-def]
    @intrinsic
    def top(typingctx, lines, bins, row, bound, keys, at):  # type: ignore[no-untyped-def]
        """Write the largest order keys below line ``bound`` of the lines ``bins[row]`` to ``keys[at:]``.

        ``bins`` i4[n_bins, size] names lines; size is a power of two.  The low
        log2(size) bits of a key are the place in the bin; key 0 means no value: that of
        a coordinate that is 0, unless ``zeros`` count.
        """
        del typingctx

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            array, bin_array, number_of_bin, bound_line, into, place = args
            lines_type, bins_type, keys_type = signature.args[0], signature.args[1], signature.args[4]
            view = context.make_array(bins_type)(context, builder, bin_array)
            n = builder.extract_value(view.shape, 1)
            start = builder.mul(number_of_bin, n)
            low_bits = _low_mask(builder, n, 0)
            limit = load_line(context, builder, keys_type, into, bound_line, KEYS)

            def key_of(number):  # type: ignore[no-untyped-def]
                place_of = builder.add(start, number)
                line = builder.load(element(context, builder, bins_type, bin_array, place_of))
                value = load_line(context, builder, lines_type, array, builder.sext(line, n.type))
                key = _order_key(builder, value, builder.trunc(number, INT), low_bits, zeros)
                return _below(builder, key, limit)

            kept = _fold_lines(builder, n, [keys_of(0)] * width, key_of)
            store_lines(context, builder, keys_type, into, place, kept)
            return context.get_dummy_value()

        signature = types.void(lines, bins, types.int64, types.int64, keys, types.int64)
        return signature, codegen

    return top


def _of_any_width(make):  # type: ignore[no-untyped-def]
    top_1, top_2, top_3, top_5, top_8 = (make(width) for width in (1, 2, 3, 5, MAX_TOP))

    @device_function
    def top(lines, where, which, n_keys, keys, at):  # type: ignore[no-untyped-def]
        """Write the ``n_keys`` largest keys, descending, to ``keys[at:]``; may write 7 more."""
        if n_keys == 1:
            top_1(lines, where, which, 0, keys, at)
        elif n_keys == 2:
            top_2(lines, where, which, 0, keys, at)
        elif n_keys == 3:
            top_3(lines, where, which, 0, keys, at)
        elif n_keys <= 5:
            top_5(lines, where, which, 0, keys, at)
        else:
            top_8(lines, where, which, 0, keys, at)
            for done in range(MAX_TOP, n_keys, MAX_TOP):
                top_8(lines, where, which, at + done - 1, keys, at + done)

    return top


def _make_top_values_with_zeros(width):  # type: ignore[no-untyped-def]
    return _make_top_values(width, zeros=True)


top_magnitude, top_value, top_place = (
    make(1) for make in (_make_top_magnitudes, _make_top_values, _make_top_values_with_zeros)
)
top_magnitudes, top_values, top_places = map(
    _of_any_width, (_make_top_magnitudes, _make_top_values, _make_top_values_with_zeros)
)
