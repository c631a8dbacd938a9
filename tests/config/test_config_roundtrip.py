"""A dumped configuration reads as the same configuration."""

from __future__ import annotations

import math
import typing

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from distlsh.config.explain import problems_of
from distlsh.config.load import dump_yaml
from distlsh.config.schema import Config
from distlsh.config.yamlio import dump, parse

ODD_TEXT = [
    "",
    "null",
    "~",
    "1e5",
    "1_000",
    "0x1f",
    "on",
    "- a",
    "a: b",
    "!x",
    "&a",
    "=",
    "<<",
    ".5",
    "+1",
    "%",
    "\x85",
    "a\u2028b",
    " \u2029 \n",
]
TEXT = st.text(max_size=20) | st.sampled_from(ODD_TEXT)


def _number(kind, make):
    low = kind.ge if kind.ge is not None else kind.gt
    high = kind.le if kind.le is not None else kind.lt
    return make(low, high, kind.gt is not None, kind.lt is not None)


def _integer(low, high, _open_low, _open_high):
    return st.integers(low, high if high is not None else low + 10**9)


def _float(low, high, open_low, open_high):
    low = math.nextafter(low, math.inf) if open_low else low
    high = 1e30 if high is None else high
    high = math.nextafter(high, low) if open_high else high
    return st.floats(low, high, allow_nan=False)


def values(kind):
    """Return a strategy for what a type of the schema allows."""
    if isinstance(kind, inspect.UnionType):
        return st.one_of(*map(values, kind.types))
    if isinstance(kind, inspect.StructType):
        return st.builds(kind.cls, **{field.name: values(field.type) for field in kind.fields})
    if isinstance(kind, inspect.LiteralType):
        return st.sampled_from(kind.values)
    if isinstance(kind, inspect.ListType):
        return st.lists(values(kind.item_type), min_size=kind.min_length or 0, max_size=3)
    if isinstance(kind, inspect.IntType):
        return _number(kind, _integer)
    if isinstance(kind, inspect.FloatType):
        return _number(kind, _float)
    return {inspect.BoolType: st.booleans(), inspect.StrType: TEXT, inspect.NoneType: st.none()}[type(kind)]


@settings(max_examples=60, deadline=None)
@given(values(inspect.type_info(Config)))
def test_dump_then_read(config):
    """Whatever the schema allows survives YAML, key by key."""
    tree = parse(dump_yaml(config), "dumped")
    assert problems_of(tree.value, tree.places) == []
    assert msgspec.convert(tree.value, Config, strict=True) == config


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**12), 10**12) | TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=8,
    )
)
def test_plain_data_survives(value):
    """Dump and parse agree on what is text, a number or null."""
    assert parse(dump(value), "dumped").value == value


@pytest.mark.parametrize("line_break", ["\x85", "\u2028", "\u2029", "\n", "\r", "\ufeff", "\x00"])
def test_line_breaks_of_any_kind_survive(line_break):
    """Each of YAML 1.1's line breaks, alone, inside and at the ends of text and of a key."""
    b = line_break
    for text in (b, f"a{b}b", f" {b} ", f"\n{b}x: 1\n", f"'{b}\\"):
        assert parse(dump({text: [text, "plain"]}), "dumped").value == {text: [text, "plain"]}


def test_every_key_of_the_schema_is_dumped():
    """A run's config.yaml shows all settings, defaults too."""
    dumped = parse(dump_yaml(Config()), "dumped").value
    for group, kind in typing.get_type_hints(Config).items():
        assert set(dumped[group]) == set(kind.__struct_fields__)
