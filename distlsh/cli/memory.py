"""The table of what a run holds in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distlsh.shm.memory import MemoryPlan, human

if TYPE_CHECKING:
    from rich.table import Table

_TITLES = {"shared": "shared, in /dev/shm", "mapped": "mapped files", "private": "private"}


def memory_table(plan: MemoryPlan) -> Table:
    """Return each array and process with its size, the sums, and what the machine has."""
    from rich import box
    from rich.table import Table

    table = Table(title="Memory", title_justify="left", box=box.SIMPLE_HEAD, show_footer=False)
    table.add_column("what", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("shape", no_wrap=True)
    table.add_column("lower with")
    for kind, title in _TITLES.items():
        items = [item for item in plan.items if item.kind == kind]
        for item in items:
            table.add_row(item.name, human(item.n_bytes), item.detail, item.lower)
        if items:
            table.add_row(f"[bold]{title}[/]", f"[bold]{human(plan.bytes_of(kind))}[/]", end_section=True)
    table.add_row("[bold]total[/]", f"[bold]{human(plan.total_bytes)}[/]", end_section=True)
    _add_machine(table, plan)
    return table


def _add_machine(table: Table, plan: MemoryPlan) -> None:
    machine = plan.machine
    for name, free, all_, needed in (
        ("RAM", machine.ram_free_bytes, machine.ram_bytes, plan.bytes_of("shared", "private")),
        ("/dev/shm", machine.shm_free_bytes, machine.shm_bytes, plan.bytes_of("shared")),
    ):
        verdict = "[green]fits[/]" if needed <= free else "[red]does not fit[/]"
        table.add_row(name, human(free), f"free of {human(all_)}", verdict)
