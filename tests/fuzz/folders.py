"""Folders of arrays and JSON that describes them: data stores, saved tables, indexes, checkpoints.

A change to an array or to the JSON would mostly end at a checksum.  So checksums are made to fit
again in most inputs: what is then wrong must be found by looking at it.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np

from distlsh.data.block import RowBlock
from distlsh.data.info import dataset_info, render_info
from distlsh.data.store import StoreWriter, _checksum, _sample_crc, open_store
from distlsh.lsh import Hasher, HashSpec, Tables, build, retrieve
from distlsh.lsh.index import LSHIndex
from tests.fuzz.mutator import NUMBERS, Mutator
from tests.fuzz.place import scratch, write_folder
from tests.fuzz.target import Target

Files = dict[str, bytes]
_DESCR = re.compile(rb"'descr': '([^']{3})'")


def read_all(folder: Path) -> Files:
    """Return all files below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@cache
def _seeds(name: str) -> tuple[Files, ...]:
    """Return the files of valid folders, made once."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-seed-"))
    try:
        for number, make in enumerate(_MAKE[name]):
            make(folder / str(number))
        return tuple(read_all(folder / str(number)) for number in range(len(_MAKE[name])))
    finally:
        shutil.rmtree(folder)


def _store(rows: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        random = np.random.default_rng(rows)
        sizes = random.integers(0, 4, rows).astype(np.int32)
        label_sizes = random.integers(0, 3, rows).astype(np.int32)
        indices = np.concatenate(
            [np.zeros(0, np.int32), *(np.sort(random.permutation(9)[:n]) for n in sizes)]
        )
        labels = np.concatenate(
            [np.zeros(0, np.int32), *(np.sort(random.permutation(5)[:n]) for n in label_sizes)]
        )
        with StoreWriter(path) as writer:
            values = random.standard_normal(len(indices)).astype(np.float32)
            writer.append(
                RowBlock(label_sizes, sizes, labels.astype(np.int32), indices.astype(np.int32), values)
            )
            writer.finish(
                9, 5, {"name": "seed", "format": "xc", "normalize": "none", "text_bytes": 9, "parse_s": 1.0}
            )

    return make


_SPEC = HashSpec("fast_srp", 3, 4, 1, 16, seed=2)


def _tables(policy: str, sketch: bool) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        tables = Tables.create(_SPEC, 30, 4, policy, sketch=sketch)
        weights = np.random.default_rng(0).standard_normal((30, 16)).astype(np.float32)
        build(tables, Hasher(_SPEC), weights)
        tables.save(path)

    return make


def _index(metric: str, **options: Any) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        rows = _vectors(metric, 60)
        index = LSHIndex(metric=metric, n_tables=3, n_jobs=1, **options).fit(rows)
        index.add(_vectors(metric, 9))
        index.remove([3, 5])
        index.save(path)

    return make


def _vectors(metric: str, n: int) -> Any:
    from scipy.sparse import csr_array

    dense = np.random.default_rng(n).standard_normal((n, 20)).astype(np.float32)
    return csr_array(np.where(dense > 0.7, 1, 0).astype(np.float32)) if metric == "jaccard" else dense


_MAKE: dict[str, tuple[Callable[[Path], None], ...]] = {
    "store": (_store(7), _store(1), _store(200)),
    "tables": (_tables("fifo", False), _tables("reservoir", False), _tables("bottom_k", True)),
    "index": (
        _index("euclidean"), _index("cosine", family="fast_srp", n_hashes=4, n_components=0), _index("dot"),
        _index("jaccard"), _index("jaccard", family="doph", n_hashes=2, code_bits=6),
    ),
}  # fmt: skip


def _change_array(random: Random, data: bytes) -> bytes:
    """Change numbers of an ``.npy`` file, or its length, keeping the header right."""
    start = data.index(b"\n") + 1
    described = _DESCR.search(data[:start])
    if described is None:
        return data
    dtype = np.dtype(described[1].decode())
    flat = np.frombuffer(data[start:], dtype, (len(data) - start) // dtype.itemsize).copy()
    if not len(flat):
        return data
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(flat))
        if random.random() < 0.5:
            flat[at] = flat[random.randrange(len(flat))]
        elif flat.dtype.kind == "f":
            flat[at] = random.choice((np.nan, np.inf, -np.inf, 1e38, 0.0))
        else:
            number = random.choice(NUMBERS[:26]) & ((1 << 8 * flat.dtype.itemsize) - 1)
            flat[at] = np.array(number, np.uint64).astype(flat.dtype)
    return data[:start] + flat.tobytes()


def _fit_store(files: Files) -> Files:
    try:
        meta = json.loads(files["meta.json"])
        for name, entry in meta["arrays"].items():
            body = files[f"{name}.npy"][128:]
            entry["crc32"] = zlib.crc32(body)
            with tempfile.NamedTemporaryFile() as file:
                file.write(files[f"{name}.npy"])
                file.flush()
                entry["sample_crc32"] = _sample_crc(Path(file.name))
        meta.pop("checksum", None)
        files["meta.json"] = json.dumps({**meta, "checksum": _checksum(meta)}).encode()
    except Exception:  # spoilt beyond repair: as good an input as any
        return files
    return files


def _fit_tables(files: Files) -> Files:
    try:
        manifest = json.loads(files["manifest.json"])
        for name, entry in manifest["arrays"].items():
            data = files[f"{name}.npy"]
            entry["crc32"] = zlib.crc32(data[data.index(b"\n") + 1 :])
            entry["n_bytes"] = len(files[f"{name}.npy"])
        files["manifest.json"] = json.dumps(manifest).encode()
    except Exception:
        return files
    return files


def _maker(kind: str, fit: Callable[[Files], Files]) -> Callable[[Random], bytes]:
    def make(random: Random) -> bytes:
        files = dict(random.choice(_seeds(kind)))
        mutator = Mutator(random, (b"{", b"[" * 2000, b'"', b"null", b"1e999", b"NaN"))
        for _ in range(random.randint(1, 2)):
            name = random.choice(list(files))
            files[name] = changed(random, mutator, name, files[name])
        if random.random() < 0.03:
            del files[random.choice(list(files))]
        return msgspec.msgpack.encode(fit(files) if random.random() < 0.85 else files)

    return make


def changed(random: Random, mutator: Mutator, name: str, data: bytes) -> bytes:
    """Return a file with a change to its numbers, its values or its bytes."""
    way = random.random()
    if name.endswith(".npy") and way < 0.8:
        try:
            return _change_array(random, data)
        except (ValueError, TypeError):
            return mutator.bytes(data, most=2)
    if name.endswith(".json") and way < 0.85:
        try:
            return json.dumps(mutator.value(json.loads(data))).encode()
        except (ValueError, RecursionError):
            return data
    return mutator.bytes(data, most=2)


def take_store(data: bytes) -> bool:
    """Open a store twice, and count what it holds."""
    with scratch() as folder:
        write_folder(folder, msgspec.msgpack.decode(data, type=Files))
        open_store(folder)
        render_info(dataset_info(open_store(folder)))
    return True


def take_tables(data: bytes) -> bool:
    """Load saved tables and ask them."""
    with scratch() as folder:
        write_folder(folder, msgspec.msgpack.decode(data, type=Files))
        tables = Tables.load(folder, mmap=len(data) % 2 == 0)
        assert tables.spec is not None
        queries = np.zeros((3, tables.spec.n_dims), np.float32)
        queries[1:] = np.random.default_rng(1).standard_normal((2, tables.spec.n_dims))
        codes = Hasher(tables.spec).probes(queries)
        retrieve(tables, codes)
        retrieve(tables, codes, budget=5)
        if tables.ids.flags.writeable:
            ids = np.arange(min(3, tables.n_rows), dtype=np.int32)
            tables.remove(ids, tables.codes[ids])
            weights = None if tables.weights is None else tables.weights[ids]
            tables.insert(ids, tables.codes[ids], weights)
    return True


def take_index(data: bytes) -> bool:
    """Load an index; search, add, remove."""
    with scratch() as folder:
        write_folder(folder, msgspec.msgpack.decode(data, type=Files))
        index = LSHIndex.load(folder, mmap=len(data) % 2 == 0)
        index.n_jobs = 1
        queries = np.zeros((3, index.n_features_in_), np.float32)
        queries[1:, :20] = _vectors("cosine", 2)[:, : index.n_features_in_]
        index.search(queries, 4)
        index.candidates(queries)
        index.add(queries)
        index.remove([0])
        index.search(queries, 2)
    return True


TARGETS = (
    Target("store", _maker("store", _fit_store), take_store),
    Target("tables", _maker("tables", _fit_tables), take_tables, share=0.8),
    Target("index", _maker("index", lambda files: files), take_index, share=0.5),
)
