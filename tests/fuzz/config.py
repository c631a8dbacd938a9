"""Configurations: YAML text and overrides, also those of a run directory."""

from __future__ import annotations

from pathlib import Path
from random import Random

from distlsh.config.load import dump_yaml, parse_config
from distlsh.config.overrides import apply, parse_override
from distlsh.config.yamlio import parse
from tests.fuzz.mutator import Mutator
from tests.fuzz.target import Target, Wrong

_SHIPPED = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


def bomb(depth: int, width: int) -> bytes:
    """Return YAML that names each list in the next: width**depth entries for a few bytes."""
    lines = [f"a0: &a0 [{', '.join(['x'] * width)}]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, depth)]
    return "\n".join(lines).encode() + b"\n"


SEEDS = (
    *(path.read_bytes() for path in _SHIPPED),
    dump_yaml(parse_config("data: {train: x}\n")).encode(),
    b"data:\n  train: x\nmodel: {hidden: [64, 32]}\ntrain: {lr: 1e-3, step_at: [0.5, 0.75]}\n",
    bomb(9, 9),
    bomb(3, 3),
    b"data: &d {train: x}\nmodel: *d\n",
    b"a: &a [*a]\n",
    b"<<: {data: {train: x}}\n? [a, b]\n: c\n",
)
_TOKENS = (
    b"&a ", b"*a ", b"<<: ", b"!!python/object/apply:os.system ['true']", b"!!binary ", b"!x ", b"? ",
    b"- ", b": ", b"\n", b"  ", b"\t", b"|\n", b">\n", b"[" * 400, b"{a: " * 400, b"- " * 400, b"'",
    b'"', b"#", b"---\n", b"...\n", b"%YAML 1.1\n", b"\0", b"\xc2\x85", b"\xe2\x80\xa8", b"null",
    b"1e999", b"-.inf", b".nan", b"0x", b"0b1", b"_", b"9" * 5000, b"\xff\xfe", b"\xed\xa0\x80",
    b"synth: {n_labels: 5}", b"${HOME}", b"~",
)  # fmt: skip
_KEYS = (
    b"train.lr", b"model.hidden", b"lsh.n_active", b"data.train", b"run.workers", b"lsh.hidden.n_tables",
    b"data.synth", b"lsh.auto", b"train", b"a.b.c.d", b"", b".", b"model..hidden", b"model.hidden.0",
    b"lsh.family",
)  # fmt: skip
_VALUES = (
    b"0.01",
    b"[512]",
    b"1e-4",
    b"null",
    b"{a: 1}",
    b"x",
    b"",
    b"[1, 2",
    b"*a",
    b"&a 1",
    b"true",
    b"9" * 5000,
)


def make_config(random: Random) -> bytes:
    """Return YAML text, changed."""
    return Mutator(random, _TOKENS).bytes(random.choice(SEEDS), SEEDS, most=4)


def make_override(random: Random) -> bytes:
    """Return some ``key=value``, a line each."""
    mutator = Mutator(random, _TOKENS + _KEYS)
    some = [random.choice(_KEYS) + b"=" + random.choice(_VALUES) for _ in range(random.randint(1, 4))]
    return b"\n".join(mutator.bytes(one, most=2) if random.random() < 0.6 else one for one in some)


def take_config(data: bytes) -> bool:
    """Read a configuration; one that is accepted is written so that the same is read again."""
    config = parse_config(data.decode("utf-8", "replace"), "fuzz.yaml")
    if parse_config(dump_yaml(config)) != config:
        raise Wrong("written, it is not read as the same again")
    return True


def take_override(data: bytes) -> bool:
    """Apply overrides to a small configuration, as the command line does."""
    changes = [parse_override(text) for text in data.decode("utf-8", "replace").split("\n")]
    tree = apply(parse("data: {train: x}\n", "base"), changes)
    from distlsh.config.load import _convert
    from distlsh.config.validate import validate

    validate(_convert(tree), places=tree.places, check_files=False)
    return True


TARGETS = (
    Target("config", make_config, take_config, share=0.4),
    Target("override", make_override, take_override, share=2),
)
