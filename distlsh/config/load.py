"""From files and command lines to a checked `Config`, and back to YAML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from distlsh.config.explain import problems_of
from distlsh.config.overrides import apply, parse_override
from distlsh.config.paths import resolve
from distlsh.config.presets import DEFAULT, find_config
from distlsh.config.schema import Config
from distlsh.config.validate import validate
from distlsh.config.yamlio import MOST_BYTES, KeyPath, Place, Tree, dump, parse
from distlsh.errors import ConfigError
from distlsh.files import read_text

_TOLD = 20
"""Problems that one error names."""


def load_config(
    path: str | Path | None = None,
    overrides: Sequence[str] = (),
    workers: int | None = None,
    *,
    deterministic: bool = False,
    max_restarts: int | None = None,
    check_files: bool = True,
) -> Config:
    """Read, override and check a configuration: command line over file over defaults.

    path           a YAML file, or the name of a shipped configuration; None: quickstart
    overrides      ``a.b=value``, the later over the earlier
    workers        of the command line; wins over ``run.workers`` in all other places
    deterministic  of the command line; sets ``train.deterministic``
    max_restarts   of the command line; wins over ``run.max_restarts``
    check_files    ask that the data files exist

    Raises ConfigError with a line for each problem: file and line or option, key, what was
    found, what is allowed, and the nearest right name.
    """
    file = find_config(DEFAULT if path is None else path)
    changes = [parse_override(text) for text in overrides]
    changes += _options(workers, deterministic, max_restarts)
    tree = apply(_read(file), changes)
    places = tree.places
    config = _convert(resolve(tree, file.parent))
    validate(config, places=places, check_files=check_files)
    return config


def load_resolved(
    path: str | Path,
    overrides: Sequence[str] = (),
    workers: int | None = None,
    *,
    max_restarts: int | None = None,
) -> Config:
    """Read the ``config.yaml`` of a run: paths are taken as they stand, files need not exist."""
    changes = [parse_override(text) for text in overrides] + _options(workers, False, max_restarts)
    found = _read(Path(path))
    if found.value is None:
        raise ConfigError(
            f"{path}: is empty, as a run leaves it that was cut off in its first moment; restore it, "
            "or remove this directory if it holds no checkpoints, and start the run again"
        )
    tree = apply(found, changes)
    config = _convert(tree)
    validate(config, places=tree.places, check_files=False)
    return config


def parse_config(text: str, source: str = "<text>") -> Config:
    """Read a configuration from YAML text; paths are taken as they stand."""
    tree = parse(text, source)
    config = _convert(tree)
    validate(config, places=tree.places, check_files=False)
    return config


def dump_yaml(config: Config) -> str:
    """Write every key of ``config``; `load_resolved` reads the same configuration again."""
    return dump(msgspec.to_builtins(config))


def _read(file: Path) -> Tree:
    try:
        text = read_text(file, 4 * MOST_BYTES)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except ValueError as error:
        raise ConfigError(f"{file}: {error}; is this a configuration?") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    return parse(text, str(file))


def _options(
    workers: int | None, deterministic: bool, max_restarts: int | None
) -> list[tuple[KeyPath, Tree]]:
    found: list[tuple[KeyPath, Tree]] = []
    if workers is not None:
        found.append(_option(("run", "workers"), workers, f"--workers {workers}"))
    if deterministic:
        found.append(_option(("train", "deterministic"), True, "--deterministic"))
    if max_restarts is not None:
        found.append(_option(("run", "max_restarts"), max_restarts, f"--max-restarts {max_restarts}"))
    return found


def _option(path: KeyPath, value: object, source: str) -> tuple[KeyPath, Tree]:
    return path, Tree(value, {path[:end]: Place(source) for end in range(1, len(path) + 1)})


def _convert(tree: Tree) -> Config:
    value = _without_empty_groups({} if tree.value is None else tree.value)
    problems = problems_of(value, tree.places)
    if problems:
        more = [f"and {len(problems) - _TOLD} more"] if len(problems) > _TOLD else []
        raise ConfigError("\n".join([*problems[:_TOLD], *more]))
    return msgspec.convert(value, Config, strict=True)


def _without_empty_groups(value: object) -> object:
    """Drop groups whose keys are all commented out, which YAML reads as null."""
    if not isinstance(value, dict):
        return value
    return {
        key: inner for key, inner in value.items() if inner is not None or key not in Config.__struct_fields__
    }
