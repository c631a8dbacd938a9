"""The children as processes and sockets: carries out what the supervisor decides."""

from __future__ import annotations

import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress

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
from distlsh.runtime.causes import Causes
from distlsh.runtime.child_process import ChildProcess
from distlsh.runtime.processes import ForkServer
from distlsh.runtime.procfs import stands_still
from distlsh.transport.control import ControlServer, Garbage

Job = tuple[Callable[[bytes], None], bytes]
"""A child's entry and its packed `ChildSetup`."""

News = FromChild | sv.Ready | sv.Recovered | sv.Lost | sv.StartServer | sv.ContinueServer | Garbage

_LOOK_S = 0.1
"""Seconds between two looks at whether the fork server stands still."""

_MOST_EARLY = 1000
"""Greetings of processes that are not known yet; whoever sends more of them is no child."""


class Staff:
    """Workers and rehasher by role: starts them, hears them, stops them.

    `hear` and `check` return what the coordinator must know: `Ready`, `Recovered`, `Lost`, a new or continued
    fork server and the children's messages.  A child's error is raised as ChildError, once.  Nothing waits,
    but `stop`.
    """

    def __init__(
        self,
        server: ForkServer,
        control: ControlServer,
        supervisor: sv.Supervisor,
        jobs: dict[str, Job],
        causes: Causes,
    ) -> None:
        self._server = server
        self._control = control
        self._supervisor = supervisor
        self._jobs = jobs
        self._causes = causes
        self._asked: dict[str, ChildProcess] = {}
        self._processes: dict[str, ChildProcess] = {}
        self._to_spawn: list[str] = []
        self._early: list[Hello] = []
        self._strangers = 0
        self._looked_at = 0.0
        self._wakes = select.epoll()

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
        return {role: child.pid for role, child in self._processes.items() if child.pid is not None}

    @property
    def server_pid(self) -> int | None:
        """Process id of the fork server, if there is one."""
        return self._server.pid

    def fileno(self) -> int:
        """Return a descriptor that can be read when a process appears or ends."""
        return self._wakes.fileno()

    def patience(self, seconds: float) -> float:
        """Return for how long nobody need call `check`, at most ``seconds``."""
        return 0.0 if self._to_spawn else seconds

    def start(self) -> None:
        """Start every child."""
        self._carry_out(self._supervisor.start(time.monotonic()))
        self._watch_server()
        self._spawn_waiting()

    def hear(self) -> list[News]:
        """Return the messages that arrived from present children, and who became ready."""
        news = self._take_answers()  # before what the new ones say
        for message in self._control.receive():
            if isinstance(message, Garbage):
                news += self._refused(message)
            elif self._supervisor.knows(message.role, message.pid):
                news += self._heard(message)
            elif isinstance(message, Hello) and self._supervisor.awaits(message.role):
                del self._early[:-_MOST_EARLY]
                self._early.append(message)  # the fork server was slower than its child
        return news

    def check(self) -> list[News]:
        """Return who was lost; restart, escalate, and raise what cannot be mended.

        A lost child is started again at the next call, when the caller has taken note of the
        loss: what it sends before must not reach the successor.
        """
        self._spawn_waiting()
        news = self._take_answers()
        news += self._take_exits()
        news += self._look_at_server()
        return news + self._handle(sv.Tick())

    def tell(self, role: str, message: ToChild) -> None:
        """Send a message to a child."""
        self._control.send(role, message)

    def stop(self, at_once: bool = False) -> None:
        """End all children, harsher and harsher; return when they are gone."""
        self._to_spawn.clear()
        self._handle(sv.StopAll(at_once))
        while self._processes:
            with suppress(DistlshError):  # the run has ended by another error, or by this one already
                self.check()
            self._wakes.poll(0.005)

    def close(self) -> None:
        """End all children at once; `check` and `hear` may not be called any more."""
        self.stop(at_once=True)
        self._wakes.close()

    def _heard(self, message: FromChild) -> list[News]:
        match message:
            case Failed(role, pid, text):
                return self._handle(sv.Crashed(role, pid, text))
            case Hello(role, version=version) if version != PROTOCOL_VERSION:
                raise ProtocolError(
                    f"{role} speaks protocol {version}, this process {PROTOCOL_VERSION}: "
                    "distlsh was changed while it ran; start the run again"
                )
            case Hello(role, pid) | Heartbeat(role, pid):
                return self._handle(sv.Seen(role, pid, hello=isinstance(message, Hello)))
            case Done(role, pid) | Rehashed(role, pid) | Chosen(role, pid) | NonFinite(role, pid):
                return [*self._handle(sv.Seen(role, pid)), message]

    def _refused(self, garbage: Garbage) -> list[Garbage]:
        """Replace a child that speaks no sense; whoever else does is named once, and can end nothing."""
        child = self._processes.get(garbage.role)
        if child is not None:
            child.signal(signal.SIGKILL)
            return [garbage]
        told, self._strangers = self._strangers, self._strangers + 1
        return [] if told else [garbage]

    def _take_answers(self) -> list[News]:
        news: list[News] = []
        for role, child in list(self._asked.items()):
            descriptor = child.fileno()
            if child.answered():
                self._unwatch(descriptor)
                del self._asked[role]
                news += self._spawned(role, child)
            elif child.unanswered:
                self._server.part_with(self._asked.pop(role))
                news += self._handle(sv.Unanswered(role))
        return news

    def _spawned(self, role: str, child: ChildProcess) -> list[News]:
        assert child.pid is not None
        self._processes[role] = child
        self._watch(child.fileno())
        news = self._handle(sv.Spawned(role, child.pid))
        early, self._early = self._early, [one for one in self._early if one.role != role]
        for hello in early:
            if (hello.role, hello.pid) == (role, child.pid):
                news += self._heard(hello)
        return news

    def _take_exits(self) -> list[News]:
        news: list[News] = []
        for role, child in list(self._processes.items()):
            was_dead = child.dead
            teller = child.dead and self._server.pid is not None and not self._server.stopped
            if not child.ended(time.monotonic(), teller=teller):
                if child.dead and not was_dead:
                    self._unwatch(child.fileno())  # it wakes no one until its code is known
                continue
            news += self.hear()  # its last words
            del self._processes[role]
            if child.code is None and self._server.stopped:
                self._server.kill()  # who could have told, and must start the next
            self._server.part_with(child)
            news += self._exited(role, child)
        return news

    def _exited(self, role: str, child: ChildProcess) -> list[News]:
        assert child.pid is not None
        note, log = self._causes.note(role, child.code), self._causes.log(role)
        return self._handle(sv.Exited(role, child.pid, child.code, note, log))

    def _look_at_server(self) -> list[News]:
        code = self._server.ended()
        if code is None:
            return self._look_whether_it_stands(time.monotonic())
        news = self._take_answers()  # those that it still gave
        self._server.end_strays(set(self.pids.values()), self.roles)
        return news + self._handle(sv.ServerLost(code))

    def _look_whether_it_stands(self, now: float) -> list[News]:
        pid = self._server.pid
        if pid is None or now - self._looked_at < _LOOK_S:
            return []
        self._looked_at = now
        return self._handle(sv.ServerStandsStill()) if stands_still(pid, traced=False) else []

    def _handle(self, event: sv.ChildEvent) -> list[News]:
        return self._carry_out(self._supervisor.handle(event, time.monotonic()))

    def _carry_out(self, actions: list[sv.ChildAction]) -> list[News]:
        news: list[News] = []
        for action in actions:
            match action:
                case sv.Spawn(role):
                    self._to_spawn.append(role)
                case sv.Forget(role):
                    if role in self._asked:
                        self._server.part_with(self._asked.pop(role))
                case sv.StartServer():
                    self._server.start()
                    self._watch_server()
                    news.append(action)
                case sv.ContinueServer():
                    self._server.resume()
                    news.append(action)
                case sv.DoubtServer(overdue):
                    if overdue or self._server.stopped:
                        self._server.kill()
                case sv.Ask(role):
                    self._control.send(role, Stop())
                case sv.Signal(role, number=number):
                    if role in self._processes:  # else it has just been seen to end
                        self._processes[role].signal(number)
                case sv.Look(role, pid):
                    if stands_still(pid, traced=False):
                        news += self._handle(sv.StandsStill(role, pid))
                case sv.GiveUp(role, detail):
                    raise ChildError(role, detail)
                case sv.Ready() | sv.Recovered() | sv.Lost():
                    news.append(action)
        return news

    def _spawn_waiting(self) -> None:
        while self._to_spawn:
            role = self._to_spawn.pop(0)
            target, packed = self._jobs[role]
            self._causes.begins(role)
            child = self._asked[role] = self._server.ask(target, packed, f"distlsh-{role}")
            self._watch(child.fileno())
        self._watch_server()

    def _watch_server(self) -> None:
        if self._server.pid is not None:
            self._watch(self._server.fileno())

    def _watch(self, descriptor: int) -> None:
        if descriptor >= 0:  # else its process was gone before it was known
            with suppress(OSError):  # it is there already
                self._wakes.register(descriptor, select.EPOLLIN)

    def _unwatch(self, descriptor: int) -> None:
        if descriptor >= 0:
            with suppress(OSError):
                self._wakes.unregister(descriptor)
