"""Coordinators killed while they write checkpoints, and whether training can always be gone on with.

    python benchmarks/crash_saves.py --crashes 100 --seed 1

One training after the other is started from what the one before left, and killed with SIGKILL at a random
moment while the hidden folder of a checkpoint is there.  After each crash the newest checkpoint must be found
without a complaint and load, with finite weights; the next run must go on from it, train further and save
again.  The last one is stopped in good order.  Exit code 0 only if every crash was survived.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

from endings import end
from results import write

from distlsh.constants import PRETRAIN
from distlsh.inference import Model
from distlsh.model.checkpoint import checkpoints, latest_checkpoint, read_checkpoint
from distlsh.runtime.prctl import ending_with_caller
from distlsh.runtime.stop_signals import interrupted_by_signals
from distlsh.shm.names import SEGMENT_DIR, socket_root

SETTINGS = (
    *("data.synth.n_train=20000", "data.synth.n_test=200", "data.synth.n_features=3000"),
    *("data.synth.n_labels=6000", "model.hidden=[128]", "lsh.n_active=128", "lsh.n_tables=8"),
    *("train.epochs=100000", "eval.n_rows=0", "eval.initial=false", "checkpoint.interval=2000000000"),
    *("checkpoint.interval_s=0.2", "train.chunk_size=512", "run.report_s=0.2"),
)
_HIDDEN = ".tmp-*"
_START_S = 600.0  # kernels may be compiled first
_POLL_S = 0.0002


class Chain:
    """Runs in one run directory, one after the other."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.run_dir, self.cache = folder / "run", folder / "cache"
        self.draw = random.Random(seed)
        self.lengths = [0.05]  # seconds for which hidden folders were seen
        self.samples = 0
        self.pids: list[int] = []
        self.found: dict[str, Any] = {"crashes": 0, "in_a_save": 0, "too_late": 0, "old": 0, "new": 0}
        self.found |= {"failures": [], "resume_s": []}

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "distlsh.cli.launch", "--quiet"]
        if (self.run_dir / "config.yaml").exists():
            command += ["--resume", str(self.run_dir)]
        else:
            command += ["--config", "quickstart", "--workers", "2", "--run-dir", str(self.run_dir)]
            for setting in (*SETTINGS, f"data.cache_dir={self.cache}"):
                command += ["--set", setting]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment,
            preexec_fn=ending_with_caller(),
        )  # fmt: skip
        self.pids.append(process.pid)
        return process

    def hidden(self) -> str | None:
        return next((path.name for path in (self.run_dir / "checkpoints").glob(_HIDDEN)), None)

    def wait_for_save(self, process: subprocess.Popen[bytes], ignored: str | None) -> str:
        """Return the hidden folder of a checkpoint as soon as one is there that no crash has left."""
        end = time.monotonic() + _START_S
        while (name := self.hidden()) is None or name == ignored or name.startswith(".tmp-old-"):
            if name is None:
                ignored = None
            if process.poll() is not None or time.monotonic() > end:
                assert process.stderr is not None
                process.kill()
                raise RuntimeError(f"no save begins: {process.stderr.read().decode()[-500:]}")
            time.sleep(_POLL_S)
        return name

    def crash(self) -> bool:
        """Start, kill within a save, look at what is left; tell whether it was within."""
        left, before = self.hidden(), [path.name for path in checkpoints(self.run_dir / "checkpoints")]
        started = time.monotonic()
        process = self.start()
        try:
            name = self.wait_for_save(process, left)
            self.found["resume_s"].append(round(time.monotonic() - started, 2))
            for _ in range(self.draw.randrange(3)):  # not always the first one
                self._let_end(name)
                name = self.wait_for_save(process, None)
            time.sleep(self.draw.uniform(0, 1.2 * statistics.median(self.lengths)))
            within = self.hidden() == name
        except KeyboardInterrupt:
            end(process)
            raise
        finally:
            process.kill()
            process.communicate()
        within = within and self.hidden() is not None
        self.found["crashes"] += 1
        self.found["in_a_save" if within else "too_late"] += 1
        after = [path.name for path in checkpoints(self.run_dir / "checkpoints")]
        self.found["new" if after[:1] != before[:1] else "old"] += 1
        return within

    def _let_end(self, name: str) -> None:
        since, end = time.monotonic(), time.monotonic() + _START_S
        while self.hidden() == name and time.monotonic() < end:
            time.sleep(_POLL_S)
        self.lengths = [*self.lengths[-20:], time.monotonic() - since]

    def check(self) -> None:
        """Note what is wrong with what the crash left; the run before any checkpoint has nothing to lose."""
        if not checkpoints(self.run_dir / "checkpoints"):
            return
        latest = latest_checkpoint(self.run_dir)
        arrays, state = read_checkpoint(latest.path)
        position = state["position"]
        if position["stage"] != PRETRAIN:
            Model.load(self.run_dir)
        samples = int(position["samples"] + position["pretrained"])
        finite = all(np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == "f")
        if latest.warnings or not finite or samples < self.samples:
            self.found["failures"].append(
                f"{latest.path.name}: {latest.warnings}, finite {finite}, {samples}"
            )
        self.samples = samples

    def end(self) -> None:
        """Go on once more, and stop in good order."""
        process = self.start()
        try:
            self.wait_for_save(process, self.hidden())
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=_START_S)
        finally:
            end(process)
        if process.returncode != 130:
            self.found["failures"].append(
                f"the last run ended with {process.returncode}: {said.decode()[-500:]}"
            )
        self.check()


def leftovers(pids: list[int]) -> list[str]:
    """Return the segments and socket folders of these coordinators; other runs may go on beside."""
    folders = (SEGMENT_DIR, socket_root())
    return sorted(path.name for pid in pids for folder in folders for path in folder.glob(f"distlsh-{pid}-*"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--crashes", type=int, default=100, help="within a save; default 100")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="leave the figures in benchmarks/results")
    args = parser.parse_args()
    folder, started = Path(tempfile.mkdtemp(prefix="distlsh-crashes-")), time.monotonic()
    chain = Chain(folder, args.seed)
    try:
        while chain.found["in_a_save"] < args.crashes:
            within = chain.crash()
            chain.check()
            print(
                f"{chain.found['in_a_save']:>4} of {args.crashes} {'in a save' if within else 'after one'}; "
                f"{chain.samples:,} samples; failures {len(chain.found['failures'])}",
                flush=True,
            )
        chain.end()
        time.sleep(5)  # for the children of the last one killed
        chain.found["leftovers"] = leftovers(chain.pids)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    found = chain.found
    resumed = found.pop("resume_s")
    found |= {
        "samples": chain.samples,
        "resume_s_median": statistics.median(resumed),
        "total_s": round(time.monotonic() - started),
    }
    found["loadable_resumes"] = found["crashes"] - len(found["failures"])
    print(json.dumps(found, indent=2))
    if args.write:
        write("crash_saves", found)
    return int(bool(found["failures"] or found["leftovers"]))


if __name__ == "__main__":
    with interrupted_by_signals():
        sys.exit(main())
