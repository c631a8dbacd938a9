"""Other systems for wide outputs, and distlsh, on the same files and the same cores.

    python benchmarks/peers/compare.py --train F --test F --name enwiki-para --config enwiki-para
    ... --plan                          # what it would run, and about how long that takes
    ... --only pecos,distlsh            # some of them; what is measured already is kept and merged
    ... --python pecos=/venv/bin/python # the interpreter that has a peer; for several peers, repeat it

Each peer runs in a process of its own, on ``--threads`` cores, with its defaults and with the best of a few
settings on a validation split of the training rows (kept in ``found.json``; ``--search`` searches again).  A
peer that cannot be run is named and left out.  README.md says how to install them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parents[1]), str(FOLDER.parent), str(FOLDER)]
os.environ["PYTHONPATH"] = os.pathsep.join([str(FOLDER.parents[1]), os.environ.get("PYTHONPATH", "")]).rstrip(
    os.pathsep
)

import results  # noqa: E402
from comparison import found, report  # noqa: E402
from comparison.peers import Peer, Setting, peers  # noqa: E402
from comparison.prepare import Pair, prepare  # noqa: E402
from comparison.runner import Limits, as_found, available, run  # noqa: E402

SETTINGS = ("default", "found", "early")


def main(arguments: list[str] | None = None) -> int:
    args = _parse(arguments)
    chosen = _chosen(args)
    if args.plan:
        report.print_plan(chosen, args)
        return 0
    if args.results is not None:
        results.FOLDER = args.results
    out = args.out / args.name
    rows, search_rows = (1000, 8000) if args.quick else (args.rows, args.search_rows)
    full, small = prepare(args.train, args.test, out / "data", rows, search_rows, args.seed)
    pair = small if args.quick else full
    cores = tuple(sorted(os.sched_getaffinity(0))[: args.threads])
    limits = Limits(cores, args.time_limit, args.wall_limit, args.single_rows)
    missing = {}
    for peer in chosen:
        python = args.python.get(peer.name, sys.executable)
        why = available(python, peer.module)
        if why:
            missing[peer.name] = why
            print(f"{peer.name}: left out: {why}", flush=True)
            continue
        for name, setting in _settings(peer, python, small, limits, out, args):
            _measure(peer, name, setting, python, pair, limits, out, args)
    gathered = report.collect(out / "measured")
    data = {
        "data": {"name": args.name, "train_rows": pair.train_rows, "test_rows": pair.test_rows}
        | {"features": pair.n_features, "labels": pair.n_labels},
        "threads": len(limits.cores),
        "quick": args.quick,
        "left_out": missing,
        "results": gathered,
    }
    path = results.write(
        f"peers-{args.name}" + ("-quick" if args.quick else ""), data, report.figure(gathered, args.name)
    )
    report.print_table(gathered)
    print(path)
    return 0


def _settings(peer: Peer, python: str, small: Pair, limits: Limits, out: Path, args: argparse.Namespace):
    """Yield (name, setting) of those wanted, searching where nothing is kept."""
    if "default" in args.settings:
        yield "default", peer.default
    if "early" in args.settings and peer.early:
        yield "early", peer.early
    if args.quick or not (args.search or "found" in args.settings):
        return
    kept = None if args.search else found.read(args.name, peer.name)
    if kept is None:
        kept = _search(peer, python, small, limits, out, args)
    if kept is None:
        print(f"{peer.name}: no setting of the search worked", flush=True)
    elif "found" in args.settings and kept["setting"] != peer.default:
        yield "found", kept["setting"]


def _search(peer: Peer, python: str, small: Pair, limits: Limits, out: Path, args: argparse.Namespace):
    trials = []
    for i, setting in enumerate((peer.default, *peer.candidates)[: args.trials]):
        kept = out / "search" / f"{peer.name}-{i}.json"
        before = _kept(kept)
        if before is not None and before["setting"] == setting:
            trials.append(before)
            continue
        tried = {**setting, **peer.in_search}
        tried.pop("points", None)
        result = run(python, peer.adapter, small, tried, replace(limits, single_rows=0), kept.with_suffix(""))
        result["setting"] = setting
        _write(kept, result)
        trials.append(result)
        print(f"{peer.name} search {i}: P@1 {found.p_at_1(result)} {setting}", flush=True)
    return found.keep(args.name, peer.name, trials)


def _measure(
    peer: Peer,
    name: str,
    setting: Setting,
    python: str,
    pair: Pair,
    limits: Limits,
    out: Path,
    args: argparse.Namespace,
) -> None:
    part = {"samples": args.samples} if peer.name == "torch-dense" and args.samples else {}
    name = f"{name}-epoch" if peer.name == "torch-dense" and not part else name
    kept = out / "measured" / f"{peer.name}.{name}.json"
    before = _kept(kept)
    if before is not None and before["setting"] == {**setting, **part} and not args.again:
        return
    print(f"{peer.name} {name}: {setting}", flush=True)
    result = run(python, peer.adapter, pair, {**setting, **part}, limits, kept.with_suffix(""))
    result |= {"peer": peer.name, "setting_name": name, "partly_trained": bool(part), "note": peer.note}
    _write(kept, result)
    print(f"  {report.line(result)}", flush=True)


def _kept(path: Path) -> dict[str, Any] | None:
    """Return what was measured before, None if nothing was or it failed."""
    result = json.loads(path.read_text()) if path.exists() else {}
    return result if result and result.get("error") is None else None


def _write(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def _chosen(args: argparse.Namespace) -> list[Peer]:
    every = [_of_width(peer, args.width) for peer in peers(args.config, tuple(args.overrides))]
    if args.quick:
        every = [replace(peer, early=None) for peer in every]
    names = [peer.name for peer in every]
    wanted = args.only.split(",") if args.only else names
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        raise SystemExit(f"--only: found {', '.join(unknown)}, expected some of {', '.join(names)}")
    return [peer for peer in every if peer.name in wanted]


def _of_width(peer: Peer, width: int) -> Peer:
    return (
        replace(peer, default={"width": width, **peer.default}) if width and peer.adapter == "torch" else peer
    )


def _interpreters(pairs: list[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise SystemExit(f"--python: found {pair!r}, expected peer=/path/to/python")
    return {peer: as_found(python) for peer, python in (pair.split("=", 1) for pair in pairs)}


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--train", type=Path, required=True)
    add("--test", type=Path, required=True)
    add("--name", default="data", help="of the data: of the result, and of what a search found")
    add("--config", default="enwiki-para", help="distlsh's configuration: shipped, or a file")
    add("--only", default="", help="peers, separated by commas")
    add(
        "--settings",
        default=",".join(SETTINGS),
        help='some of default, found, early; "" with --search: only search',
    )
    add("--python", action="append", default=[], metavar="PEER=PYTHON")
    add("--rows", type=int, default=20_000, help="test rows to predict, a seeded sample; 0: all")
    add("--single-rows", type=int, default=200, help="rows to predict one by one")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add(
        "--samples",
        type=int,
        default=10_240,
        help="that torch-dense trains on; 0: the whole epoch, for its P@1",
    )
    add("--time-limit", type=float, default=0.0, help="seconds of training, for peers that can be stopped")
    add("--wall-limit", type=float, default=0.0, help="seconds after which a peer is ended")
    add("--set", action="append", default=[], dest="overrides", help="for every setting of distlsh")
    add(
        "--width", type=int, default=0, help="of PyTorch's hidden layer, where a setting does not say; 0: 256"
    )
    add("--search", action="store_true", help="search again, on the validation split")
    add("--search-rows", type=int, default=40_000)
    add("--trials", type=int, default=6, help="settings a peer may try, its defaults among them")
    add("--seed", type=int, default=1)
    add(
        "--out",
        type=Path,
        default=FOLDER / "out",
        help="work files, models, and the results kept of each peer",
    )
    add("--results", type=Path, default=None, help="default: benchmarks/results")
    add("--again", action="store_true", help="measure again what is kept")
    add(
        "--quick",
        action="store_true",
        help="defaults on about 8,000 rows of the training file: a trial of the set-up",
    )
    add(
        "--plan",
        action="store_true",
        help="print what would run and about how long, for rows like enwiki-para's",
    )
    args = parser.parse_args(arguments)
    args.out, args.python = args.out.resolve(), _interpreters(args.python)
    args.settings = [name for name in args.settings.split(",") if name]
    if set(args.settings) - set(SETTINGS):
        parser.error(f"--settings: found {args.settings}, expected some of {', '.join(SETTINGS)}")
    return args


if __name__ == "__main__":
    raise SystemExit(main())
