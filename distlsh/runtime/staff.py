"""The children as processes and sockets: carries out what the supervisor decides."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from distlsh.constants import PROTOCOL_VERSION
from distlsh.errors import ChildError, DistlshError, ProtocolError
from distlsh.protocol import supervision as sv
from distlsh.protocol.messages import (
    Chosen,
    Done,
    Failed,
    FromChild,
    Heartbeat,
    Hello,
    NonFinite,
    Rehashed,
    Stop,
    ToChild,
)
from distlsh.runtime.processes import ForkServer
from distlsh.transport.control import ControlServer, Garbage

Job = tuple[Callable[[bytes], None], bytes]
"""A child's entry and its packed `ChildSetup`."""

News = FromChild | sv.Ready | sv.Recovered | sv.Lost | Garbage

_LOST_SIGHT = 255
"""Exit code where the fork server died: the child may well be alive."""


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Staff:
    """Workers and rehasher by role: starts them, hears them, stops them.

    `hear` and `check` return what the coordinator must know: `Ready`, `Recovered`, `Lost`
    and the children's messages.  A child's error is raised as ChildError, once.
    """

    def __init__(
        self,
        server: ForkServer,
        control: ControlServer,
        supervisor: sv.Supervisor,
        jobs: dict[str, Job],
    ) -> None:
        self._server = server
        self._control = control
        self._supervisor = supervisor
        self._jobs = jobs
        self._processes: dict[str, Any] = {}
        self._to_spawn: list[str] = []
        self._strangers = 0

    @property
    def restarts(self) -> int:
        """Restarts so far."""
        return self._supervisor.restarts

    @property
    def roles(self) -> list[str]:
        """Every child's role."""
        return list(self._jobs)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the children that there are, by role."""
        return {role: process.pid for role, process in self._processes.items()}

    def start(self) -> None:
        """Start every child."""
        self._carry_out(self._supervisor.start())
        self._spawn_waiting()

    def hear(self) -> list[News]:
        """Return the messages that arrived from present children, and who became ready."""
        news: list[News] = []
        for message in self._control.receive():
            if isinstance(message, Garbage):
                news += self._refused(message)
                continue
            known = self._supervisor.knows(message.role, message.pid)
            if not known:
                continue
            match message:
                case Failed(role, pid, text):
                    self._handle(sv.Crashed(role, pid, text))
                case Hello(role, version=version) if version != PROTOCOL_VERSION:
                    raise ProtocolError(
                        f"{role} speaks protocol {version}, this process {PROTOCOL_VERSION}: "
                        "distlsh was changed while it ran; start the run again"
                    )
                case Hello(role, pid) | Heartbeat(role, pid):
                    news += self._handle(sv.Seen(role, pid, hello=isinstance(message, Hello)))
                case Done(role, pid) | Rehashed(role, pid) | Chosen(role, pid) | NonFinite(role, pid):
                    self._handle(sv.Seen(role, pid))
                    news.append(message)
        return news

    def _refused(self, garbage: Garbage) -> list[Garbage]:
        """Replace a child that speaks no sense; whoever else does is named once, and can end nothing."""
        process = self._processes.get(garbage.role)
        if process is not None:
            _kill(process.pid)
            return [garbage]
        told, self._strangers = self._strangers, self._strangers + 1
        return [] if told else [garbage]

    def check(self) -> list[News]:
        """Return who was lost; restart, escalate, and raise what cannot be mended.

        A lost child is started again at the next call, when the caller has taken note of the
        loss: what it sends before must not reach the successor.
        """
        self._spawn_waiting()
        news: list[News] = []
        for role, process in list(self._processes.items()):
            if process.exitcode is not None:
                news += self.hear()  # its last words
                if process.exitcode == _LOST_SIGHT:
                    _kill(process.pid)
                del self._processes[role]
                process.join()
                news += self._handle(sv.Exited(role, process.pid, process.exitcode))
                process.close()
        return news + self._handle(sv.Tick())

    def tell(self, role: str, message: ToChild) -> None:
        """Send a message to a child."""
        self._control.send(role, message)

    def stop(self, at_once: bool = False) -> None:
        """End all children, harsher and harsher; return when they are gone."""
        self._to_spawn.clear()
        self._handle(sv.StopAll(at_once))
        while self._processes:
            try:
                self.check()
            except DistlshError:
                continue  # the run has ended by another error, or by this one already
            time.sleep(0.005)

    def _handle(self, event: sv.ChildEvent) -> list[News]:
        return self._carry_out(self._supervisor.handle(event, time.monotonic()))

    def _carry_out(self, actions: list[sv.ChildAction]) -> list[News]:
        news: list[News] = []
        for action in actions:
            match action:
                case sv.Spawn(role):
                    self._to_spawn.append(role)
                case sv.Ask(role):
                    self._control.send(role, Stop())
                case sv.Signal(role, pid, number):
                    if self._processes[role].exitcode is None:
                        os.kill(pid, number)
                case sv.GiveUp(role, detail):
                    raise ChildError(role, detail)
                case sv.Ready() | sv.Recovered() | sv.Lost():
                    news.append(action)
        return news

    def _spawn_waiting(self) -> None:
        while self._to_spawn:
            self._spawn(self._to_spawn.pop(0))

    def _spawn(self, role: str) -> None:
        target, packed = self._jobs[role]
        process = self._server.spawn(target, packed, f"distlsh-{role}")
        self._processes[role] = process
        self._handle(sv.Spawned(role, process.pid))
