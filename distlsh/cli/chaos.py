"""What ``distlsh bench chaos`` prints and writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from distlsh.cli.host import describe_host

if TYPE_CHECKING:
    from distlsh.runtime.chaos.bench import ChaosReport
    from distlsh.runtime.chaos.figures import Figures
    from distlsh.runtime.chaos.strikes import Outcome


def fault_line(found: Outcome) -> str:
    """Return a line for one fault: number, time, role, fault, moment, and how long until it worked again."""
    head = (
        f"{found.number:4d} {found.at_s:8.1f} s  {found.role:<12}{found.kind:<10}{found.moment:<24}"
        f"{found.samples:>12,}  "
    )
    return head + "; ".join([_result(found), *(f"WRONG: {text}" for text in found.wrong)])


def _result(found: Outcome) -> str:
    if not found.struck:
        return "not struck"
    if found.again_s is None:
        return "at the end" if found.exit_code is None else f"ended with code {found.exit_code}"
    noticed = ""
    if found.down_s and found.again_s > found.down_s:
        noticed = f", noticed after {found.again_s - found.down_s:.2f} s"
    ended = f", code {found.exit_code}" if found.exit_code is not None else ""
    gone = f", children gone in {found.children_gone_s:.2f} s" if found.children_gone_s else ""
    return f"again after {found.again_s:.2f} s{noticed}{ended}{gone}"


def show(report: ChaosReport) -> None:
    """Print how long recoveries took, and what held."""
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else 120)
    console.print(_recoveries(report))
    for name, value in _figures(report.figures):
        console.print(f"{name:<28}{value}", markup=False, highlight=False)
    for check in report.checks:
        mark = "[green]holds[/]" if check.holds else "[red]FAILS[/]"
        console.print(f"{mark}  {check.what}: ", end="")
        console.print(check.found, markup=False, highlight=False)
    console.print(f"{report.struck} of {report.planned} faults struck in {report.total_s:,.0f} s")


def _figures(found: Figures) -> list[tuple[str, str]]:
    gone = found.children_gone
    after_kills = (
        f"median {gone.median_s:.2f} s, worst {gone.worst_s:.2f} s of {gone.n}" if gone else "never killed"
    )
    descriptors = [
        f"{one.role} {one.least} to {one.most}, grown by {one.grown} at most" for one in found.descriptors
    ]
    return [
        ("resumed", f"{found.resumes} times"),
        ("restarts explained", f"{found.matched:,} of {found.restarts:,} by faults"),
        ("samples trained", f"{_number(found.samples)} in {found.epochs:,} epochs"),
        ("each instance at least", f"{_number(found.visits_min)} times"),
        ("repeated, by instance", _number(found.visits_repeated)),
        ("repeated, as told", _number(found.repeated_samples)),
        ("P@1", f"{found.p_at_1} against {found.calm_p_at_1} +- {found.calm_spread}"),
        ("children gone after a kill", after_kills),
        ("left behind", f"{len(found.left)} things, of {found.processes:,} processes"),
        ("zombies", f"{found.zombies}"),
        ("descriptors", "; ".join(descriptors) or "never looked at"),
    ]


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _recoveries(report: ChaosReport) -> object:
    from rich import box
    from rich.table import Table

    table = Table(title="Until it worked again", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("who", "faults", "median s", "worst s"):
        table.add_column(name, justify="left" if name == "who" else "right")
    for row in report.recoveries:
        table.add_row(row.role, str(row.n), f"{row.median_s:.2f}", f"{row.worst_s:.2f}")
    return table


def write_json(report: ChaosReport, path: Path) -> None:
    """Write the report, with the machine it is from."""
    whole = {"machine": describe_host(), **msgspec.to_builtins(report)}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n")
