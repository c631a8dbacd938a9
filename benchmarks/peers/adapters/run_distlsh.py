"""distlsh, by its own command: ``distlsh-launch`` in processes of its own, then the model it left.

Settings: ``config``, a shipped configuration or a file; ``set``, overrides; ``points``: evaluations in
training on ``point_rows`` test rows, with its clock stopped; ``workers``: default, the cores.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from adapter import TOP_K, emit, features, latency, phase, save_predictions, start

import distlsh

LAUNCH = [sys.executable, "-m", "distlsh.cli.launch"]


def command(job, run, train_rows):
    s = job.setting
    every = train_rows * s.get("epochs", 1) // s["points"] if s.get("points") else 0
    own = {
        "data.train": f"{job.train}.txt",
        "data.test": f"{job.test}.txt",
        "data.cache_dir": str(job.work.parent / "cache"),
        "data.synth": "null",
        "eval.interval": every,
        "eval.n_rows": s.get("point_rows", 2000) if every else 0,
        "eval.initial": "true" if every else "false",
        "eval.final_rows": 500,
        "eval.lsh": "false",
    }
    overrides = [f"{key}={value}" for key, value in own.items()] + list(s.get("set", ()))
    workers = ["--workers", str(s.get("workers", job.threads))]
    return [
        *LAUNCH,
        "--config",
        s["config"],
        *workers,
        "--quiet",
        "--run-dir",
        str(run),
        *sum_sets(overrides),
    ]


def sum_sets(overrides):
    return [word for override in overrides for word in ("--set", override)]


def train_rows(job):
    with open(f"{job.train}.txt") as file:
        return int(file.readline().split()[0])


def points(run):
    for line in (run / "eval.jsonl").read_text().splitlines():
        found = json.loads(line)
        if found["kind"] != "final":
            kept = ("train_s", "samples", "p_at_1", "p_at_3", "p_at_5")
            emit("point", **{key: found[key] for key in kept}, scored_rows=found["n_rows"])


def main():
    job = start()
    emit("version", version=distlsh.__version__)
    run = job.work / f"run-{int(time.time())}"
    with phase("load"):
        for stem in (job.train, job.test):
            distlsh.open_dataset(f"{stem}.txt", cache_dir=job.work.parent / "cache")
        test = features(job.test, job.n_features)
    with phase("train") as notes:
        finished = subprocess.run(command(job, run, train_rows(job)), stdout=sys.stderr, check=False)
        if finished.returncode != 0:
            raise SystemExit(f"distlsh-launch: exit code {finished.returncode}")
        summary = json.loads((run / "summary.json").read_text())
        kept = (
            "train_s",
            "samples",
            "n_active_mean",
            "mac_fraction",
            "start_s",
            "first_step_s",
        )
        notes |= {key: summary[key] for key in kept if key in summary}
        # Its own figure leaves out the pretraining; beside others' all time counts.
        notes["step_samples_per_s"] = summary["samples_per_s"]
        notes["samples_per_s"] = summary["samples"] / summary["train_s"]
    emit("note", total_s=summary["total_s"], rehashes=summary["rehashes"], run_dir=str(Path(run)))
    points(run)
    with phase("open"):
        model = distlsh.Model.load(run)
    for mode in ("exact", "lsh") if model.has_tables else ("exact",):
        model.predict(test[:256], k=TOP_K, method=mode)
        with phase("predict" if mode == "exact" else f"predict-{mode}") as notes:
            ids, _ = model.predict(test, k=TOP_K, method=mode)
        save_predictions(job, mode, ids, mode=mode, seconds=notes["seconds"])
        latency(
            job, mode, test.shape[0], lambda row, mode=mode: model.predict(test[row], k=TOP_K, method=mode)
        )


if __name__ == "__main__":
    main()
