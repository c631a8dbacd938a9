"""Shared memory: arenas of named arrays, and generations of the hash tables."""
