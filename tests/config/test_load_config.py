"""Loading: precedence, and messages that say what, where and what to do."""

from __future__ import annotations

import pytest

from distlsh.config.load import load_config, load_resolved
from distlsh.errors import ConfigError


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write_(text, name="a.yaml"):
        (tmp_path / name).write_text(text)
        return name

    return write_


def message(path, overrides=(), workers=None, **options):
    options.setdefault("check_files", False)
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides, workers, **options)
    assert caught.value.exit_code == 2
    return str(caught.value)


SYNTH = "data:\n  synth: {}\n"


def test_command_line_wins_over_file_over_default(write):
    """Each key comes from the last place that names it."""
    path = write(SYNTH + "train:\n  lr: 0.5\n  epochs: 7\nrun:\n  workers: 2\n")
    config = load_config(path, ["train.epochs=9", "train.epochs=8"], workers=3)
    assert (config.train.lr, config.train.epochs, config.run.workers) == (0.5, 8, 3)
    assert config.train.batch_size == 32


def test_workers_option_wins_over_set(write):
    """--workers is more particular than --set run.workers."""
    assert load_config(write(SYNTH), ["run.workers=5"], workers=2).run.workers == 2


def test_scientific_notation_is_a_number(write):
    """1e-4 is a number, as in YAML 1.2, and `no` is text."""
    config = load_config(write(SYNTH + "train:\n  lr: 1e-4\nrun:\n  name: no\n"))
    assert (config.train.lr, config.run.name) == (1e-4, "no")


def test_underscores_in_numbers(write):
    """Long numbers may be grouped."""
    assert (
        load_config(write(SYNTH + "rehash:\n  initial_interval: 50_000\n")).rehash.initial_interval == 50000
    )


def test_a_group_without_keys_is_its_defaults(write):
    """A group whose keys are all commented out is allowed."""
    assert load_config(write(SYNTH + "train:\n  # lr: 3\n")).train.epochs == 1


def test_unknown_key_names_line_and_nearest(write):
    """An unknown key is an error with file, line, key path, nearest name and the names allowed."""
    text = message(write(SYNTH + "lsh:\n  n_tables: 3\n  familly: srp\n"))
    assert text == (
        "a.yaml, line 5: lsh.familly: unknown key; did you mean lsh.family? Allowed in lsh: family, "
        "n_hashes, n_tables, n_probes, probing, probe_order, dim, bin_size, density, l2_width, code_bits, "
        "transform, bucket_size, bucket_policy, center, auto, n_active, n_random, sampling, "
        "min_hits, pool, hidden"
    )


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("train.hidden", "model.hidden"),
        ("n_hashes", "lsh.n_hashes"),
        ("trian", "train"),
        ("train.learning_rate", "train.lr"),
        ("lsh.K", "lsh.n_hashes"),
        ("data.synth.n_label", "data.synth.n_labels"),
        ("rehash.initial", "rehash.initial_interval"),
    ],
)
def test_nearest_right_name(write, key, near):
    """The guess looks in the same group first, then in the others."""
    assert f"{key}: unknown key; did you mean {near}?" in message(write(SYNTH), [f"{key}=1"])


def test_no_guess_where_nothing_is_near(write):
    """A key like no other gets the list of allowed names alone."""
    text = message(write(SYNTH + "zzz: 1\n"))
    assert text == (
        "a.yaml, line 3: zzz: unknown key. Allowed: data, model, lsh, train, pretrain, rehash, eval, "
        "checkpoint, run"
    )


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.lr=0", "train.lr: found 0; allowed: a number > 0"),
        ("train.lr=fast", "train.lr: found the text 'fast'; allowed: a number > 0"),
        ("train.epochs=1.5", "train.epochs: found 1.5; allowed: a whole number >= 1"),
        ("train.momentum=1", "train.momentum: found 1; allowed: a number >= 0 and < 1"),
        ("train.epochs=true", "train.epochs: found true; allowed: a whole number >= 1"),
        ("model.normalize=1", "model.normalize: found 1; allowed: true or false"),
        (
            "lsh.family=simhash",
            "lsh.family: found the text 'simhash'; allowed: one of cross_polytope, dwta, fast_srp, l2, "
            "sparse_srp, srp, wta",
        ),
        ("run.name=12", "run.name: found 12; allowed: text or null; put it in quotes"),
        ("train.lr_input=-1", "train.lr_input: found -1; allowed: a number > 0 or null"),
        ("train.lr=.nan", "train.lr: found the text '.nan'; allowed: a number > 0"),
        ("model=3", "model: found 3; allowed: keys with values (hidden, active_share,"),
        (
            "model.hidden=128",
            "model.hidden: found 128; allowed: a list of 1 or more, each a whole number >= 1 and <= 65536",
        ),
        ("model.hidden=[]", "model.hidden: found []; allowed: a list of 1 or more, each a whole number"),
    ],
)
def test_wrong_value_says_what_is_allowed(write, override, says):
    """A value of the wrong type or range names the option, what was found and what is allowed."""
    text = message(write(SYNTH), [override])
    assert text.startswith(f"--set {override}: {says}")


