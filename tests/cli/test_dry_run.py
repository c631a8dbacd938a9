"""--dry-run: the resolved configuration and the table of memory."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from distlsh.cli.dry_run import measure
from distlsh.cli.launch import main
from distlsh.cli.memory import memory_table
from distlsh.config.load import load_config, parse_config
from distlsh.runtime.layout import memory_plan
from distlsh.shm import memory
from distlsh.shm.memory import Machine, MemoryPlan
from distlsh.shm.spec import ArraySpec

GIB = 1 << 30


def test_table_of_memory():
    """Each array, the sums, and what the machine has, with a verdict."""
    machine = Machine(ram_bytes=8 * GIB, ram_free_bytes=4 * GIB, shm_bytes=GIB, shm_free_bytes=GIB)
    specs = [ArraySpec("output.weights", (GIB, 1), "f4", True, "model.hidden")]
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(memory_table(MemoryPlan.build(specs, n_workers=2, data_bytes=5000, machine=machine)))
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert f"output.weights 4.0 GiB f4[{GIB}, 1] model.hidden" in lines
    assert "shared, in /dev/shm 4.0 GiB" in lines
    assert "workers 32.0 MiB 2 processes run.workers" in lines
    assert "/dev/shm 1.0 GiB free of 1.0 GiB does not fit" in lines
    assert "RAM 4.0 GiB free of 8.0 GiB does not fit" in lines


def test_dry_run_prints_a_config_that_loads(capsys):
    """What is printed first is the whole configuration, as YAML."""
    assert main(["--dry-run", "--workers", "2", "--set", "train.lr=0.5"]) == 0
    text = capsys.readouterr().out
    config = parse_config(text[: text.index("Memory")])
    assert config == load_config(None, ["train.lr=0.5"], 2)
    assert "output.weights" in text
    assert "tables.ids" in text
    assert "total" in text


def test_tables_that_the_run_chooses_are_counted_at_their_bound(capsys):
    """With lsh.auto the arena has no tables of the output, and their bound stands twice in the memory."""
    changes = ["--set", "lsh.auto={recall: 0.5, max_bytes: 5242880}"]
    assert main(["--dry-run", *changes]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "tables 5.0 MiB at most, once chosen lsh.auto.max_bytes" in lines
    assert "tables 5.0 MiB at most, while others are chosen lsh.auto.max_bytes" in lines
    assert not any(line.startswith("tables.ids") for line in lines)


def test_dry_run_refuses_what_cannot_fit(capsys, monkeypatch):
    """A run that cannot fit exits 2, naming the setting to lower."""
    small = Machine(ram_bytes=GIB, ram_free_bytes=GIB, shm_bytes=1 << 20, shm_free_bytes=1 << 20)
    monkeypatch.setattr(memory.Machine, "measure", classmethod(lambda cls: small))
    assert main(["--dry-run"]) == 2
    captured = capsys.readouterr()
    assert "does not fit" in captured.out
    assert "distlsh-launch: /dev/shm has 1.0 MiB free of 1.0 MiB" in captured.err
    assert "lower " in captured.err


def test_sizes_of_generated_data_are_not_generated():
    """Generated data of any size is measured without making it."""
    config = load_config(None, ["data.synth={n_train: 1000000000, n_labels: 100000000}"])
    sizes, data_bytes = measure(config)
    assert (sizes.n_train, sizes.n_labels) == (10**9, 10**8)
    assert data_bytes > 10**11


def test_plan_has_a_rehasher_only_with_tables():
    """A budget of all labels means a dense output: no tables and no rehasher."""
    config = load_config(None, ["lsh.n_active=30000"])
    names = {item.name for item in memory_plan(config, *measure(config)).items}
    assert "rehasher" not in names
    assert "tables.ids" not in names


def test_plan_lists_the_arrays_of_hashed_hidden_layers():
    """A hashed layer has rows, marks and tables of its own, and a rehasher, also below a dense output."""
    settings = ["lsh.n_active=30000", "model.hidden=[64, 96]", "model.active_share=[1, 0.1]"]
    config = load_config(None, [*settings, "pretrain.epochs=0"])
    items = {item.name: item for item in memory_plan(config, *measure(config)).items}
    assert {"rehasher", "hidden.1.dirty", "hidden.1.tables.ids", "tables.generation"} <= items.keys()
    assert not {"input.dirty", "input.tables.ids", "tables.ids"} & items.keys()
    assert items["hidden.1.weights"].detail == "f4[96, 64]"
    assert items["hidden.1.bias"].detail == "f4[96, 1]"
    assert items["hidden.1.tables.codes"].lower == "lsh.hidden.n_tables"
    assert items["hidden.1.tables.center"].detail == "f4[2, 65]"


def test_hash_functions_of_wide_vectors_count():
    """A hashed first layer over a million features: each worker and the rehasher rotate them in 16 lanes."""
    from distlsh.runtime.layout import Sizes

    config = load_config(None, ["model.active_share=[0.1]", "pretrain.epochs=0"])
    narrow, wide = (memory_plan(config, Sizes(n, 100, 1000, 0, 1), 0) for n in (1000, 1_000_000))
    processes = config.run.workers + 1
    assert wide.bytes_of("private") - narrow.bytes_of("private") > processes * 2 * 16 * 4 * 1_000_000


def test_sizes_of_a_file_come_from_the_file(tmp_path):
    """A configuration names no data set size: it is read."""
    (tmp_path / "d.txt").write_text("3 5 4\n0,1 0:1.0 4:2\n2 1:1\n\n".replace("\n\n", "\n3 2:1\n"))
    path = tmp_path / "c.yaml"
    path.write_text("data:\n  train: d.txt\n")
    sizes, data_bytes = measure(load_config(path))
    assert (sizes.n_train, sizes.n_features, sizes.n_labels, sizes.n_test, sizes.max_labels) == (
        3,
        5,
        4,
        0,
        2,
    )
    assert data_bytes > 0


@pytest.mark.parametrize("name", ["amazon-670k", "enwiki-para"])
def test_large_configurations_fit_a_common_machine(name):
    """The shipped configurations fit in 24 GiB."""
    from distlsh.runtime.layout import Sizes

    sizes = {
        "amazon-670k": Sizes(135_909, 670_091, 490_449, 153_025, 7),
        "enwiki-para": Sizes(95_070, 220_084, 448_049, 113_203, 1),
    }[name]
    plan = memory_plan(load_config(name, check_files=False), sizes, GIB)
    assert plan.total_bytes < 20 * GIB


def test_pretraining_is_counted_where_it_needs_more_than_training():
    """Batches of thousands, compared with each other, decide a worker's scratch."""
    settings = ["data.synth={}", "pretrain.batch_size=8192"]
    without, pretrained = (
        memory_plan(config, *measure(config)).items
        for config in (load_config(None, [*settings, f"pretrain.epochs={n}"]) for n in (0, 1))
    )
    sizes = [next(i.n_bytes for i in items if i.name == "workers") for items in (without, pretrained)]
    assert sizes[1] - sizes[0] > 4 * 8192 * 8192 - (64 << 20)
