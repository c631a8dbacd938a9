"""Who runs where, on made-up machines."""

from __future__ import annotations

import pytest

from distlsh.runtime.placement import place, worker_order
from distlsh.runtime.topology import Cpu, numbers, usable_cpus


def machine(nodes, cores, threads):
    """Return the processors of a machine, numbered as Linux does: first threads of all cores, then second."""
    return [
        Cpu(node, node * cores + core, thread * nodes * cores + node * cores + core)
        for thread in range(threads)
        for node in range(nodes)
        for core in range(cores)
    ]


def test_two_cores_are_shared_by_two_workers_and_the_rehasher():
    """Without a core to spare the rehasher may run on all of them."""
    found = place(machine(1, 2, 1), 2)
    assert found.workers == (0, 1) and found.shared
    assert found.rehasher == found.coordinator == {0, 1}


def test_one_worker_of_two_cores_leaves_the_other_to_the_rest():
    """The rehasher gets the spare core, and the coordinator shares it."""
    found = place(machine(1, 2, 1), 1)
    assert found.workers == (0,) and not found.shared
    assert found.rehasher == found.coordinator == {1}


def test_workers_alternate_between_nodes_before_any_core_is_used_twice():
    """On 2 nodes x 8 cores x 2 threads, 16 workers take 16 physical cores, half of them on each node."""
    cpus = machine(2, 8, 2)
    found = place(cpus, 16)
    by_id = {cpu.id: cpu for cpu in cpus}
    assert found.workers[:4] == (0, 8, 1, 9)
    assert len({by_id[i].core for i in found.workers}) == 16
    # Only second threads are left: the rehasher has one for itself.
    assert not found.shared and by_id[min(found.rehasher)].id >= 16
    assert not found.rehasher & found.coordinator


def test_a_free_core_goes_to_the_rehasher_before_a_workers_sibling():
    """15 workers of 16 cores leave one physical core: that one, not a second thread."""
    found = place(machine(2, 8, 2), 15)
    assert found.rehasher == {15}


def test_a_limited_set_of_cores_is_all_that_is_used():
    """Where a cgroup allows two threads of one core and one of another, the second core comes first."""
    allowed = [Cpu(0, 3, 3), Cpu(0, 3, 19), Cpu(1, 9, 9)]
    assert [cpu.id for cpu in worker_order(allowed)] == [3, 9, 19]
    found = place(allowed, 2)
    assert found.workers == (3, 9) and found.rehasher == {19} == found.coordinator


@pytest.mark.parametrize("n_workers", [3, 7])
def test_more_workers_than_processors_share_them_evenly(n_workers):
    """No processor gets two workers more than another."""
    found = place(machine(1, 2, 1), n_workers)
    counts = [found.workers.count(i) for i in (0, 1)]
    assert sum(counts) == n_workers and abs(counts[0] - counts[1]) <= 1 and found.shared


def test_a_run_without_tables_leaves_all_spare_cores_to_the_coordinator():
    """There is no rehasher to place then."""
    found = place(machine(1, 4, 1), 2, rehasher=False)
    assert found.coordinator == {2, 3} and not found.shared


def test_the_kernels_description_is_read(tmp_path):
    """Nodes and siblings come from /sys; processors beyond the allowed ones are left out."""
    for node, cpus in ((0, "0-1,4-5"), (1, "2-3,6-7")):
        folder = tmp_path / "node" / f"node{node}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(f"{cpus}\n")
    for cpu in range(8):
        folder = tmp_path / "cpu" / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    assert usable_cpus(tmp_path, {1, 2, 5}) == (Cpu(0, 1, 1), Cpu(0, 1, 5), Cpu(1, 2, 2))


def test_without_a_description_each_processor_is_a_core(tmp_path):
    """A kernel that says nothing is taken for one node without SMT."""
    assert usable_cpus(tmp_path, {0, 3}) == (Cpu(0, 0, 0), Cpu(0, 3, 3))


def test_kernel_lists_are_numbers_and_ranges():
    """As in /sys: single numbers, ranges, both; an empty list is empty."""
    assert numbers("0-2,8\n") == {0, 1, 2, 8} and numbers("\n") == set()