def test_wrong_value_in_a_file_names_its_line(write):
    """The line of the key is told, also inside a list."""
    text = message(write(SYNTH + "model:\n  hidden:\n    - 128\n    - 0\n"))
    assert text.startswith("a.yaml, line 4: model.hidden: found [128, 0]; allowed: a list of 1 or more")


def test_all_problems_at_once(write):
    """Every problem has a line of the message, so that one reading mends them all."""
    text = message(write(SYNTH + "train:\n  lr: 0\n  epoch: 3\n"), ["lsh.dim=x"])
    assert [line.partition(": ")[0] for line in text.splitlines()] == [
        "a.yaml, line 4",
        "a.yaml, line 5",
        "--set lsh.dim=x",
    ]


def test_duplicate_key(write):
    """A key given twice is refused, with both lines."""
    text = message(write("train:\n  lr: 1\n  epochs: 2\n  lr: 2\n"))
    assert text == "a.yaml, line 4: train.lr: given twice, first in a.yaml, line 2; remove one of them"


def test_broken_yaml_names_the_line(write):
    """What is not YAML is an error with its line."""
    assert message(write("train:\n  lr: [1\n")).startswith("a.yaml, line 3: not YAML: expected ',' or ']'")


def test_foreign_tags_are_refused(write):
    """A configuration cannot make Python objects."""
    text = message(write("train:\n  lr: !!python/object/apply:os.system [ls]\n"))
    assert "train.lr" in text


def test_an_alias_cannot_contain_itself(write):
    """An alias into itself is an error, not endless recursion."""
    assert "an alias that contains itself" in message(write("model: &a\n  hidden: [*a]\n"))


def test_an_empty_configuration_of_a_run_says_what_to_do(write):
    """A start that was cut off, by an older distlsh or a disk without room, leaves one."""
    with pytest.raises(ConfigError, match=r"is empty.*start the run again"):
        load_resolved(write(""))


@pytest.mark.parametrize("text", ["", "# only a comment\n"])
def test_an_empty_file_needs_data(write, text):
    """An empty file is the defaults, which name no data."""
    assert message(write(text)) == (
        "data.train: missing; name the file to train on, or generate data with data.synth"
    )


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.lr", "--set train.lr: expected KEY=VALUE, such as --set train.lr=VALUE"),
        ("=3", "--set =3: expected KEY=VALUE, such as --set train.lr=0.01"),
        ("train..lr=3", "--set train..lr=3: expected KEY=VALUE, such as --set train.lr=VALUE"),
        ("train.lr=[1", "--set train.lr=[1: not YAML: expected ',' or ']'"),
    ],
)
def test_broken_override_is_named(write, override, says):
    """A broken --set is told as it was typed."""
    assert message(write(SYNTH), [override]).startswith(says)


def test_override_of_a_group_replaces_it(write):
    """A whole group may be set; what the file had in it is gone."""
    path = write("data:\n  synth:\n    n_labels: 50\n    n_train: 100\n")
    synth = load_config(path, ["data.synth={n_train: 7}"]).data.synth
    assert (synth.n_train, synth.n_labels) == (7, 20_000)


def test_override_makes_missing_groups(write):
    """A key below a group that is null makes the group."""
    assert load_config(write(""), ["data.synth.n_labels=40"]).data.synth.n_labels == 40


def test_nothing_after_equals_is_null(write):
    """`--set key=` unsets a key."""
    assert load_config(write(SYNTH + "run:\n  name: a\n"), ["run.name="]).run.name is None


def test_missing_config_lists_what_ships(write):
    """A name that is neither file nor shipped configuration gets the list and a guess."""
    text = message("enwiki-pra")
    assert text.startswith(
        "--config enwiki-pra: no such file; did you mean enwiki-para? Shipped configurations: amazon-670k,"
    )


def test_not_utf8(tmp_path):
    """A binary file is refused by name."""
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    assert "b.yaml: not UTF-8 text" in message(tmp_path / "b.yaml")


def test_resolved_config_is_read_as_it_stands(write):
    """A run's own config.yaml may name files that are gone, and its paths are not expanded."""
    path = write("data:\n  train: ${NOWHERE}/~x\n")
    assert load_resolved(path).data.train == "${NOWHERE}/~x"
