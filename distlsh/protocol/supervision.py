"""Starting, watching, restarting and stopping children, as a state machine.

Times are seconds of any steadily rising clock, given with each event.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from distlsh.errors import ProtocolError


class ChildState(Enum):
    """What a child is up to."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    GONE = "gone"


@dataclass(frozen=True)
class Spawned:
    """The child's process exists."""

    role: str
    pid: int


@dataclass(frozen=True)
class Seen:
    """A message came from the child; ``hello`` on its first."""

    role: str
    pid: int
    hello: bool = False


@dataclass(frozen=True)
class Crashed:
    """The child reported an error of its own."""

    role: str
    pid: int
    traceback: str


@dataclass(frozen=True)
class Exited:
    """The child's process ended; a negative code is the signal that ended it."""

    role: str
    pid: int
    code: int


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True)
class StopAll:
    """End all children: ask first, unless ``now``."""

    now: bool = False


ChildEvent = Spawned | Seen | Crashed | Exited | Tick | StopAll


@dataclass(frozen=True)
class Spawn:
    """Start the child's process."""

    role: str


@dataclass(frozen=True)
class Ask:
    """Send the child `Stop`."""

    role: str


@dataclass(frozen=True)
class Signal:
    """Send the process a signal."""

    role: str
    pid: int
    number: int


@dataclass(frozen=True)
class Ready:
    """The child waits for work."""

    role: str


@dataclass(frozen=True)
class Recovered:
    """The child waits for work, in the place of one that was lost ``down_s`` seconds ago."""

    role: str
    pid: int
    why: str
    down_s: float


@dataclass(frozen=True)
class Lost:
    """The child is no more; its work goes to others."""

    role: str
    why: str


@dataclass(frozen=True)
class GiveUp:
    """The run cannot go on."""

    role: str
    detail: str


ChildAction = Spawn | Ask | Signal | Ready | Recovered | Lost | GiveUp


@dataclass
class Child:
    """What is known of one child."""

    role: str
    state: ChildState = ChildState.GONE
    pid: int | None = None
    restarts: int = 0
    restarted_at: list[float] = field(default_factory=list)  # within the window
    lost_at: float | None = None  # until a successor is ready
    lost_why: str = ""
    last_seen: float = 0.0
    deadline: float | None = None  # of the next, harsher way to stop it
    harshness: int = 0
    killed_for_silence: bool = False
    greeted: bool = False
    traceback: str = ""


