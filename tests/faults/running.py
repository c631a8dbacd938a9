"""Runs of the command in a process of their own, and what they leave."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from distlsh.shm.names import SEGMENT_DIR, socket_root

SETTINGS = [
    "data.synth.n_train=40000",
    "data.synth.n_test=2000",
    "data.synth.n_features=2000",
    "data.synth.n_labels=1500",
    "model.hidden=[64]",
    "lsh.n_active=96",
    "train.epochs=50",
    "eval.n_rows=0",
    "pretrain.epochs=0",
    "run.report_s=0.1",
]


class Run:
    """A run, of two workers if not said otherwise; ended, if need be, at the end of the `with` block."""

    def __init__(self, folder: Path, *settings: str, out: IO[str] | None = None, workers: int = 2) -> None:
        self.dir = folder / "run"
        command = [
            sys.executable,
            "-m",
            "distlsh.cli.launch",
            "--config",
            "quickstart",
            "--workers",
            str(workers),
        ]
        command += ["--run-dir", str(self.dir), "--set", f"data.cache_dir={folder}"]
        for setting in [*SETTINGS, *settings]:
            command += ["--set", setting]
        self.out = folder / "out"
        with self.out.open("w") as file:
            self.process = subprocess.Popen(command, stdout=out or file, stderr=out or subprocess.STDOUT)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        left = self.descendants()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        _, left = psutil.wait_procs(left, timeout=5)  # who clears away what the coordinator left
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def until(self, condition, limit_s: float = 90.0) -> None:
        """Wait until ``condition`` holds, while the run goes on."""
        end = time.monotonic() + limit_s
        while not condition():
            assert self.process.poll() is None, self.out.read_text()[-2000:]
            assert time.monotonic() < end, self.out.read_text()[-2000:]
            time.sleep(0.02)

    def until_training(self) -> list[psutil.Process]:
        """Wait for the first samples; return the processes below the run's."""
        self.until(lambda: self.samples() > 0)
        return self.descendants()

    def last(self) -> dict:
        """Return the last report; empty before there is one."""
        try:
            lines = (self.dir / "metrics.jsonl").read_text().splitlines()
            return json.loads(lines[-1])
        except (OSError, IndexError, ValueError):
            return {}

    def samples(self) -> int:
        return self.last().get("samples", 0)

    def phase(self) -> str:
        return self.last().get("phase", "")

    def descendants(self) -> list[psutil.Process]:
        """Return all processes below the run's."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def left_behind(self, processes: list[psutil.Process]) -> list[object]:
        """Return what is still there of these processes, and of segments and socket folders."""
        files = [p for d in {SEGMENT_DIR, socket_root()} for p in d.glob(f"distlsh-{self.process.pid}-*")]
        return [process for process in processes if process.is_running()] + files
