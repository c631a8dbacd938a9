"""A port on the network in front of a guarded socket in the run's own folder.

libzmq accepts as many connections as the process has descriptors, before any key is checked.  Here at most
`MOST` are open at once, and as many from this machine, so that the network does not keep its own children
out; more are closed unread.  Bytes are passed on as they are: the guarded socket behind
checks them, and closes what does not finish its handshake (`limits.HANDSHAKE_S`).
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine
from pathlib import Path

from distlsh.errors import ResourceError, UsageError

MOST = 128
"""Connections through one gate at once, of this machine and of all others."""

_BUFFER = 1 << 14
_PARTING_S = 1.0


class Gate:
    """Listens on the network and passes what comes on to a socket of the run's folder."""

    def __init__(self, host: str, port: int, inner: Path) -> None:
        """Listen from now on; UsageError where the address cannot be had."""
        self._inner = inner
        self._open = {True: 0, False: 0}
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()
        self._started = threading.Event()
        self._socket = _listen(host, port)
        self.host, self.port = host, self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="gate", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            self._socket.close()
            raise ResourceError(f"{self.address} cannot be served ({self._failure})") from self._failure

    @property
    def address(self) -> str:
        """``tcp://HOST:PORT``, as clients of this machine reach it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"tcp://[{host}]:{self.port}" if ":" in host else f"tcp://{host}:{self.port}"

    def close(self) -> None:
        """Close the port and all connections."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._admit, sock=self._socket, limit=_BUFFER)
        self._started.set()
        await self._ended.wait()
        server.close()  # connections are cancelled as the loop ends

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here = _is_from_here(writer)
        if self._open[here] >= MOST:
            writer.transport.abort()
            return
        self._open[here] += 1
        try:
            await self._connect(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._open[here] -= 1

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, back = await asyncio.open_unix_connection(str(self._inner), limit=_BUFFER)
        try:
            await _first_of(_pass_on(reader, back), _pass_on(inner, writer))
            writer.close()
            async with asyncio.timeout(_PARTING_S):
                await writer.wait_closed()  # what the run said last
        finally:
            back.transport.abort()


def _is_from_here(writer: asyncio.StreamWriter) -> bool:
    """Tell whether both ends have one address: none but this machine's own processes connect from it."""
    ends = [writer.get_extra_info(name) for name in ("peername", "sockname")]
    return all(ends) and ends[0][0] == ends[1][0]


async def _first_of(*ways: Coroutine[None, None, None]) -> None:
    """Run both directions until one of them ends."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.set_write_buffer_limits(high=_BUFFER)
    while data := await reader.read(_BUFFER):
        writer.write(data)
        # Where a peer does not read, the other side waits, and this memory does not grow.
        await writer.drain()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=MOST)
    except OSError as error:
        raise UsageError(
            f"tcp://{host}:{port} cannot be listened on ({error.strerror or error}); choose another"
        ) from error
