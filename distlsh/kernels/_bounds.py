"""Pointers to elements, for intrinsics: checked where kernels are compiled with bounds checking.

Numba's own checks (``NUMBA_BOUNDSCHECK=1``) see only indexing that is written as such; intrinsics
take their pointers here, so that a suite that runs with checks runs with all of them.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, config


def element(context, builder, array_type, array, place, count=1):  # type: ignore[no-untyped-def]
    """Return a pointer to flat element ``place`` of a C-order array; ``count`` elements are touched.

    Where bounds are checked, the compiled code raises IndexError unless all of them are the array's.
    """
    view = context.make_array(array_type)(context, builder, array)
    if config.BOUNDSCHECK:
        cgutils.do_boundscheck(context, builder, place, view.nitems)
        if count > 1:
            last = builder.add(place, ir.Constant(place.type, count - 1))
            cgutils.do_boundscheck(context, builder, last, view.nitems)
    return builder.gep(view.data, [place])
