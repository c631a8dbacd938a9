"""From exceptions to exit codes: each error is printed once, without a traceback."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress

from distlsh.errors import DistlshError, RunInterrupted

FAILED = 1


def guarded(action: Callable[[], int], *, program: str, verbose: bool) -> int:
    """Run ``action`` and return its exit code, or that of the error that ended it.

    What distlsh raises on purpose is printed without a traceback unless ``verbose``; anything
    else is a mistake in the program, and its traceback is what a report of it needs.
    """
    try:
        return action()
    except DistlshError as error:
        if verbose:
            traceback.print_exc()
        style = "33" if isinstance(error, RunInterrupted) else "31"
        _say(program, str(error), style)
        return error.exit_code
    except KeyboardInterrupt:
        _say(program, "interrupted; nothing was saved", "31")
        return FAILED
    except BrokenPipeError:
        silence()  # whoever read the output is gone
        return FAILED
    except Exception as error:
        traceback.print_exc()
        what = next(iter(str(error).splitlines()), "")
        _say(program, f"a mistake in distlsh itself: {type(error).__name__}: {what}", "31")
        return FAILED


def silence() -> None:
    """Write to nowhere where nobody reads any more; the interpreter's last flush would fail, too."""
    for stream in filter(None, (sys.stdout, sys.stderr)):  # a closed descriptor has none
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _say(program: str, text: str, style: str) -> None:
    with suppress(OSError):
        print(f"{program}: {coloured(text, style)}", file=sys.stderr, flush=True)


def coloured(text: str, style: str) -> str:
    """Wrap ``text`` in a terminal colour where standard error is a terminal that wants it."""
    wanted = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"\x1b[{style}m{text}\x1b[0m" if wanted else text
