"""The documentation says what the code does: keys, defaults, arrays, options, links."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from distlsh.cli.launch import build_parser as launch_parser
from distlsh.config.explain import all_keys
from distlsh.config.load import parse_config
from distlsh.config.presets import presets
from distlsh.runtime.layout import Sizes, plan_arrays

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "docs" / "update_configuration.py"
    spec = importlib.util.spec_from_file_location("update_configuration", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_key_is_described(script):
    """A new key of the schema must be given a meaning in configuration.md."""
    meanings = script.meanings(CONFIGURATION)
    assert sorted(meanings) == sorted(all_keys())
    assert all(meaning.strip() not in ("", script.MISSING) for meaning in meanings.values())


def test_types_and_defaults_are_those_of_the_schema(script):
    """`python docs/update_configuration.py` would not change the page."""
    assert script.updated(CONFIGURATION) == CONFIGURATION


def test_shipped_configurations_are_named():
    """README and configuration.md name every configuration that comes with distlsh."""
    for name in presets():
        assert f"`{name}`" in README, name
        assert f"`{name}`" in CONFIGURATION, name


def test_options_of_distlsh_launch_exist():
    """Every option that the README gives distlsh-launch is one of its options."""
    known = set(launch_parser()._option_string_actions)
    commands = re.findall(r"^(?:\[\d\] )? *distlsh-launch ([^#\n]*)", README, re.MULTILINE)
    used = {word for command in commands for word in re.findall(r"--[a-z-]+", command)}
    assert commands and used <= known, used - known


def test_the_example_configuration_is_accepted():
    """The YAML of the README is a valid configuration."""
    example = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert example is not None
    assert parse_config(example[1]).model.hidden == [512]


def test_every_shared_array_is_in_the_architecture_page():
    """The table of the arena lists what `plan_arrays` makes."""
    model, lsh = "model: {hidden: [8, 8], bias: true}", "lsh: {n_active: 4, dim: 8}"
    config = parse_config(f"{{data: {{train: x}}, {model}, {lsh}}}")
    sizes = Sizes(n_features=50, n_labels=100, n_train=10, n_test=0, max_labels=2)
    for spec in plan_arrays(config, sizes):
        group, _, name = spec.name.replace("hidden.1", "hidden.<i>").rpartition(".")
        shown = (f"`{group}.{name}`", f"`.{name}`", f"`X.{name}`")
        assert any(text in ARCHITECTURE for text in shown), spec.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """Relative links name files that exist, and headings that the page has."""
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), f"{page.name}: {target}"
        headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        anchors = [re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert not anchor or anchor in anchors, f"{page.name}: {target}"


def test_files_named_in_the_architecture_page_exist():
    """A module that is moved or renamed must be followed by the page."""
    for name in set(re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", ARCHITECTURE)):
        assert (ROOT / name).exists() or (ROOT / "distlsh" / name).exists(), name
