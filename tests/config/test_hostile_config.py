"""Configurations made to cost time or memory, or to break a parser: one error that names the place."""

from __future__ import annotations

import pytest

from distlsh.config.load import load_config, parse_config
from distlsh.config.overrides import parse_override
from distlsh.errors import ConfigError
from tests.fuzz.config import bomb


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (bomb(9, 9).decode(), "more than 20,000 values, those that aliases repeat included"),
        ("data: " + "[" * 5000, "nested too deeply"),
        (
            "data: {train: x}\ntrain: {lr: " + "9" * 5000 + "}",
            r"line 2: train.lr: '999.*\.\.\.' cannot be read as int",
        ),
        ("model: {bias: !!bool yes}", r"line 1: model.bias: 'yes' cannot be read as bool"),
        ("train: {lr: !!float x}", "cannot be read as float"),
        ("x: " + "y" * 300_000, "300,003 characters; a configuration has at most"),
    ],
)
def test_text_that_would_break_a_parser_is_one_short_error(text, what):
    """Aliases of aliases, nesting, endless numbers, wrong tags, endless text."""
    with pytest.raises(ConfigError, match=what) as found:
        parse_config(text, "my.yaml")
    assert len(str(found.value)) < 300


def test_many_problems_are_told_in_part():
    """Of hundreds of unknown keys the first are named."""
    with pytest.raises(ConfigError, match="and 280 more") as found:
        parse_config("\n".join(f"k{i}: 1" for i in range(300)) + "\ndata: {train: x}")
    assert len(str(found.value).splitlines()) == 21


def test_a_long_override_is_shown_in_part():
    """An option of ten thousand characters is not repeated in full."""
    with pytest.raises(ConfigError) as found:
        parse_override("x" * 10_000)
    assert len(str(found.value)) < 300


def test_a_file_that_is_no_configuration_is_not_read_whole(tmp_path):
    """A large file is refused by its size."""
    (tmp_path / "big.yaml").write_bytes(b"\0" * (2 << 20))
    with pytest.raises(ConfigError, match="is this a configuration"):
        load_config(tmp_path / "big.yaml")
