"""Exit codes and messages of the commands, as a shell sees them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from distlsh.cli import launch, main

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def python(*args, cwd=None):
    return subprocess.run(
        [sys.executable, *args], capture_output=True, text=True, cwd=cwd, env=ENVIRONMENT, check=False
    )


def exit_code(main, args):
    try:
        return main(args)
    except SystemExit as done:
        return done.code


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--workers", "many"], "argument --workers: invalid int value: 'many'"),
        (["--bogus"], "unrecognized arguments: --bogus"),
        (["--config", "nowhere.yaml"], "--config nowhere.yaml: no such file."),
        (["--set", "train.lrr=3"], "--set train.lrr=3: train.lrr: unknown key; did you mean train.lr?"),
        (["--workers", "0"], "--workers 0: run.workers: found 0; allowed: a whole number >= 1 and <= 1024"),
        (["--workers", "2", "--deterministic"], "--workers 2: run.workers: found 2, but train.det"),
        (["--resume", "nowhere"], "--resume nowhere: not a run directory: it has no config.yaml"),
        (["--resume", "x", "--config", "quickstart"], "--resume and --config exclude each other"),
        (["--resume", "x", "--run-dir", "y"], "--resume and --run-dir exclude each other"),
        (["--resume", "x", "--set", "model.hidden=[3]"], "--set model.hidden=[3]: a resumed run goes on"),
    ],
)  # fmt: skip
def test_wrong_usage_is_2_and_one_message(tmp_path, monkeypatch, capsys, args, says):
    """Wrong usage or input exits 2 with one message on standard error and no traceback."""
    monkeypatch.chdir(tmp_path)
    assert exit_code(launch.main, args) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count(says) == 1
    assert "Traceback" not in captured.err
    assert "\x1b" not in captured.err


def test_a_shell_sees_the_exit_code(tmp_path):
    """The process exits as main returns, with the message on standard error alone."""
    done = python("-m", "distlsh.cli.launch", "--config", "nowhere.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("distlsh-launch: --config nowhere.yaml: no such file.")
    assert len(done.stderr.splitlines()) == 1


def test_verbose_shows_the_traceback(tmp_path, monkeypatch, capsys):
    """--verbose adds where the error was raised."""
    monkeypatch.chdir(tmp_path)
    assert exit_code(launch.main, ["--config", "nowhere.yaml", "--verbose"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("args", [["--help"], ["--version"]])
@pytest.mark.parametrize("program", ["launch", "main"])
def test_help_and_version_load_nothing_heavy(program, args):
    """Help answers at once: neither numba nor numpy nor rich is imported."""
    code = (
        f"import sys; sys.argv = ['x', *{args!r}]\n"
        f"from distlsh.cli.{program} import main\n"
        "try: main()\n"
        "except SystemExit as done: assert not done.code\n"
        "heavy = {'numpy', 'numba', 'scipy', 'rich', 'yaml', 'zmq'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert "distlsh" in done.stdout


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["bogus"], "invalid choice: 'bogus'"),
        (["data"], "the following arguments are required: COMMAND"),
        (["predict", "run"], "the following arguments are required: --data, --out"),
        (["data", "synth", "x", "--noise", "2"], "--noise: found 2.0; allowed: a number >= 0 and < 1"),
        (
            ["data", "synth", "x", "--n-labels", "9", "--cluster-size", "10"],
            "--cluster-size: found 10; allowed: at most n_labels, 9",
        ),
        (["data", "info", "nowhere.txt"], "nowhere.txt"),
        (["data", "fetch", "amazon-670"], "amazon-670k"),
        (["evaluate", "nowhere", "--data", "x"], "nowhere"),
        (["predict", "nowhere", "--data", "x", "--out", "y"], "nowhere"),
        (["plot", "nowhere"], "nowhere: nothing to plot"),
    ],
)
def test_other_commands_exit_2_for_wrong_input(tmp_path, monkeypatch, capsys, args, says):
    """Each command tells wrong usage and missing input in one message."""
    monkeypatch.chdir(tmp_path)
    assert exit_code(main.main, args) == 2
    stderr = capsys.readouterr().err
    assert says in stderr
    assert "Traceback" not in stderr


def test_errors_are_red_on_a_terminal(monkeypatch):
    """On a terminal the message is red, unless NO_COLOR asks otherwise."""
    from distlsh.cli import errors

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert errors.coloured("x", "31") == "\x1b[31mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert errors.coloured("x", "31") == "x"


@pytest.mark.parametrize(
    ("raised", "code", "traceback"),
    [
        ("distlsh.errors.ConfigError('c')", 2, False),
        ("distlsh.errors.DistlshError('d')", 1, False),
        ("distlsh.errors.ChildError('worker-0', 'boom')", 1, False),
        ("distlsh.errors.RunInterrupted('saved')", 130, False),
        ("KeyboardInterrupt()", 1, False),
        ("ValueError('v')", 1, True),
    ],
)
def test_each_error_has_its_exit_code(capsys, raised, code, traceback):
    """Only what is not foreseen shows a traceback, and says that it is a mistake of the program."""
    import distlsh.errors
    from distlsh.cli.errors import guarded

    def action():
        raise eval(raised, {"distlsh": distlsh})

    assert guarded(action, program="p", verbose=False) == code
    stderr = capsys.readouterr().err
    assert ("Traceback" in stderr) == traceback
    assert stderr.count("p: ") == 1
