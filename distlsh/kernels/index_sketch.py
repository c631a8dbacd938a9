"""Sketches: a vector's leading components in one cache line, to rank candidates before their rows are read.

A record is 64 bytes: 60 components as int8 and a bias as int32, so that looking at a
candidate costs one cache line and no candidate's row is fetched in vain.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

from distlsh.kernels._jit import intrinsic, kernel
from distlsh.kernels._types import F4_2R, I1_2, I2_2, f4, i4, void

RECORD = 64
COMPONENTS = 60
LARGEST = 127


@intrinsic
def record_score(typingctx, records, row, query, query_row):  # type: ignore[no-untyped-def]
    """Return ``2 * dot(record, query) - bias`` of a row of i1[n, 64] and one of i2[m, 64].

    The query's last 4 places are 0: there lies the record's bias.
    """
    del typingctx

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        array, at, query_array, query_at = args
        data = context.make_array(signature.args[0])(context, builder, array).data
        query_data = context.make_array(signature.args[2])(context, builder, query_array).data
        word, half = ir.IntType(32), ir.IntType(16)
        start = builder.gep(data, [builder.mul(at, ir.Constant(at.type, RECORD))])
        query_start = builder.gep(query_data, [builder.mul(query_at, ir.Constant(at.type, RECORD))])
        pairs = ir.VectorType(word, RECORD // 2)
        values = builder.load(
            builder.bitcast(start, ir.VectorType(ir.IntType(8), RECORD).as_pointer()), align=1
        )
        others = builder.load(builder.bitcast(query_start, ir.VectorType(half, RECORD).as_pointer()), align=1)
        wide = builder.sext(values, ir.VectorType(half, RECORD))
        # Products of neighbours, added in 32 bits: one instruction (pmaddwd) from SSE2 on.
        sums = []
        for first in (0, 1):
            order = ir.Constant(pairs, [2 * i + first for i in range(RECORD // 2)])
            a = builder.sext(builder.shuffle_vector(wide, wide, order), pairs)
            b = builder.sext(builder.shuffle_vector(others, others, order), pairs)
            sums.append(builder.mul(a, b))
        total = builder.add(*sums)
        kind = ir.FunctionType(word, [pairs])
        reduce = cgutils.get_or_insert_function(builder.module, kind, "llvm.vector.reduce.add.v32i32")
        dot = builder.call(reduce, [total])
        tail = builder.gep(start, [ir.Constant(at.type, COMPONENTS)])
        bias = builder.load(builder.bitcast(tail, word.as_pointer()), align=4)
        return builder.sub(builder.shl(dot, ir.Constant(word, 1)), bias)

    return types.int32(records, types.int64, query, types.int64), codegen


@kernel(void(F4_2R, f4, I1_2))
def write_records(components, scale, records):  # type: ignore[no-untyped-def]
    """Write the records of projected vectors.

    components  f4[n, <= 60]
    scale       int8 steps a unit; larger components are clipped
    records     i1[n, 64], written; its first byte on a cache line

    The bias is the squared length of what was kept, so that scores order by distance.
    Concurrency: rows are independent.  Allocates: nothing.  Cost: O(n).  Unchecked: shapes.
    """
    for i in range(components.shape[0]):
        record = records[i]
        record[:] = 0
        total = i4(0)
        for j in range(components.shape[1]):
            value = min(max(np.rint(components[i, j] * scale), f4(-LARGEST)), f4(LARGEST))
            record[j] = np.int8(value)
            total += i4(value) * i4(value)
        for byte in range(4):
            record[COMPONENTS + byte] = np.int8((total >> (8 * byte)) & 255)


@kernel(void(F4_2R, f4, I2_2))
def write_queries(components, scale, queries):  # type: ignore[no-untyped-def]
    """Write queries as `record_score` takes them.

    components  f4[m, <= 60]
    scale       as of the records
    queries     i2[m, 64], written

    Concurrency: rows are independent.  Allocates: nothing.  Cost: O(m).  Unchecked: shapes.
    """
    for i in range(components.shape[0]):
        queries[i, :] = 0
        for j in range(components.shape[1]):
            value = min(max(np.rint(components[i, j] * scale), f4(-LARGEST)), f4(LARGEST))
            queries[i, j] = np.int16(value)
