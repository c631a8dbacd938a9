"""Training from Python: the same run as `distlsh-launch` starts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from distlsh.config.load import load_config, load_resolved, parse_config
from distlsh.config.schema import Config
from distlsh.config.validate import validate
from distlsh.protocol.reports import Summary
from distlsh.runtime.launch import run
from distlsh.runtime.observer import Observer, Silent


def train(
    config: Config | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    *,
    workers: int | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    observer: Observer | None = None,
) -> Summary:
    """Train, evaluate and save a model, and return the run's summary.

    config    a `Config`, a mapping of its groups, a YAML file or the name of a shipped
              configuration; None: quickstart
    workers   processes that train; None: ``run.workers``
    run_dir   where the run writes; None: ``run.dir``
    resume    a run directory to go on with; without ``config``, by its own ``config.yaml``
    observer  is told of every report; None: nobody is

    ``Model.load(summary.run_dir)`` loads the result.  Raises ConfigError for settings,
    other DistlshErrors for what goes wrong later, RunInterrupted after a signal.
    """
    if resume is not None and config is None:
        settings = load_resolved(Path(resume) / "config.yaml", workers=workers)
    else:
        settings = as_config(config, workers)
    return run(settings, observer=observer or Silent(), resume=_path(resume), run_dir=_path(run_dir))


def as_config(
    config: Config | Mapping[str, Any] | str | os.PathLike[str] | None, workers: int | None = None
) -> Config:
    """Return the checked `Config` of any form that `train` takes; ConfigError if it is wrong."""
    if config is None or isinstance(config, str | os.PathLike):
        return load_config(None if config is None else Path(config), workers=workers)
    if isinstance(config, Mapping):
        # JSON is YAML: one reader checks keys and ranges, with the same messages
        config = parse_config(json.dumps(config), "train(config)")
    if workers is not None:
        config = msgspec.structs.replace(config, run=msgspec.structs.replace(config.run, workers=workers))
    validate(config)
    return config


def _path(path: str | os.PathLike[str] | None) -> Path | None:
    return None if path is None else Path(path)
