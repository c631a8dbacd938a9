"""Which range of work is waiting, with whom, or done: every one is in one place."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from distlsh.errors import ProtocolError
from distlsh.protocol.messages import Task


class Ledger:
    """Tasks of one phase, handed to workers one at a time and acknowledged."""

    def __init__(self, tasks: Iterable[Task] = ()) -> None:
        self._pending = deque(tasks)
        self._in_flight: dict[int, Task] = {}
        self.n_tasks = len(self._pending)
        self.n_done = 0

    def take(self, worker: int) -> Task | None:
        """Hand the next task to ``worker``; None if none is waiting or it has one."""
        if worker in self._in_flight or not self._pending:
            return None
        task = self._pending.popleft()
        self._in_flight[worker] = task
        return task

    def finish(self, worker: int, task_id: int, upto: int | None = None) -> Task:
        """Acknowledge the task of ``worker``, or its part before ``upto``; return what is done.

        The rest of it is the next task.
        """
        task = self._in_flight.get(worker)
        if task is None or task.id != task_id:
            raise ProtocolError(f"worker {worker} finished task {task_id}, but has {task}")
        del self._in_flight[worker]
        self.n_done += 1
        if upto is None or upto == task.last:
            return task
        if not task.first <= upto < task.last:
            raise ProtocolError(f"worker {worker} ended task {task} at {upto}, which is not in it")
        done, rest = cut(task, upto)
        self._pending.appendleft(rest)
        self.n_tasks += 1
        return done

    def lose(self, worker: int) -> Task | None:
        """Put the task of a dead ``worker`` back to the front."""
        task = self._in_flight.pop(worker, None)
        if task is not None:
            self._pending.appendleft(task)
        return task

    def holds(self, worker: int, task_id: int) -> bool:
        """Tell whether ``worker`` has this task."""
        task = self._in_flight.get(worker)
        return task is not None and task.id == task_id

    @property
    def at_work(self) -> list[int]:
        """The workers that have a task."""
        return list(self._in_flight)

    @property
    def quiet(self) -> bool:
        """No task is with a worker."""
        return not self._in_flight

    @property
    def finished(self) -> bool:
        """Every task is done."""
        return not self._pending and not self._in_flight

    @property
    def unfinished(self) -> list[Task]:
        """The tasks in flight and those that wait."""
        return [*self._in_flight.values(), *self._pending]

    @property
    def pending(self) -> list[Task]:
        """The tasks that wait, next first."""
        return list(self._pending)


def cut(task: Task, at: int) -> tuple[Task, Task]:
    """Return the parts of ``task`` before and from ``at``, both of its number."""
    first_sample = task.first_sample + at - task.first
    rest = msgspec.structs.replace(task, first=at, first_sample=first_sample)
    return msgspec.structs.replace(task, last=at), rest


def split(kind: str, n: int, size: int, *, epoch: int = 0, first_id: int = 0) -> list[Task]:
    """Cut [0, n) into tasks of ``size``, numbered from ``first_id``."""
    return [
        Task(id=first_id + i, kind=kind, first=first, last=min(first + size, n), epoch=epoch)
        for i, first in enumerate(range(0, n, size))
    ]
