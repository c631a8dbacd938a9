"""What ``distlsh tune`` reads, and how it shows what it found."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distlsh.cli.meter import Meter
from distlsh.errors import DataError, UsageError

if TYPE_CHECKING:
    from distlsh.data.dataset import Dataset
    from distlsh.inference import Model
    from distlsh.lsh.tuning import Tuning

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_candidates(text: str | None) -> float | None:
    """Return a number of candidates, or below 1 a share: ``500``, ``0.01``, ``1%``."""
    if text is None:
        return None
    number, percent = (text[:-1], True) if text.endswith("%") else (text, False)
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        raise UsageError(f"--max-candidates {text}: give a number of rows, or a share such as 1%") from None
    if percent and not 0 < value < 1:
        raise UsageError(f"--max-candidates {text}: a share is above 0% and below 100%")
    return value


def parse_size(text: str | None) -> int | None:
    """Return bytes: ``500M``, ``2G``, ``1000000``."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?", text)
    if match is None:
        raise UsageError(f"--max-bytes {text}: give a size such as 500M, 2G or a number of bytes")
    return int(float(match[1]) * _UNITS[match[2]])


def read_vectors(path: Path, format: str, meter: Meter) -> Any:
    """Return the vectors of a file, dense or SciPy sparse.

    ``.npy`` is mapped; ``.npz`` is what `scipy.sparse.save_npz` writes, or holds one array;
    anything else is read as a data file, whose features are the vectors.
    """
    if not path.is_file():
        raise UsageError(f"no such file: {path} (current folder: {Path.cwd()})")
    try:
        if path.suffix == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False)
        if path.suffix == ".npz":
            return _read_npz(path)
    except (ValueError, OSError, KeyError) as error:
        raise DataError(path, f"cannot be read as an array: {error}") from None
    from distlsh.data.opening import open_dataset

    return open_dataset(path, format=format, progress=meter.of("reading")).to_csr()


def _read_npz(path: Path) -> Any:
    with np.load(path, allow_pickle=False) as file:
        if "format" in file or {"indptr", "indices"} <= set(file):
            from scipy.sparse import load_npz

            return load_npz(path)
        if len(file.files) != 1:
            raise ValueError(f"it holds arrays {', '.join(file.files)}; save one, or a scipy.sparse matrix")
        return file[file.files[0]]


def tune_run(source: Path, data: Path | None, format: str, goal: dict[str, Any], meter: Meter) -> Tuning:
    """Tune for a run's output rows, asked by hidden vectors of ``data`` or of its own instances."""
    from distlsh.inference import Model

    model = Model.load(source)
    dataset = _instances(model, data, format, meter)
    # Instances that the network was trained on stand so near their labels that any table finds them.
    return model.tune(dataset, **goal, without_labels=data is None, progress=meter.of("measuring"))


def _instances(model: Model, data: Path | None, format: str, meter: Meter) -> Dataset:
    from distlsh.data.opening import open_dataset, open_pair

    if data is not None:
        return open_dataset(data, format=format, normalize=model.normalize, progress=meter.of("reading"))
    return open_pair(model.config.data, progress=meter.of("reading"))[0]


def print_tuning(tuning: Tuning, lines: str, rows: int) -> None:
    """Print the trade-off, what is out of reach, and the lines that use the best setting."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from distlsh.lsh.tuning.shown import COLUMNS, LEGEND, cells

    console = Console()
    console = console if console.is_terminal else Console(width=120)
    table = Table(title=_title(tuning), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    shown = [i for i, name in enumerate(COLUMNS) if name != "bucket" or tuning.best.bucket_size is not None]
    for i in shown:
        left = COLUMNS[i] in ("family", "goal")
        table.add_column(COLUMNS[i], justify="left" if left else "right", no_wrap=True)
    for setting in tuning.table[:rows]:
        row = cells(setting, tuning.n_rows)
        table.add_row(*(row[i] for i in shown), style="bold" if setting is tuning.best else None)
    console.print(table)
    print(f"{LEGEND}\n")
    if tuning.out_of_reach:
        print(f"note: {tuning.out_of_reach}\n", file=sys.stderr)
    print(lines, end="")


def _title(tuning: Tuning) -> str:
    return (
        f"{tuning.n_rows:,} rows of {tuning.n_dims} dimensions, {tuning.n_queries:,} queries, "
        f"recall of the exact top {tuning.goal.k}"
    )
