"""``distlsh-launch``: train a network from a configuration.

Only the standard library is imported at the top, so that --help and wrong usage answer at once.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from distlsh._version import __version__
from distlsh.cli.errors import FAILED, guarded, silence
from distlsh.config.resuming import ALLOWED, may_change
from distlsh.errors import CheckpointError, DistlshError, UsageError

if TYPE_CHECKING:
    from distlsh.config.schema import Config
    from distlsh.protocol.reports import Summary

PROGRAM = "distlsh-launch"

_EPILOG = """\
examples:
  distlsh-launch --workers 2                                     the quickstart: generated data
  distlsh-launch --config enwiki-para --workers 8                a shipped configuration, by name
  distlsh-launch --config my.yaml --set train.lr=0.01 --dry-run  what would run, and its memory
  distlsh-launch --resume runs/20260101-120000-enwiki-para       go on with an interrupted run

Precedence: --workers, --max-restarts and --set over the file over the defaults.
Exit codes: 0 completed, 2 wrong usage or input, 130 interrupted (what was learned is saved), 1 anything else.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Train a network with a very wide output from a configuration.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what to run")
    what.add_argument(
        "--config", metavar="FILE", help="YAML file, or name of a shipped configuration (default: quickstart)"
    )
    what.add_argument("--workers", type=int, metavar="N", help="worker processes (run.workers)")
    what.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
        help="set one key, such as train.lr=0.01; may be given often",
    )  # fmt: skip
    what.add_argument(
        "--deterministic", action="store_true", help="repeat bit for bit: one worker, rehash at fixed counts"
    )
    what.add_argument("--resume", type=Path, metavar="RUN", help="go on with the run of this directory")
    what.add_argument(
        "--run-dir", type=Path, metavar="DIR", help="where to write the run (default: runs/<time>-<name>)"
    )
    what.add_argument(
        "--max-restarts", type=int, metavar="N",
        help="times that each process may be started again in run.restart_window_s (run.max_restarts)",
    )  # fmt: skip
    what.add_argument(
        "--dry-run", action="store_true", help="print the resolved configuration and the memory it needs"
    )
    shows = parser.add_argument_group("what to see")
    shows.add_argument("--quiet", action="store_true", help="print only warnings and errors")
    shows.add_argument("--plot", action="store_true", help="write plots/ at the end (needs matplotlib)")
    shows.add_argument("--verbose", action="store_true", help="tracebacks of errors")
    shows.add_argument("--version", action="version", version=f"distlsh {__version__}")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = build_parser().parse_args(argv)
    return guarded(lambda: _launch(args), program=PROGRAM, verbose=args.verbose)


def entry() -> NoReturn:
    """Run the command as a program of its own, and end it at once.

    All is closed by now; taking the interpreter and its compiled code apart would take longer than a stop.
    """
    code = main()
    silence()
    os._exit(code)


def _launch(args: argparse.Namespace) -> int:
    config = _config(args)
    if args.dry_run:
        from distlsh.cli.dry_run import dry_run

        dry_run(config)
        return 0
    return _run(args, config)


def _config(args: argparse.Namespace) -> Config:
    from distlsh.config.load import load_config, load_resolved

    if args.resume is None:
        return load_config(
            args.config,
            args.overrides,
            args.workers,
            deterministic=args.deterministic,
            max_restarts=args.max_restarts,
        )
    _check_resume(args)
    file = args.resume / "config.yaml"
    return load_resolved(file, args.overrides, args.workers, max_restarts=args.max_restarts)


def _check_resume(args: argparse.Namespace) -> None:
    for option in ("config", "run_dir", "deterministic"):
        if getattr(args, option):
            name = f"--{option.replace('_', '-')}"
            raise UsageError(
                f"--resume and {name} exclude each other: a resumed run keeps its configuration and directory"
            )
    for override in args.overrides:
        if not may_change(override.partition("=")[0].strip()):
            raise UsageError(
                f"--set {override}: a resumed run goes on with the settings it began with; "
                f"only {ALLOWED} may change"
            )
    if not os.path.isfile(args.resume / "config.yaml"):
        raise CheckpointError(f"--resume {args.resume}: not a run directory: it has no config.yaml")


def _run(args: argparse.Namespace, config: Config) -> int:
    from distlsh.runtime.processes import start_early, stop_early
    from distlsh.runtime.stop_signals import StopNow, StopSignals

    with StopSignals() as signals:  # while it imports, too; the run itself has its own
        try:
            start_early(config)  # it loads the children's kernels while this process loads its own
            return _run_beside(args, config)
        except StopNow:
            raise DistlshError(f"{signals.name}: stopped at once") from None
        finally:
            signals.deaf = True
            stop_early()


def _run_beside(args: argparse.Namespace, config: Config) -> int:
    import psutil

    from distlsh.cli.display import make_display
    from distlsh.kernels._jit import compiled_before
    from distlsh.protocol.reports import Notice

    display = make_display(quiet=args.quiet)
    if not compiled_before():
        text = "compiling the kernels for this machine: about a minute, in the first run only"
        display.notice(Notice(level="info", text=text))
    from distlsh.runtime.launch import run  # imports, and so compiles, the kernels

    if args.plot:
        _warn_without_matplotlib(display)
    try:
        # From the command on: starting Python and importing count too.
        started = psutil.Process().create_time()
        summary = run(config, observer=display, resume=args.resume, run_dir=args.run_dir, started=started)
    finally:
        display.close()
    if args.plot:
        _plot(summary, quiet=args.quiet)
    return 0 if summary.status == "completed" else 130 if summary.status == "interrupted" else FAILED


def _warn_without_matplotlib(display: object) -> None:
    from distlsh.cli.display import Display
    from distlsh.cli.plots import MISSING, can_plot
    from distlsh.protocol.reports import Notice

    if isinstance(display, Display) and not can_plot():
        display.notice(Notice(level="warning", text=f"--plot: {MISSING}; the run goes on without"))


def _plot(summary: Summary, *, quiet: bool) -> None:
    from distlsh.cli.plots import MISSING, can_plot, write_plots

    if not can_plot():
        print(f"no plots: {MISSING}, then: distlsh plot {summary.run_dir}")
        return
    written = write_plots(Path(summary.run_dir))
    if not quiet:
        print(f"plots    {', '.join(path.name for path in written)} in {Path(summary.run_dir) / 'plots'}")


if __name__ == "__main__":
    entry()
