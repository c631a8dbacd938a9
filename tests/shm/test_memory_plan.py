"""The estimate of a run's memory, and the refusal of what cannot fit."""

from __future__ import annotations

import pytest

from distlsh.config.schema import Config
from distlsh.errors import ResourceError
from distlsh.shm.memory import (
    CHILD_BYTES,
    COORDINATOR_BYTES,
    Machine,
    MemoryPlan,
    human,
    worker_scratch_bytes,
)
from distlsh.shm.spec import ArraySpec

GIB = 1 << 30
BIG = Machine(ram_bytes=64 * GIB, ram_free_bytes=60 * GIB, shm_bytes=32 * GIB, shm_free_bytes=32 * GIB)
SPECS = [
    ArraySpec("output.weights", (1000, 256), "f4", True, "model.hidden"),
    ArraySpec("output.weights.state1", (1000, 256), "f4", True, "model.hidden (or train.optimizer)"),
    ArraySpec("tables.ids", (2, 40, 64), "i4", True, "lsh.n_tables"),
    ArraySpec("odd", (3,), "u1"),
]


def plan(machine=BIG, **options):
    return MemoryPlan.build(SPECS, n_workers=2, machine=machine, **options)


def test_sums_by_kind():
    """Shared arrays count once, padded to cache lines; private memory counts for each process."""
    found = plan(scratch_bytes=1000, data_bytes=5000)
    assert found.bytes_of("shared") == 2 * 1000 * 256 * 4 + 2 * 40 * 64 * 4 + 64
    assert found.bytes_of("mapped") == 5000
    assert found.bytes_of("private") == COORDINATOR_BYTES + 2 * (CHILD_BYTES + 1000) + CHILD_BYTES
    assert found.total_bytes == found.bytes_of("shared", "mapped", "private")


def test_a_dense_run_has_no_rehasher():
    """Without tables there is one process less."""
    assert plan().total_bytes - plan(tables=False).total_bytes == CHILD_BYTES


def test_what_fits_is_not_refused():
    """A machine with room raises nothing."""
    assert plan().problems() == []
    plan().check()


def test_small_shm_names_the_setting_to_lower():
    """The setting that takes most is named, and how to enlarge /dev/shm."""
    machine = Machine(ram_bytes=64 * GIB, ram_free_bytes=60 * GIB, shm_bytes=2 << 20, shm_free_bytes=1 << 20)
    with pytest.raises(ResourceError) as caught:
        plan(machine).check()
    assert str(caught.value) == (
        "/dev/shm has 1.0 MiB free of 2.0 MiB, the shared arrays need 2.0 MiB: lower model.hidden, "
        "which takes 2.0 MiB, or enlarge it: sudo mount -o remount,size=2G /dev/shm"
    )
    assert caught.value.exit_code == 2


def test_small_ram_is_refused_too():
    """Shared and private memory together must fit in what is free."""
    machine = Machine(ram_bytes=128 << 20, ram_free_bytes=100 << 20, shm_bytes=GIB, shm_free_bytes=GIB)
    (problem,) = plan(machine).problems()
    assert problem.startswith("100.0 MiB of RAM are free of 128.0 MiB, the run needs ")


def test_mapped_data_may_be_larger_than_ram():
    """Pages of the data's store can be dropped and read again: they do not have to fit."""
    assert plan(data_bytes=1000 * GIB).problems() == []


def test_this_machine_can_be_measured():
    """There is some memory here."""
    machine = Machine.measure()
    assert 0 < machine.ram_free_bytes <= machine.ram_bytes


def test_scratch_grows_with_labels_and_batch():
    """A worker's private arrays depend on the number of labels and on the batch."""
    config = Config()
    assert worker_scratch_bytes(config, 10**6, 10) > worker_scratch_bytes(config, 10**5, 10) > 0


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1 << 20, "1.0 MiB"), (3 << 40, "3.0 TiB"), (1536, "1.5 KiB")],
)
def test_bytes_for_people(n, text):
    """Sizes are told in the unit that fits."""
    assert human(n) == text
