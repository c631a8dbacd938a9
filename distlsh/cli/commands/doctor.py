"""``distlsh doctor``: what this machine has, and what would make runs faster or fail."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from distlsh._version import __version__
from distlsh.cli.commands import Subparsers, add_verbose

Verdict = Literal["ok", "note", "bad"]

_PACKAGES = ("numba", "llvmlite", "numpy", "scipy", "pyzmq", "msgspec", "multiprocess", "rich", "matplotlib")
_SIGNS = {"ok": "ok  ", "note": "note", "bad": "BAD "}
_MIN_FILES = 1024
_SMALL_SHM = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; ``advice`` says what to do where ``verdict`` is not ok."""

    what: str
    found: str
    verdict: Verdict = "ok"
    advice: str = ""


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "doctor",
        help="check this machine",
        description="Report what a run needs of this machine, and what dead runs left. Exit code 1 if a run "
        "could not work.",
    )
    parser.add_argument(
        "--clean", "--sweep", action="store_true",
        help="only remove what dead runs left: stopped processes, shared memory, sockets, unfinished "
        "checkpoints, parsed data and downloads; never what lives",
    )  # fmt: skip
    parser.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="FOLDER",
        help="run directories, or folders with data, to look into",
    )
    add_verbose(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the findings; return 1 if one is bad."""
    if args.clean:
        return _clean(args.folders)
    findings = [
        *_software(),
        *_processor(),
        *_memory(),
        *_huge_pages(),
        *_limits(),
        *_leftovers(args.folders),
    ]
    for finding in findings:
        print(f"{_SIGNS[finding.verdict]} {finding.what:<22} {finding.found}")
        if finding.verdict != "ok":
            print(f"     {'':<22} -> {finding.advice}")
    return int(any(finding.verdict == "bad" for finding in findings))


def _software() -> Iterator[Finding]:
    yield Finding("distlsh", __version__)
    yield Finding("python", f"{platform.python_version()} ({sys.executable})")
    for name in _PACKAGES:
        yield _package(name)


def _package(name: str) -> Finding:
    try:
        return Finding(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        if name == "matplotlib":
            return Finding(name, "missing", "note", "only --plot needs it: pip install 'distlsh[plot]'")
        return Finding(name, "missing", "bad", "install distlsh again: pip install --force-reinstall distlsh")


def _processor() -> Iterator[Finding]:
    usable, all_ = len(os.sched_getaffinity(0)), os.cpu_count() or 1
    yield Finding("cores", f"{usable} usable of {all_}: --workers {usable} at most")
    yield _topology()
    names, flags = set(), set()
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            names.add(value.strip())
        elif key.strip() == "flags":
            flags.update(value.split())
    vector = [flag for flag in ("avx2", "fma", "avx512f") if flag in flags]
    yield Finding(
        "processor", f"{', '.join(sorted(names)) or platform.machine()} ({' '.join(vector) or 'no AVX2'})"
    )


def _topology() -> Finding:
    from distlsh.runtime.placement import place
    from distlsh.runtime.topology import usable_cpus

    cpus = usable_cpus()
    nodes, cores = {cpu.node for cpu in cpus}, {cpu.core for cpu in cpus}
    text = f"{len(cpus)} processors on {len(cores)} cores of {len(nodes)} NUMA nodes"
    n_workers = max(1, len(cores) - 1)
    placed = place(cpus, n_workers)
    spare = "shares their cores" if placed.shared else f"has processor {min(placed.rehasher)}"
    return Finding("topology", f"{text}; with --workers {n_workers} the rehasher {spare}")


def _memory() -> Iterator[Finding]:
    from distlsh.shm.memory import Machine, human
    from distlsh.shm.names import SEGMENT_DIR

    machine = Machine.measure()
    yield Finding("RAM", f"{human(machine.ram_free_bytes)} free of {human(machine.ram_bytes)}")
    if not SEGMENT_DIR.is_dir():
        yield Finding("/dev/shm", "missing", "bad", "mount it: sudo mount -t tmpfs tmpfs /dev/shm")
        return
    text = f"{human(machine.shm_free_bytes)} free of {human(machine.shm_bytes)}"
    if machine.shm_free_bytes < _SMALL_SHM:
        advice = "enlarge it: sudo launch/prepare-host.sh, or docker run --shm-size=8g"
        yield Finding("/dev/shm", text, "note", advice)
    else:
        yield Finding("/dev/shm", text)


def _huge_pages() -> Iterator[Finding]:
    from distlsh.shm.pages import can_collapse

    folder = Path("/sys/kernel/mm/transparent_hugepage")
    for name, title in (("enabled", "huge pages"), ("shmem_enabled", "huge pages, shared")):
        chosen = _chosen(_read(folder / name))
        if name == "shmem_enabled" and can_collapse():
            yield Finding(title, "made on request, whatever the host's setting")
        elif chosen in ("always", "advise", "within_size", "madvise"):
            yield Finding(title, chosen)
        else:
            yield Finding(
                title,
                chosen or "unknown",
                "note",
                "rows are found faster with them: sudo launch/prepare-host.sh",
            )


def _chosen(text: str) -> str:
    """Return the word in brackets of a kernel setting such as ``always [never]``."""
    return text.partition("[")[2].partition("]")[0]


def _limits() -> Iterator[Finding]:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    verdict: Verdict = "ok" if files < 0 or files >= _MIN_FILES else "note"
    yield Finding("open files", _limit(files), verdict, f"raise it: ulimit -n {_MIN_FILES}")
    processes, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    yield Finding("processes", _limit(processes))
    address, _ = resource.getrlimit(resource.RLIMIT_AS)
    verdict = "ok" if address < 0 else "note"
    yield Finding(
        "address space", _limit(address), verdict, "shared arrays are mapped whole: ulimit -v unlimited"
    )


def _limit(value: int) -> str:
    return "unlimited" if value < 0 or value == resource.RLIM_INFINITY else f"{value:,}"


def _leftovers(folders: list[Path]) -> Iterator[Finding]:
    from distlsh.runtime.leftovers import find_leftovers
    from distlsh.runtime.orphans import find_orphans
    from distlsh.shm.memory import human

    orphans, left = find_orphans(), list(find_leftovers(folders))
    for orphan in orphans:
        yield Finding("leftover", f"process {orphan.pid} ({orphan.name}) of a run that is no more")
    for one in left:
        yield Finding("leftover", f"{one.path}, {human(one.n_bytes)}: {one.why}")
    if left or orphans:
        found = f"{len(left) + len(orphans)} of dead runs, {human(sum(one.n_bytes for one in left))}"
        command = " ".join(["distlsh doctor --clean", *map(str, folders)])
        yield Finding("leftovers", found, "note", f"remove them: {command}")
    else:
        yield Finding("leftovers", "none of dead runs")


def _clean(folders: list[Path]) -> int:
    from distlsh.runtime.leftovers import find_leftovers
    from distlsh.runtime.orphans import find_orphans
    from distlsh.shm.memory import human

    orphans, n_bytes = find_orphans(), 0
    for orphan in orphans:  # first: they have the memory
        told = "ended" if orphan.end() else "could not end"
        print(f"{told} process {orphan.pid} ({orphan.name}) of a run that is no more")
    for one in find_leftovers(folders):
        removed = one.remove()
        n_bytes += one.n_bytes if removed else 0
        print(f"{'removed' if removed else 'kept'} {one.path}, {human(one.n_bytes)}: {one.why}")
    if n_bytes or not orphans:
        print(f"{human(n_bytes)} removed" if n_bytes else "dead runs left nothing to remove")
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
