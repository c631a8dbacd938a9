"""``distlsh bench chaos``: calm runs, the disturbed run, and the verdict."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from distlsh.config.schema import Config
from distlsh.errors import DistlshError
from distlsh.runtime.chaos.campaign import Campaign
from distlsh.runtime.chaos.faults import Choices, FaultPlan, plan_faults
from distlsh.runtime.chaos.figures import Figures, figures
from distlsh.runtime.chaos.memory_kill import can_kill_for_memory
from distlsh.runtime.chaos.prepare import Calm, Pace, calm_run, check_config, find_pace, paced
from distlsh.runtime.chaos.strikes import Outcome
from distlsh.runtime.chaos.target import Target
from distlsh.runtime.chaos.verdict import Check, Recovery, judge, recoveries
from distlsh.runtime.prctl import adopt_orphans

FAULT_S = 3.5
"""Seconds that a fault takes with what follows it, about."""


class ChaosReport(msgspec.Struct, kw_only=True):
    """``chaos.json``."""

    seed: int
    workers: int
    planned: int
    struck: int
    pace: Pace
    calm: Calm
    total_s: float
    checks: list[Check]
    recoveries: list[Recovery]
    figures: Figures
    outcomes: list[Outcome]
    restarts_unasked: list[str]
    summary: dict[str, Any] | None
    memory_kills: bool  # whether the kernel could be made to kill for memory

    @property
    def holds(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)


def run_chaos(
    config: Config,
    root: Path,
    *,
    seed: int,
    n_faults: int,
    n_calm: int = 3,
    deadline_s: float | None = None,
    tell: Callable[[str], None] = lambda text: None,
    on_fault: Callable[[Outcome], None] = lambda found: None,
) -> ChaosReport:
    """Disturb a run of ``config`` with ``n_faults`` faults drawn from ``seed``.

    root        folder for the runs, made if missing; the disturbed run is in ``run``
    n_calm      undisturbed runs to compare with
    deadline_s  after which no further fault is injected
    tell        called with a line on what is going on

    Raises DistlshError where an undisturbed run fails or the disturbed one cannot be kept alive; UsageError
    where ``config`` has no test data.
    """
    check_config(config)
    root.mkdir(parents=True, exist_ok=True)
    adopt_orphans(True)  # so that the zombies of a killed coordinator can be reaped
    pace, n_train, tables = find_pace(config, n_faults, root)
    tell(f"pace: {pace.epochs} epochs of {n_train:,} instances, a fault every {pace.gap:,} samples")
    calm = _calm(config, pace, seed, n_calm, root, tell)
    memory = can_kill_for_memory()
    choices = Choices(
        n_workers=config.run.workers,
        memory=memory,
        tables=tables,
        tunes=config.lsh.auto is not None,
        pretrains=config.pretrain.epochs > 0,
    )
    plan = plan_faults(seed, n_faults, choices)
    started = time.monotonic()
    target = Target(root, "run", [Path(config.data.cache_dir)] if config.data.cache_dir else [])
    try:
        campaign = Campaign(target, paced(config, pace, seed), plan, on_fault=on_fault, deadline_s=deadline_s)
        wrong = _campaign(campaign, n_train)
        report = _report(target, campaign, plan, wrong, calm, pace, seed, memory)
        report.total_s = round(time.monotonic() - started, 1)
        return report
    finally:
        target.close()


def _calm(
    config: Config, pace: Pace, seed: int, n_calm: int, root: Path, tell: Callable[[str], None]
) -> Calm:
    calm = Calm(p_at_1=[], total_s=[])
    for i in range(n_calm):
        found = calm_run(paced(config, pace, seed + 1 + i), root, f"calm-{i + 1}")
        calm.p_at_1.append(found["p_at_1"])
        calm.total_s.append(found["total_s"])
        tell(f"calm run {i + 1}: P@1 {found['p_at_1']:.4f} in {found['total_s']:.1f} s")
        shutil.rmtree(root / f"calm-{i + 1}", ignore_errors=True)
    shutil.rmtree(root / "rate", ignore_errors=True)
    return calm


def _campaign(campaign: Campaign, n_train: int) -> list[str]:
    try:
        campaign.run(n_train)
    except DistlshError as error:
        return [*campaign.wrong, str(error)]
    return campaign.wrong


def _report(
    target: Target,
    campaign: Campaign,
    plan: FaultPlan,
    wrong: list[str],
    calm: Calm,
    pace: Pace,
    seed: int,
    memory: bool,
) -> ChaosReport:
    path = target.run_dir / "summary.json"
    summary = json.loads(path.read_text()) if path.is_file() else None
    unasked, outcomes = campaign.unasked(), campaign.outcomes
    left = target.left()
    checks = judge(target, summary, plan, campaign.late, outcomes, wrong, unasked, calm, pace.epochs, left)
    return ChaosReport(
        seed=seed,
        workers=campaign.config.run.workers,
        planned=len(plan.faults),
        struck=sum(one.struck for one in outcomes),
        pace=pace,
        calm=calm,
        total_s=0.0,
        checks=checks,
        recoveries=recoveries(outcomes),
        figures=figures(target, summary, outcomes, unasked, calm, pace.epochs, left),
        outcomes=outcomes,
        restarts_unasked=unasked,
        summary=summary,
        memory_kills=memory,
    )
