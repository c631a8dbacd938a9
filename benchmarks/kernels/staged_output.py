"""The output layer's step with its stages timed: the same code in the same order, and a clock between."""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types

from distlsh.kernels._jit import intrinsic
from distlsh.kernels._types import F4_1R, F4_2R, I4_1, I4_2, I4_2R, I8_1, U1_1, U8_1R, b1, f4, i8, void
from distlsh.kernels.losses import round_gradients, softmax_loss
from distlsh.kernels.output_layer import _BLOCK, _SCRATCH, _apply, _logits
from distlsh.kernels.stored_rows import stored_kernel

FORWARD, LOSS, BACKWARD = range(3)


@intrinsic
def _cycles(typingctx):  # type: ignore[no-untyped-def]
    """Return the processor's time stamp, whose rate is constant."""
    del typingctx

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        del context, signature, args
        kind = ir.FunctionType(ir.IntType(64), [])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.readcyclecounter"), [])

    return types.int64(), codegen


@stored_kernel(
    7,
    void(
        I4_2R, I4_2R, F4_2R, U8_1R, f4, f4, i8, *_BLOCK, *_BLOCK, b1, U1_1, f4, F4_1R, i8, *_SCRATCH,
        I8_1, I4_2, I4_1,
    ),
)  # fmt: skip
def staged_output_step(  # type: ignore[no-untyped-def]
    active, bounds, hidden, seeds, scale, tau,
    code, w, s1, s2, clock, bias, bias1, bias2, bias_clock, use_bias, dirty, lr, hyper, step,
    logits, kept, grad, counters, cycles, kept_rows, n_kept_rows,
):  # fmt: skip
    """Do what `kernels.output_layer.output_step` does for a softmax, and add up each stage's cycles.

    cycles       i8[3], added to: forward, loss and rounding, backward and optimiser
    kept_rows    i4[m, cap], written: the rows that were stepped; i4[0, 0]: not wanted
    n_kept_rows  i4[m], written: how many
    """
    for s in range(hidden.shape[0]):
        b0, n = bounds[s, 0], bounds[s, 2]
        start = _cycles()
        _logits(active, s, n, hidden, s, w, bias, use_bias, scale, logits)
        after_forward = _cycles()
        counters[2] += softmax_loss(logits, b0, n)
        n_kept = round_gradients(logits, n, tau, seeds[s], kept)
        after_loss = _cycles()
        _apply(
            active, s, logits, kept, n_kept, hidden, s, scale, code, w, s1, s2, clock,
            bias, bias1, bias2, bias_clock, use_bias, dirty, lr, hyper, step, seeds[s], grad,
        )  # fmt: skip
        end = _cycles()
        cycles[FORWARD] += after_forward - start
        cycles[LOSS] += after_loss - after_forward
        cycles[BACKWARD] += end - after_loss
        counters[0] += 1.0
        counters[3] += n
        counters[5] += n_kept
        if kept_rows.shape[0] > 0:
            n_kept_rows[s] = n_kept
            for q in range(n_kept):
                kept_rows[s, q] = active[s, kept[q]]
