"""The run under test: a command of its own, started and resumed, with folders of its own."""

from __future__ import annotations

import os
import resource
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from distlsh.config.load import dump_yaml
from distlsh.config.schema import Config
from distlsh.errors import DistlshError
from distlsh.runtime.chaos import sight
from distlsh.runtime.chaos.ear import Ear, publisher
from distlsh.runtime.chaos.sight import MARKER, Seen
from distlsh.runtime.prctl import ending_with_caller

POLL_S = 0.005
_START_S = 120.0
_CLOSE_S = 5.0
_SOCKETS, _TEMPORARY = "sockets", "tmp"


class Life:
    """One process of the command, from its start or resume to its end."""

    def __init__(self, popen: subprocess.Popen[bytes], sockets: Path) -> None:
        self.pid = popen.pid
        self.started = time.monotonic()
        self.code: int | None = None
        self.ended: float | None = None
        self._popen = popen
        self._sockets = sockets
        self._ear: Ear | None = None
        self.descriptors: dict[tuple[str, int], list[int]] = {}  # by role and pid, at quiet moments
        self.young: set[int] = set()  # children that were looked at once: they may be opening things still
        self.zombies: set[int] = set()  # that were there twice

    @property
    def ear(self) -> Ear | None:
        """What the run publishes; None before it has its sockets."""
        if (
            self._ear is None
            and self.code is None
            and (address := publisher(self._sockets, self.pid)) is not None
        ):
            self._ear = Ear(address)
        return self._ear

    @property
    def segment(self) -> Path | None:
        """The arena; None before it is there."""
        found = [path for path in sight.segments(self.pid) if "-tables-" not in path.name]
        return found[0] if found and found[0].stat().st_size else None

    @property
    def alive(self) -> bool:
        """Whether the command still runs."""
        if self.code is None:
            self.code = self._popen.poll()
            if self.code is not None:
                self.ended = time.monotonic()
                self.close()
        return self.code is None

    def close(self) -> None:
        """Listen no longer."""
        if self._ear is not None:
            self._ear.close()

    def kill(self) -> None:
        """End the process, whatever state it is in."""
        if self._popen.poll() is None:
            self._popen.kill()
        self._popen.wait()


class Target:
    """A run, its folders, and all processes it ever had."""

    def __init__(self, root: Path, name: str, folders: Sequence[Path] = ()) -> None:
        """Make the folders.

        root     of everything this run writes
        folders  beside its directory, in which it must leave no temporary file
        """
        self._folders = folders
        self.token = secrets.token_hex(8)
        self.run_dir = root / name
        self.output = root / f"{name}.log"
        self.lives: list[Life] = []
        self.pids: dict[int, str] = {}
        self._config = root / f"{name}.yaml"
        # Short: the address of a socket has 100 letters at most.
        self.own = Path(tempfile.mkdtemp(prefix="dlchaos-"))
        for part in (_SOCKETS, _TEMPORARY):
            (self.own / part).mkdir(mode=0o700)

    @property
    def life(self) -> Life:
        """The present process, or the last."""
        return self.lives[-1]

    def start(self, config: Config) -> Life:
        """Start the run."""
        self._config.write_text(dump_yaml(config))
        return self._command("--config", str(self._config), "--run-dir", str(self.run_dir))

    def resume(self) -> Life:
        """Go on with the run, or begin it again where it never got a directory."""
        if (self.run_dir / "config.yaml").is_file():
            return self._command("--resume", str(self.run_dir))
        shutil.rmtree(self.run_dir, ignore_errors=True)
        return self._command("--config", str(self._config), "--run-dir", str(self.run_dir))

    def _command(self, *arguments: str) -> Life:
        command = [sys.executable, "-m", "distlsh.cli.launch", *arguments]
        environment = {
            **os.environ,
            MARKER: self.token,
            "XDG_RUNTIME_DIR": str(self.own / _SOCKETS),
            "TMPDIR": str(self.own / _TEMPORARY),
        }
        end_with_us = ending_with_caller()

        def prepare() -> None:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            end_with_us()

        with self.output.open("ab") as output:
            output.write(f"\n== {time.strftime('%H:%M:%S')} {' '.join(arguments)}\n".encode())
            output.flush()
            popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment,
                start_new_session=True, preexec_fn=prepare,
            )  # fmt: skip
        self.lives.append(Life(popen, self.own / _SOCKETS))
        return self.life

    def processes(self) -> list[Seen]:
        """Return the run's living processes; their pids are remembered."""
        found = sight.marked(self.token)
        self.pids.update({one.pid: one.name for one in found})
        return found

    def process_of(self, role: str) -> Seen | None:
        """Return the process of ``role``; the youngest, should there be two."""
        if role == "coordinator":
            return sight.process(self.life.pid)
        return max((one for one in self.processes() if one.name == role), default=None)

    def until(self, condition: Callable[[], object], limit_s: float = _START_S) -> bool:
        """Wait until ``condition`` holds; False where the command ended or the time is over before."""
        end = time.monotonic() + limit_s
        while self.life.alive and time.monotonic() < end:
            if condition():
                return True
            time.sleep(POLL_S)
        return bool(condition())

    def finish(self, limit_s: float) -> int:
        """Wait for the command's end and return its exit code; DistlshError where it does not end."""
        if not self.until(lambda: not self.life.alive, limit_s):
            raise DistlshError(f"the run (pid {self.life.pid}) does not end; its output is in {self.output}")
        assert self.life.code is not None
        return self.life.code

    def finish_whole(self, silence_s: float) -> int:
        """Wait for as long as the run gets on with something, and return its exit code.

        DistlshError after ``silence_s`` seconds, twice that at most, in which it has done nothing.
        """
        before = -1
        while not self.until(lambda: not self.life.alive, silence_s):
            now = self.life.ear.news if self.life.ear is not None else 0
            if now == before:
                return self.finish(0)
            before = now
        assert self.life.code is not None
        return self.life.code

    def left(self) -> list[str]:
        """Return what is left of the run, its results aside, once it has ended."""
        reap(set(self.pids))
        found = [f"process {one.pid} ({one.name}, {one.state})" for one in self.processes()]
        found += [
            f"process {pid} ({name}, {one.state})"
            for pid, name in self.pids.items()
            if (one := sight.process(pid)) is not None and one.state == "Z"
        ]
        found += [f"segment {path.name}" for life in self.lives for path in sight.segments(life.pid)]
        for part in (_SOCKETS, _TEMPORARY):
            found += [str(path.relative_to(self.own)) for path in sorted((self.own / part).iterdir())]
        written = [path for folder in (self.run_dir, *self._folders) for path in folder.rglob("*")]
        found += [str(path) for path in written if "tmp" in path.name or "temporary" in path.name]
        return sorted(set(found))

    def close(self) -> None:
        """End what still runs and remove the run's own folders, not its directory."""
        for life in self.lives:
            life.kill()
            life.close()
        end = time.monotonic() + _CLOSE_S
        while (there := self.processes()) and time.monotonic() < end:  # one may just be forked
            for one in there:
                kill(one.pid)
            time.sleep(POLL_S)
        reap(set(self.pids))
        for life in self.lives:
            for path in sight.segments(life.pid):
                path.unlink(missing_ok=True)
        shutil.rmtree(self.own, ignore_errors=True)


def kill(pid: int, number: int = 9) -> bool:
    """Send a signal; False where the process is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def reap(pids: set[int]) -> None:
    """Take note of the end of orphans that this process was given."""
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue
