"""How fast text becomes arrays: distlsh's reader beside scikit-learn's and those of the peers.

    python benchmarks/parse_speed.py FILE              # Extreme Classification text, plain or compressed
    ... --python napkinxc=/venv/bin/python --python omikuji=/venv/bin/python
    ... --quick                                        # the first 20,000 rows, once

Every reader gets the same rows as plain text in the page cache, in the format it reads (svmlight for
scikit-learn, written beforehand), and gives sparse arrays.  Sides alternate; medians of wall and of CPU
seconds are reported.  distlsh has lines of its own: parsing alone on one core; the whole store from the file
(parsed, checksummed, written, fsynced); the same from gzip; the decompression alone; and opening a store that
is there.  PECOS reads NumPy's files only.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent), str(FOLDER)]
os.environ["PYTHONPATH"] = os.pathsep.join(p for p in (str(FOLDER.parent), os.environ.get("PYTHONPATH")) if p)

import results  # noqa: E402

from distlsh import open_dataset  # noqa: E402
from distlsh.data.streams import ByteSource, text_blocks  # noqa: E402

_CLOCK = """
import sys, time
class Clock:
    def __init__(self): self.wall, self.cpu = time.perf_counter(), time.process_time()
    def stop(self, rows): print(time.perf_counter() - self.wall, time.process_time() - self.cpu, rows)
"""
DISTLSH = """
from pathlib import Path
from distlsh.data.text import TextReader
for block in TextReader(Path(sys.argv[2])).blocks(): pass  # loads the kernel
reader, cpu, rows = TextReader(Path(sys.argv[1])), time.thread_time(), 0
for block in reader.blocks(): rows += block.n_rows
print(reader.parse_s, time.thread_time() - cpu, rows)  # without reading, which is another thread's
"""
STORE = """
from distlsh import open_dataset
open_dataset(sys.argv[2], cache_dir=sys.argv[3])  # loads the kernel
clock = Clock()
clock.stop(open_dataset(sys.argv[1], cache_dir=sys.argv[3]).n_rows)
"""
UNPACK = """
import gzip
clock = Clock()
file = gzip.open(sys.argv[1])
while file.read(1 << 22): pass
clock.stop(int(sys.argv[2]))
"""
SKLEARN = """
from sklearn.datasets import load_svmlight_file
clock = Clock()
clock.stop(load_svmlight_file(sys.argv[1], multilabel=True, zero_based=True, dtype="float32")[0].shape[0])
"""
NAPKINXC = """
from napkinxc.datasets import load_libsvm_file
clock = Clock()
clock.stop(load_libsvm_file(sys.argv[1], labels_format="csr_matrix")[0].shape[0])
"""
OMIKUJI = """
import omikuji
pool = omikuji._ThreadPoolHandle(int(sys.argv[2]), initialize=True)
clock = Clock()
data = omikuji.lib.load_omikuji_data_set(omikuji.ffi.new("char[]", sys.argv[1].encode()), pool.ptr)
assert data != omikuji.ffi.NULL
clock.stop(int(open(sys.argv[1]).readline().split()[0]))
"""

Reading = tuple[float, float, int]
"""Wall seconds, CPU seconds, rows."""


def main(arguments: list[str] | None = None) -> int:
    args = parse_arguments(arguments)
    if args.results is not None:
        results.FOLDER = args.results
    interpreters = dict(pair.split("=", 1) for pair in args.python)
    with tempfile.TemporaryDirectory(prefix="parse-speed-") as folder:
        files = write_files(args.file, Path(folder), args.rows)
        measured = measure(files, interpreters, args.repeat)
    readers = [summary(name, readings, files["bytes"]) for name, readings in measured.items()]
    readers.sort(key=lambda reader: -reader["mb_per_s"])
    for found in readers:
        speeds = f"{found['mb_per_s']:9,.1f} MB/s {found['rows_per_s']:12,.0f} rows/s"
        print(f"{found['reader']:34} {speeds} {found['mb_per_cpu_s']:9,.1f} MB a CPU second")
    data = {"file": args.file.name, "text_bytes": files["bytes"], "rows": files["rows"], "readers": readers}
    print(results.write("parse_speed", data, figure(readers)))
    return 0


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    look = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=look)
    parser.add_argument("file", type=Path)
    parser.add_argument("--python", action="append", default=[], metavar="READER=PYTHON")
    parser.add_argument("--rows", type=int, default=0, help="of the file's beginning; 0: all")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="20,000 rows, once")
    parser.add_argument("--results", type=Path, default=None, help="default: benchmarks/results")
    args = parser.parse_args(arguments)
    if args.quick:
        args.rows, args.repeat = 20_000, 1
    return args


def write_files(source: Path, folder: Path, rows: int) -> dict[str, Any]:
    """Write the first rows as text, gzip and svmlight, and a few to warm up on; return paths and sizes."""
    out = {name: folder / f"rows.{name}" for name in ("txt", "gz", "svm", "few")}
    lines = _lines(source, rows)
    features, labels = _header(source)
    out["txt"].write_bytes(b"".join([b"%d %d %d\n" % (len(lines), features, labels), *lines]))
    out["few"].write_bytes(b"".join([b"%d %d %d\n" % (min(50, len(lines)), features, labels), *lines[:50]]))
    out["svm"].write_bytes(b"".join(lines))
    with out["txt"].open("rb") as text, gzip.open(out["gz"], "wb", compresslevel=6) as packed:
        shutil.copyfileobj(text, packed)
    return {**out, "bytes": out["txt"].stat().st_size, "rows": len(lines)}


def _lines(source: Path, rows: int) -> list[bytes]:
    with ByteSource(source) as opened:
        lines = b"".join(text_blocks(opened)).splitlines(keepends=True)[1:]
    return lines[: rows or None]


def _header(source: Path) -> tuple[int, int]:
    with ByteSource(source) as opened:
        words = opened.read(200).split(b"\n", 1)[0].split()
    if len(words) != 3:
        raise SystemExit(f"{source}: expected the header `n_instances n_features n_labels` in the first line")
    return int(words[1]), int(words[2])


def measure(files: dict[str, Any], interpreters: dict[str, str], repeat: int) -> dict[str, list[Reading]]:
    """Return the readings of each reader; those that cannot run are named and left out."""
    cores, found = len(os.sched_getaffinity(0)), dict[str, list[Reading]]()
    missing: set[str] = set()

    def peer(name: str, script: str, *words: Any) -> Callable[[], Reading]:
        return lambda: run_script(interpreters.get(name, sys.executable), script, words)

    readers: dict[str, Callable[[], Reading]] = {
        "distlsh, parsing": peer("distlsh", DISTLSH, files["txt"], files["few"]),
        "distlsh, text to store": lambda: with_cache(STORE, files["txt"], files["few"]),
        "distlsh, gzip to store": lambda: with_cache(STORE, files["gz"], files["few"]),
        "gzip decompression alone": peer("gzip", UNPACK, files["gz"], files["rows"]),
        "distlsh, opening a store": lambda: opening(files["txt"]),
        "scikit-learn load_svmlight_file": peer("scikit-learn", SKLEARN, files["svm"]),
        "napkinXC load_libsvm_file": peer("napkinxc", NAPKINXC, files["txt"]),
        "Omikuji load_data_set": peer("omikuji", OMIKUJI, files["txt"], cores),
    }
    for _ in range(repeat):
        for name in [name for name in readers if name not in missing]:
            try:
                found.setdefault(name, []).append(readers[name]())
            except subprocess.CalledProcessError as error:
                missing.add(name)
                del found[name]
                print(f"{name}: left out: {(error.stderr.strip().splitlines() or ['?'])[-1]}")
    return found


def run_script(python: str, script: str, words: Sequence[Any]) -> Reading:
    """Run a script in an interpreter; it prints its reading last."""
    command = [python, "-c", _CLOCK + script, *map(str, words)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(printed[-3]), float(printed[-2]), int(printed[-1])


def with_cache(script: str, *paths: Path) -> Reading:
    """Run a script that builds a store, in an empty cache of its own."""
    with tempfile.TemporaryDirectory(dir=paths[0].parent) as cache:
        return run_script(sys.executable, script, (*paths, cache))


def opening(path: Path) -> Reading:
    """Open a store, which the first call makes."""
    cache = path.parent / "kept"
    open_dataset(path, cache_dir=cache)
    wall, cpu = time.perf_counter(), time.process_time()
    rows = open_dataset(path, cache_dir=cache).n_rows
    return time.perf_counter() - wall, time.process_time() - cpu, rows


def summary(name: str, readings: Sequence[Reading], n_bytes: int) -> dict[str, Any]:
    """Return medians and speeds of a reader."""
    wall = statistics.median(reading[0] for reading in readings)
    cpu = statistics.median(reading[1] for reading in readings)
    return {
        "reader": name,
        "seconds": [reading[0] for reading in readings],
        "cpu_seconds": [reading[1] for reading in readings],
        "median_s": wall,
        "mb_per_s": n_bytes / wall / 1e6,
        "mb_per_cpu_s": n_bytes / max(cpu, 1e-9) / 1e6,
        "rows_per_s": readings[0][2] / wall,
    }


def figure(readers: list[dict[str, Any]]) -> Any:
    """Draw MB of text a second, a bar a reader."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(8, 0.4 * len(readers) + 1), layout="constrained")
    axis = drawn.subplots()
    names = [reader["reader"] for reader in readers][::-1]
    speeds = [reader["mb_per_s"] for reader in readers][::-1]
    colors = ["#d62728" if name.startswith("distlsh") else "#7f7f7f" for name in names]
    bars = axis.barh(names, speeds, color=colors)
    axis.bar_label(bars, [f"{speed:,.0f}" for speed in speeds], padding=3)
    axis.set(xscale="log", xlabel="MB of text a second")
    axis.margins(x=0.15)
    return drawn


if __name__ == "__main__":
    raise SystemExit(main())
