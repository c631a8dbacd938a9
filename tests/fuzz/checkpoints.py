"""Checkpoints: manifest and arrays, changed with checksums made to fit, then loaded as a model and asked."""

from __future__ import annotations

import json
import logging
import tempfile
import zlib
from dataclasses import asdict
from functools import cache
from pathlib import Path
from random import Random

import msgspec
import numpy as np

from distlsh.config.schema import Config, DataConfig
from distlsh.inference import Model
from distlsh.lsh import Hasher, HashSpec, Tables, build
from distlsh.lsh.tables import table_specs
from distlsh.model.checkpoint import latest_checkpoint, write_checkpoint
from distlsh.model.spec import NetworkSpec, parameter_specs
from tests.fuzz.folders import Files, changed, read_all
from tests.fuzz.mutator import Mutator
from tests.fuzz.place import scratch, write_folder
from tests.fuzz.target import Target

_LSH = HashSpec("fast_srp", n_hashes=3, n_tables=4, n_probes=1, n_dims=8, seed=3)
_HEAD, _TAIL = '{"crc32": ', "\n}\n"


def _save(folder: Path, *, tables: bool) -> None:
    spec = NetworkSpec(12, (10, 8), 40, activation="tanh", bias=not tables)
    random = np.random.default_rng(0)
    arrays = {
        item.name: random.standard_normal(item.shape).astype(np.float32).astype(item.dtype)
        for item in parameter_specs(spec)
    }
    if tables:
        arrays |= {item.name: np.zeros(item.shape, item.dtype) for item in table_specs(_LSH, 40, 8)}
        build(Tables(arrays, 0, "fifo", _LSH.seed), Hasher(_LSH), arrays["output.weights"])
    state = {
        "model": spec.to_dict(),
        "lsh": {**asdict(_LSH), "bucket_size": 8, "bucket_policy": "fifo"} if tables else None,
        "config": msgspec.to_builtins(Config(data=DataConfig(train="x"))),
        "position": {"epoch": 2, "samples": 77},
        "train_s": 1.5,
    }
    write_checkpoint(folder / "checkpoints", "final", arrays, state, keep=2)


@cache
def _seeds() -> tuple[Files, ...]:
    found = []
    for tables in (True, False):
        with tempfile.TemporaryDirectory(prefix="fuzz-seed-") as folder:
            _save(Path(folder), tables=tables)
            found.append(read_all(Path(folder)))
    return tuple(found)


def _content(manifest: bytes) -> bytes:
    return manifest.partition(b'"content":\n')[2].removesuffix(_TAIL.encode())


def _fit(files: Files) -> Files:
    """Make the checksums of arrays and manifest right again, where the manifest can be read."""
    name = next(name for name in files if name.endswith("manifest.json"))
    text = _content(files[name])
    try:
        content = json.loads(text)
        for entry in content["arrays"].values():
            data = files[f"checkpoints/final/{entry['file']}"]
            entry |= {"crc32": zlib.crc32(data), "n_bytes": len(data)}
        text = json.dumps(content).encode()
    except Exception:  # spoilt beyond repair: as good an input as any
        pass
    files[name] = f'{_HEAD}{zlib.crc32(text)}, "content":\n'.encode() + text + _TAIL.encode()
    return files


def make(random: Random) -> bytes:
    """Return the files of a run directory's checkpoint with one or two changes."""
    files = dict(random.choice(_seeds()))
    mutator = Mutator(random, (b"{", b"[" * 2000, b"null", b"1e999", b"../x"))
    for _ in range(random.randint(1, 2)):
        name = random.choice([*files, *([n for n in files if n.endswith(".json")] * 8)])
        if name.endswith(".json") and random.random() < 0.9:
            files[name] = _changed_manifest(mutator, files[name])
        else:
            files[name] = changed(random, mutator, name, files[name])
    if random.random() < 0.03:
        del files[random.choice([name for name in files if name.endswith(".npy")])]
    return msgspec.msgpack.encode(_fit(files) if random.random() < 0.9 else files)


def _changed_manifest(mutator: Mutator, manifest: bytes) -> bytes:
    try:
        text = json.dumps(mutator.value(json.loads(_content(manifest)))).encode()
    except (ValueError, RecursionError):
        return manifest
    return f'{_HEAD}{zlib.crc32(text)}, "content":\n'.encode() + text + _TAIL.encode()


def take(data: bytes) -> bool:
    """Find the checkpoint, load its model, predict by both ways."""
    logging.disable(logging.CRITICAL)
    try:
        with scratch() as folder:
            write_folder(folder, msgspec.msgpack.decode(data, type=Files))
            latest_checkpoint(folder, verify=len(data) % 2 == 0)
            _ask(Model.load(folder))
    finally:
        logging.disable(logging.NOTSET)
    return True


def _ask(model: Model) -> None:
    features = np.zeros((3, model.spec.n_features), np.float32)
    features[1:, :5] = 0.5
    model.predict(features, k=min(3, model.spec.n_labels))
    if model.has_tables:
        model.predict(features, k=1, method="lsh")


TARGETS = (Target("checkpoint", make, take, share=0.5),)
