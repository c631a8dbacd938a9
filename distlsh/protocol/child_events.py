"""What can happen to children, and what can be done about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Spawned:
    """The child's process exists."""

    role: str
    pid: int


@dataclass(frozen=True)
class Unanswered:
    """The fork server ended before it told of the child."""

    role: str


@dataclass(frozen=True)
class ServerLost:
    """The fork server ended; a negative code is the signal that ended it."""

    code: int


@dataclass(frozen=True)
class ServerStandsStill:
    """The fork server was stopped by a signal."""


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
class StandsStill:
    """The child's process was stopped by a signal."""

    role: str
    pid: int


@dataclass(frozen=True)
class Exited:
    """The child's process ended; a negative code is the signal that ended it, None: nobody knows.

    note  what else is known of its end
    log   the end of its log
    """

    role: str
    pid: int
    code: int | None
    note: str = ""
    log: str = ""


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True)
class StopAll:
    """End all children: ask first, unless ``now``."""

    now: bool = False


ChildEvent = (
    Spawned
    | Unanswered
    | ServerLost
    | ServerStandsStill
    | Seen
    | Crashed
    | StandsStill
    | Exited
    | Tick
    | StopAll
)


@dataclass(frozen=True)
class Spawn:
    """Ask the fork server for the child's process."""

    role: str


@dataclass(frozen=True)
class Forget:
    """The child that was asked for is not wanted any more."""

    role: str


@dataclass(frozen=True)
class StartServer:
    """Start a fork server in the place of one that ended."""

    why: str


@dataclass(frozen=True)
class DoubtServer:
    """End the fork server if it was stopped by a signal, or in any case if it is ``overdue``."""

    overdue: bool


@dataclass(frozen=True)
class ContinueServer:
    """Send SIGCONT to the fork server."""

    why: str


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
class Look:
    """Find out whether the process was stopped by a signal."""

    role: str
    pid: int


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
    """The child is no more; its work, if it ``had_begun``, goes to others."""

    role: str
    why: str
    had_begun: bool = True


@dataclass(frozen=True)
class GiveUp:
    """The run cannot go on."""

    role: str
    detail: str


ChildAction = (
    Spawn
    | Forget
    | StartServer
    | DoubtServer
    | ContinueServer
    | Ask
    | Signal
    | Look
    | Ready
    | Recovered
    | Lost
    | GiveUp
)
