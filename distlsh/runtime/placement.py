"""Which core each process of a run gets: a function of the topology alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from distlsh.runtime.topology import Cpu


@dataclass(frozen=True, slots=True)
class Placement:
    """Numbers of processors.

    workers      of each worker
    rehasher     those that the rehasher may use
    coordinator  those that the coordinator may use
    shared       the rehasher has no processor of its own: it runs in the workers' gaps
    """

    workers: tuple[int, ...]
    rehasher: frozenset[int]
    coordinator: frozenset[int]
    shared: bool


def place(cpus: Iterable[Cpu], n_workers: int, *, rehasher: bool = True) -> Placement:
    """Spread workers over nodes, a physical core each before any core's second thread is used.

    cpus      at least one
    rehasher  whether there is one: it comes before the coordinator, which computes little

    What is left over goes to the rehasher and then to the coordinator, a free physical core before
    a sibling of a worker's.  With nothing left over both may run anywhere.  More workers than
    processors share them, evenly.
    """
    order = worker_order(cpus)
    workers = tuple(order[i % len(order)].id for i in range(n_workers))
    spare = [cpu.id for cpu in _free_cores_first(order, n_workers)]
    everywhere = frozenset(cpu.id for cpu in order)
    own = frozenset(spare[:1]) if rehasher else frozenset()
    others = frozenset(spare[1:] if rehasher else spare)
    return Placement(
        workers=workers,
        rehasher=own or everywhere,
        coordinator=others or own or everywhere,
        shared=rehasher and not own,
    )


def worker_order(cpus: Iterable[Cpu]) -> list[Cpu]:
    """Return processors as workers take them: first threads of all cores, node by node in turn."""
    ranked: dict[int, dict[int, list[Cpu]]] = defaultdict(lambda: defaultdict(list))
    seen: dict[int, int] = defaultdict(int)
    for cpu in sorted(cpus):
        ranked[seen[cpu.core]][cpu.node].append(cpu)
        seen[cpu.core] += 1
    found: list[Cpu] = []
    for thread in sorted(ranked):
        nodes = [ranked[thread][node] for node in sorted(ranked[thread])]
        found += [cpu for row in zip_longest(*nodes) for cpu in row if cpu is not None]
    return found


def _free_cores_first(order: Sequence[Cpu], n_workers: int) -> list[Cpu]:
    used = {cpu.core for cpu in order[:n_workers]}
    return sorted(order[n_workers:], key=lambda cpu: cpu.core in used)
