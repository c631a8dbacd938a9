"""``--dry-run``: the resolved configuration, and the memory it would take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distlsh.cli.memory import memory_table
from distlsh.config.load import dump_yaml

if TYPE_CHECKING:
    from rich.console import Console

    from distlsh.config.schema import Config, SynthConfig
    from distlsh.runtime.layout import Sizes


def dry_run(config: Config) -> None:
    """Print both; ResourceError where the machine cannot hold the run.

    Data files are parsed if they were not before: their sizes decide.  Generated data is not
    generated.
    """
    from distlsh.runtime.layout import memory_plan

    sizes, data_bytes = measure(config)
    plan = memory_plan(config, sizes, data_bytes)
    print(dump_yaml(config))
    _console().print(memory_table(plan))
    plan.check()


def _console() -> Console:
    """Return the terminal, or for a file or pipe a console wide enough for the table."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=120)


def measure(config: Config) -> tuple[Sizes, int]:
    """Return the sizes of a configuration's data, and the bytes of its parsed stores."""
    from distlsh.runtime.layout import Sizes

    if config.data.synth is not None:
        synth = config.data.synth
        sizes = Sizes(
            n_features=synth.n_features,
            n_labels=synth.n_labels,
            n_train=synth.n_train,
            n_test=synth.n_test,
            max_labels=min(synth.n_labels, int(4 * synth.n_labels_mean) + 8),
            n_train_labels=int(synth.n_train * synth.n_labels_mean),
            n_train_values=synth.n_train * synth.n_nonzeros,
        )
        return sizes, _generated_bytes(synth)
    return _measure_files(config)


def _generated_bytes(synth: SynthConfig) -> int:
    row = 16 + 8 * synth.n_nonzeros + 4 * synth.n_labels_mean
    return int((synth.n_train + synth.n_test) * row)


def _measure_files(config: Config) -> tuple[Sizes, int]:
    from distlsh.cli.meter import Meter
    from distlsh.data.opening import open_pair
    from distlsh.runtime.assembly import Data

    with Meter() as meter:
        data = Data(*open_pair(config.data, progress=meter.of("parsing")))
    return data.sizes, data.n_bytes
