"""Where children begin; light to import, since the coordinator names these functions.

What a child needs is imported within its frame, so that a failing import is reported
with its traceback like any other error.
"""

from __future__ import annotations

from distlsh.runtime.child import Link, run_child
from distlsh.runtime.setup import ChildSetup
from distlsh.shm.arena import Arena


def worker_main(packed: bytes) -> None:
    """Run a worker, described by the packed `ChildSetup`."""
    run_child(packed, _work)


def rehasher_main(packed: bytes) -> None:
    """Run the rehasher, described by the packed `ChildSetup`."""
    run_child(packed, _rehash)


def _work(setup: ChildSetup, arena: Arena, link: Link) -> None:
    from distlsh.runtime.worker import serve

    serve(setup, arena, link)


def _rehash(setup: ChildSetup, arena: Arena, link: Link) -> None:
    from distlsh.runtime.rehasher import serve

    serve(setup, arena, link)
