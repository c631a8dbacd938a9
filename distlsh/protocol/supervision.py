"""Starting, watching, restarting and stopping children, as a state machine.

Times are seconds of any steadily rising clock, given with each event.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from distlsh.constants import NO_MEMORY_CODE
from distlsh.errors import ProtocolError
from distlsh.protocol.child_events import (
    Ask,
    ChildAction,
    ChildEvent,
    ContinueServer,
    Crashed,
    DoubtServer,
    Exited,
    Forget,
    GiveUp,
    Look,
    Lost,
    Ready,
    Recovered,
    Seen,
    ServerLost,
    ServerStandsStill,
    Signal,
    Spawn,
    Spawned,
    StandsStill,
    StartServer,
    StopAll,
    Tick,
    Unanswered,
)

__all__ = [
    "CRASHES",
    "Ask",
    "Child",
    "ChildAction",
    "ChildEvent",
    "ChildState",
    "ContinueServer",
    "Crashed",
    "DoubtServer",
    "Exited",
    "Forget",
    "GiveUp",
    "Look",
    "Lost",
    "Ready",
    "Recovered",
    "Restarts",
    "Seen",
    "ServerLost",
    "ServerStandsStill",
    "Signal",
    "Spawn",
    "Spawned",
    "StandsStill",
    "StartServer",
    "StopAll",
    "Supervisor",
    "Tick",
    "Unanswered",
]

CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)
"""Signals by which a program ends that cannot go on: twice so at the start, and a third time is in vain."""

_QUIET_HEARTBEATS = 3
_LOOK_S = 0.25
"""Seconds between two looks at a child that should have been heard, or been gone."""

_ANSWER_S = 1.0
"""Seconds in which a fork server answers that is neither starting nor stopped."""

_CONTINUES = 10
_CONTINUES_S = 10.0
"""A fork server that was stopped more often than so many times in so many seconds does not come to work."""

_PAUSE_S = 2.0
"""A longer time between two ticks means that nobody was there to hear the children."""


class ChildState(Enum):
    """What a child is up to."""

    ASKED = "asked"  # the fork server has not answered yet
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    GONE = "gone"


@dataclass
class Restarts:
    """Counts restarts within a window."""

    most: int
    window_s: float  # 0: of any length
    total: int = 0
    _at: list[float] = field(default_factory=list)

    def take(self, now: float) -> bool:
        """Count a restart at time ``now``; False if there were too many already."""
        if self.window_s:
            self._at = [at for at in self._at if now - at < self.window_s]
        if len(self._at) >= self.most:
            return False
        self._at.append(now)
        self.total += 1
        return True

    def __str__(self) -> str:
        within = f" within {self.window_s:g} s" if self.window_s else ""
        return f"it was restarted {len(self._at)} times{within} (run.max_restarts)"


@dataclass
class Child:
    """What is known of one child."""

    role: str
    restarts: Restarts
    state: ChildState = ChildState.GONE
    pid: int | None = None
    asked_at: float = 0.0
    lost_at: float | None = None  # until a successor is ready
    lost_why: str = ""
    last_seen: float = 0.0
    looked_at: float = 0.0
    deadline: float | None = None  # of the next, harsher way to stop it
    harshness: int = 0
    killed_for: str = ""  # why this process was killed by us
    greeted: bool = False
    traceback: str = ""
    start_crash: int | None = None  # signal that ended the process before this one before its hello

    def shift(self, by: float, now: float) -> None:
        """Let ``by`` seconds not count, in which nobody could hear the child."""
        self.asked_at = min(self.asked_at + by, now)
        self.last_seen = min(self.last_seen + by, now)
        if self.deadline is not None:
            self.deadline += by


@dataclass
class Supervisor:
    """Keeps one process a role alive; ends them step by step: ask, SIGTERM, SIGKILL."""

    roles: Iterable[str]
    max_restarts: int
    heartbeat_timeout_s: float
    stop_timeout_s: float
    start_timeout_s: float = 600.0
    heartbeat_s: float = 1.0
    restart_window_s: float = 0.0  # 0: the whole run
    server: str = "fork server"
    children: dict[str, Child] = field(init=False)
    stopping: bool = False

    def __post_init__(self) -> None:
        self.children = {role: Child(role, self._no_restarts()) for role in self.roles}
        self._server_restarts = self._no_restarts()
        self._server_continues = Restarts(_CONTINUES, _CONTINUES_S)
        self._server_answered = False
        self._ticked_at: float | None = None

    @property
    def restarts(self) -> int:
        """Restarts of all children so far."""
        return sum(child.restarts.total for child in self.children.values())

    @property
    def all_gone(self) -> bool:
        """No child is left."""
        return all(child.state is ChildState.GONE for child in self.children.values())

    def knows(self, role: str, pid: int) -> bool:
        """Tell whether ``pid`` is the present process of ``role``, not one before it."""
        child = self.children.get(role)
        return child is not None and child.pid == pid and child.state is not ChildState.GONE

    def awaits(self, role: str) -> bool:
        """Tell whether the process of ``role`` was asked for and is not known yet."""
        return role in self.children and self.children[role].state is ChildState.ASKED

    def start(self, now: float) -> list[ChildAction]:
        """Return the actions that start every child."""
        return [action for child in self.children.values() for action in self._spawn(child, now)]

    def handle(self, event: ChildEvent, now: float) -> list[ChildAction]:
        """Take ``event`` at time ``now`` and return what to do."""
        match event:
            case Tick():
                return self._tick_all(now)
            case StopAll(at_once):
                self.stopping = True
                return [a for child in self.children.values() for a in self._stop(child, now, at_once)]
            case ServerLost(code):
                return self._server_lost(code, now)
            case Spawned(role, pid):
                return self._spawned(self._child(role), pid, now)
            case ServerStandsStill():
                return self._server_stands_still(now)
            case Unanswered(role):
                child = self._child(role)
                return [Spawn(role)] if child.state is ChildState.ASKED else []
            case Seen(role, pid, hello):
                return self._seen(self._child(role), pid, hello, now)
            case Crashed(role, pid, traceback):
                if self.knows(role, pid):
                    self.children[role].traceback = traceback
                return []
            case StandsStill(role, pid):
                return self._stands_still(self._child(role), pid)
            case Exited():
                return self._exited(self._child(event.role), event, now)

    def _no_restarts(self) -> Restarts:
        return Restarts(self.max_restarts, self.restart_window_s)

    def _child(self, role: str) -> Child:
        if role not in self.children:
            raise ProtocolError(f"there is no child {role!r}, only {', '.join(self.children)}")
        return self.children[role]

    def _spawn(self, child: Child, now: float) -> list[ChildAction]:
        child.state, child.asked_at, child.looked_at = ChildState.ASKED, now, now
        return [Spawn(child.role)]

    def _spawned(self, child: Child, pid: int, now: float) -> list[ChildAction]:
        if child.state is not ChildState.ASKED:
            return []
        self._server_answered = True
        child.pid, child.last_seen, child.looked_at, child.state = pid, now, now, ChildState.STARTING
        child.traceback, child.killed_for, child.greeted = "", "", False
        return []

    def _server_lost(self, code: int, now: float) -> list[ChildAction]:
        if self.stopping:
            return []
        why = f"the {self.server} {_end(code)}"
        if code > 0 and not self._server_answered:
            return [GiveUp(self.server, f"{why} before it could start a child; standard error says why")]
        if not self._server_restarts.take(now):
            return [GiveUp(self.server, f"{why}; {self._server_restarts}")]
        self._server_answered = False
        self._server_continues = Restarts(_CONTINUES, _CONTINUES_S)
        return [StartServer(why)]

    def _server_stands_still(self, now: float) -> list[ChildAction]:
        # A successor would have to import everything first.
        if not self._server_continues.take(now):
            return [DoubtServer(overdue=False)]
        return [ContinueServer(f"a signal had stopped the {self.server}")]

    def _seen(self, child: Child, pid: int, hello: bool, now: float) -> list[ChildAction]:
        if child.pid != pid:
            return []
        child.last_seen = now
        if not hello or child.state is not ChildState.STARTING:
            return []
        child.state, child.greeted, child.start_crash = ChildState.RUNNING, True, None
        return [*self._recovered(child, pid, now), Ready(child.role)]

    def _recovered(self, child: Child, pid: int, now: float) -> list[ChildAction]:
        if child.lost_at is None:
            return []
        down_s, child.lost_at = now - child.lost_at, None
        return [Recovered(child.role, pid, child.lost_why, down_s)]

    def _tick_all(self, now: float) -> list[ChildAction]:
        before, self._ticked_at = self._ticked_at, now
        if before is not None and now - before > _PAUSE_S:
            for child in self.children.values():
                child.shift(now - before, now)
        return [action for child in self.children.values() for action in self._tick(child, now)]

    def _tick(self, child: Child, now: float) -> list[ChildAction]:
        match child.state:
            case ChildState.ASKED:
                return self._await_server(child, now)
            case ChildState.STOPPING:
                late = child.deadline is not None and now >= child.deadline
                return self._harsher(child, now) if late else self._look(child, now)
            case ChildState.STARTING:
                return self._silence(child, now, self.start_timeout_s) or self._look(child, now)
            case ChildState.RUNNING:
                quiet = now - child.last_seen >= _QUIET_HEARTBEATS * self.heartbeat_s
                silence = self._silence(child, now, self.heartbeat_timeout_s)
                return silence or (self._look(child, now) if quiet else [])
            case ChildState.GONE:
                return []

    def _await_server(self, child: Child, now: float) -> list[ChildAction]:
        if now - child.looked_at < _ANSWER_S:
            return []
        child.looked_at = now
        overdue = now - child.asked_at >= self.start_timeout_s
        if overdue:
            child.asked_at = now
        return [DoubtServer(overdue)]

    def _silence(self, child: Child, now: float, patience_s: float) -> list[ChildAction]:
        if now - child.last_seen < patience_s:
            return []
        return self._kill(child, f"gave no sign of life for {patience_s:g} s and was killed")

    def _look(self, child: Child, now: float) -> list[ChildAction]:
        if now - child.looked_at < _LOOK_S or child.pid is None:
            return []
        child.looked_at = now
        return [Look(child.role, child.pid)]

    def _stands_still(self, child: Child, pid: int) -> list[ChildAction]:
        if child.pid != pid or child.state is ChildState.GONE:
            return []
        return self._kill(child, "gave no sign of life, since a signal had stopped it, and was killed")

    def _kill(self, child: Child, why: str) -> list[ChildAction]:
        if child.killed_for or child.pid is None:
            return []
        child.killed_for = why
        return [Signal(child.role, child.pid, signal.SIGKILL)]

    def _stop(self, child: Child, now: float, at_once: bool) -> list[ChildAction]:
        if child.state is ChildState.ASKED:
            child.state = ChildState.GONE
            return [Forget(child.role)]
        if child.state is ChildState.GONE:
            return []
        child.state, child.harshness = ChildState.STOPPING, 2 if at_once else 0
        return self._harsher(child, now)

    def _harsher(self, child: Child, now: float) -> list[ChildAction]:
        assert child.pid is not None
        step, child.harshness = child.harshness, child.harshness + 1
        child.deadline = now + self.stop_timeout_s
        if step == 0:
            return [Ask(child.role)]
        return [Signal(child.role, child.pid, signal.SIGTERM if step == 1 else signal.SIGKILL)]

    def _exited(self, child: Child, event: Exited, now: float) -> list[ChildAction]:
        if child.pid != event.pid or child.state is ChildState.GONE:
            return []
        state, child.state, child.pid = child.state, ChildState.GONE, None
        if child.traceback:
            return [GiveUp(child.role, child.traceback)]
        if state is ChildState.STOPPING:
            return []
        why = _reason(child, event)
        lost = Lost(child.role, why, had_begun=child.greeted)
        if in_vain := self._in_vain(child, event):
            return [lost, GiveUp(child.role, f"{why} {in_vain}; its log ends with\n{event.log}")]
        if not child.restarts.take(now):
            return [lost, GiveUp(child.role, f"{why}; {child.restarts}")]
        if child.lost_at is None:
            child.lost_at, child.lost_why = now, why
        return [lost, *self._spawn(child, now)]

    def _in_vain(self, child: Child, event: Exited) -> str:
        """Return why a successor would end the same way; empty if it may not."""
        code = event.code
        if child.greeted or child.killed_for or code is None or code in (0, NO_MEMORY_CODE):
            return ""
        if code > 0:
            return "before it was ready"
        before, child.start_crash = child.start_crash, code
        return "before it was ready, like the one before it" if code == before and -code in CRASHES else ""


def _reason(child: Child, event: Exited) -> str:
    end = child.killed_for or _end(event.code)
    note = f"; {event.note}" if event.note and not child.killed_for else ""
    return f"{child.role} (pid {event.pid}) {end}{note}"


def _end(code: int | None) -> str:
    if code is None:
        return "ended"
    if code == NO_MEMORY_CODE:
        return "could get no more memory"
    return f"was ended by {_name(-code)}" if code < 0 else f"exited with code {code}"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
