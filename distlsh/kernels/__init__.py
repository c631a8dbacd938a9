"""Compiled kernels: numba only, no Python objects, no processes."""