@dataclass
class Supervisor:
    """Keeps one process a role alive; ends them step by step: ask, SIGTERM, SIGKILL."""

    roles: Iterable[str]
    max_restarts: int
    heartbeat_timeout_s: float
    stop_timeout_s: float
    start_timeout_s: float = 600.0
    restart_window_s: float = 0.0  # 0: the whole run
    children: dict[str, Child] = field(init=False)
    stopping: bool = False

    def __post_init__(self) -> None:
        self.children = {role: Child(role) for role in self.roles}

    @property
    def restarts(self) -> int:
        """Restarts of all children so far."""
        return sum(child.restarts for child in self.children.values())

    @property
    def all_gone(self) -> bool:
        """No child is left."""
        return all(child.state is ChildState.GONE for child in self.children.values())

    def knows(self, role: str, pid: int) -> bool:
        """Tell whether ``pid`` is the present process of ``role``, not one before it."""
        child = self.children.get(role)
        return child is not None and child.pid == pid and child.state is not ChildState.GONE

    def start(self) -> list[ChildAction]:
        """Return the actions that start every child."""
        return [Spawn(role) for role in self.children]

    def handle(self, event: ChildEvent, now: float) -> list[ChildAction]:
        """Take ``event`` at time ``now`` and return what to do."""
        match event:
            case Tick():
                return [action for child in self.children.values() for action in self._tick(child, now)]
            case StopAll(at_once):
                self.stopping = True
                return [a for child in self.children.values() for a in self._stop(child, now, at_once)]
            case Spawned(role, pid):
                return self._spawned(self._child(role), pid, now)
            case Seen(role, pid, hello):
                return self._seen(self._child(role), pid, hello, now)
            case Crashed(role, pid, traceback):
                if self.knows(role, pid):
                    self.children[role].traceback = traceback
                return []
            case Exited(role, pid, code):
                return self._exited(self._child(role), pid, code, now)

    def _child(self, role: str) -> Child:
        if role not in self.children:
            raise ProtocolError(f"there is no child {role!r}, only {', '.join(self.children)}")
        return self.children[role]

    def _spawned(self, child: Child, pid: int, now: float) -> list[ChildAction]:
        child.pid, child.last_seen, child.state = pid, now, ChildState.STARTING
        child.traceback, child.killed_for_silence, child.greeted = "", False, False
        return self._stop(child, now, False) if self.stopping else []

    def _seen(self, child: Child, pid: int, hello: bool, now: float) -> list[ChildAction]:
        if child.pid != pid:
            return []
        child.last_seen = now
        if not hello or child.state is not ChildState.STARTING:
            return []
        child.state, child.greeted = ChildState.RUNNING, True
        return [*self._recovered(child, pid, now), Ready(child.role)]

    def _recovered(self, child: Child, pid: int, now: float) -> list[ChildAction]:
        if child.lost_at is None:
            return []
        down_s, child.lost_at = now - child.lost_at, None
        return [Recovered(child.role, pid, child.lost_why, down_s)]

    def _tick(self, child: Child, now: float) -> list[ChildAction]:
        if child.pid is None or child.state is ChildState.GONE:
            return []
        if child.state is ChildState.STOPPING:
            late = child.deadline is not None and now >= child.deadline
            return self._harsher(child, now) if late else []
        starting = child.state is ChildState.STARTING
        patience = self.start_timeout_s if starting else self.heartbeat_timeout_s
        if now - child.last_seen < patience or child.killed_for_silence:
            return []
        child.killed_for_silence = True
        return [Signal(child.role, child.pid, signal.SIGKILL)]

    def _stop(self, child: Child, now: float, at_once: bool) -> list[ChildAction]:
        if child.state is ChildState.GONE or child.pid is None:
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

    def _exited(self, child: Child, pid: int, code: int, now: float) -> list[ChildAction]:
        if child.pid != pid or child.state is ChildState.GONE:
            return []
        state, child.state, child.pid = child.state, ChildState.GONE, None
        if state is ChildState.STOPPING and not child.traceback:
            return []
        if child.traceback:
            return [GiveUp(child.role, child.traceback)]
        why = _reason(child, pid, code, self.heartbeat_timeout_s)
        lost: list[ChildAction] = [Lost(child.role, why)] if child.greeted else []
        if not self._may_restart(child, now):
            return [*lost, GiveUp(child.role, f"{why}; {self._limit(child)}")]
        child.restarts += 1
        child.restarted_at.append(now)
        if child.lost_at is None:
            child.lost_at, child.lost_why = now, why
        return [*lost, Spawn(child.role)]

    def _may_restart(self, child: Child, now: float) -> bool:
        if self.restart_window_s:
            child.restarted_at = [at for at in child.restarted_at if now - at < self.restart_window_s]
        return len(child.restarted_at) < self.max_restarts

    def _limit(self, child: Child) -> str:
        within = f" within {self.restart_window_s:g} s" if self.restart_window_s else ""
        return f"it was restarted {len(child.restarted_at)} times{within} (run.max_restarts)"


def _reason(child: Child, pid: int, code: int, timeout_s: float) -> str:
    if child.killed_for_silence:
        return f"{child.role} (pid {pid}) gave no sign of life for {timeout_s:g} s and was killed"
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; perhaps the system ran out of memory" if -code == signal.SIGKILL else ""
        return f"{child.role} (pid {pid}) was ended by {name}{hint}"
    return f"{child.role} (pid {pid}) exited with code {code}"
