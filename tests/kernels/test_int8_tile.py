"""8-bit products by each way of computing them, against whole numbers."""

from __future__ import annotations

import llvmlite.binding
import numba
import numpy as np
import pytest

from distlsh.kernels.int8_tile import ADD_PRODUCTS, QUERIES, ROWS, make_dot_row, make_dot_tile

NEEDS = {"vnni": {"avx512f", "avx512vnni"}, "avx2": {"avx2"}, "plain": set()}


@pytest.mark.parametrize("instructions", list(ADD_PRODUCTS))
def test_products_are_those_of_whole_numbers(instructions: str) -> None:
    """A tile and a single product are exact at the largest values that each way allows."""
    has = {name for name, found in llvmlite.binding.get_host_cpu_features().items() if found}
    if not NEEDS[instructions] <= has:
        pytest.skip(f"this machine lacks {instructions}")
    dot_tile = make_dot_tile(ADD_PRODUCTS[instructions])
    dot_row = make_dot_row(ADD_PRODUCTS[instructions])

    @numba.njit
    def products(panels, panel, codes, first, starts, tile, queries, out):  # type: ignore[no-untyped-def]
        dot_tile(panels, panel, codes, first, starts, tile)
        for i in range(len(queries)):
            out[i] = dot_row(queries, i, codes, first)

    rng = np.random.default_rng(1)
    d, most = 128, 127 if instructions == "avx2" else 255
    queries = rng.integers(0, most + 1, (2 * QUERIES, d)).astype(np.uint8)
    codes = rng.integers(-127, 128, (ROWS + 3, d)).astype(np.int8)
    queries[16], codes[3] = most, 127
    panels = np.ascontiguousarray(queries.reshape(2, QUERIES, d // 4, 4).transpose(0, 2, 1, 3)).reshape(2, -1)
    starts = rng.integers(-1000, 1000, len(codes)).astype(np.int32)
    tile, single = np.empty((ROWS, QUERIES), np.int32), np.empty(len(queries), np.int64)
    products(panels, 1, codes, 3, starts, tile, queries, single)
    whole = codes.astype(np.int64) @ queries.astype(np.int64).T
    np.testing.assert_array_equal(tile, whole[3:, QUERIES:] + starts[3:, None])
    np.testing.assert_array_equal(single, whole[3])
