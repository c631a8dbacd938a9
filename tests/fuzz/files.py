"""Other files: images, archives, single arrays, lines and settings of a run."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from random import Random

import msgspec
import numpy as np

from distlsh.cli.plots import _lines
from distlsh.data.archive import extract
from distlsh.data.idx import IdxReader
from distlsh.errors import DataError
from distlsh.files import load_npy
from distlsh.protocol.reports import Evaluation, Report
from tests.fuzz.mutator import Mutator
from tests.fuzz.place import scratch, write_folder
from tests.fuzz.target import Target, Wrong
from tests.fuzz.text import COMPRESS, rows_of

_IMAGES, _LABELS = "x-images-idx3-ubyte", "x-labels-idx1-ubyte"


def _idx(n: int, height: int, width: int) -> dict[str, bytes]:
    pixels = bytes((i * 37) % 251 if i % 3 else 0 for i in range(n * height * width))
    return {
        _IMAGES: b"\0\0\x08\x03" + struct.pack(">3I", n, height, width) + pixels,
        _LABELS: b"\0\0\x08\x01" + struct.pack(">I", n) + bytes(i % 10 for i in range(n)),
    }


IDX_SEEDS = (_idx(3, 4, 5), _idx(1, 1, 1), _idx(0, 2, 2), _idx(40, 2, 3))


def make_idx(random: Random) -> bytes:
    """Return both files of a set of images, one of them changed, perhaps compressed."""
    files = dict(random.choice(IDX_SEEDS))
    name = random.choice(list(files))
    head, body = files[name][:16], files[name][16:]
    mutator = Mutator(random)
    files[name] = mutator.bytes(head, most=2) + body if random.random() < 0.5 else mutator.bytes(head + body)
    if random.random() < 0.3:
        files[name] = COMPRESS[random.choice(list(COMPRESS))](files[name])
    return msgspec.msgpack.encode(files)


def take_idx(data: bytes) -> bool:
    """Read images and labels."""
    with scratch() as folder:
        write_folder(folder, msgspec.msgpack.decode(data, type=dict[str, bytes]))
        rows_of(IdxReader(folder / _IMAGES))  # type: ignore[arg-type]
    return True


def _zip(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def _tar(*members: tuple[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


_MEMBERS = (("a/train.txt", b"1 1 1\n0 0:1\n" * 9), ("b.txt", b""), ("c/d/e.txt", b"x" * 300))
ARCHIVE_SEEDS = (
    _zip(*_MEMBERS),
    _zip(*_MEMBERS, method=zipfile.ZIP_STORED),
    _tar(*_MEMBERS),
    _tar(*_MEMBERS, mode="w:gz"),
    _tar(("../out.txt", b"x"), ("/abs.txt", b"y")),
    _zip(("../out.txt", b"x")),
    _zip(("bomb", b"\0" * 3_000_000)),
)
_ARCHIVE_TOKENS = (
    b"../",
    b"/",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\0" * 512,
    b"..\\",
    b"ustar",
    b"2",
    b"777777777777",
)


def make_archive(random: Random) -> bytes:
    """Return an archive, changed."""
    return Mutator(random, _ARCHIVE_TOKENS).bytes(random.choice(ARCHIVE_SEEDS), ARCHIVE_SEEDS, most=4)


def take_archive(data: bytes) -> bool:
    """Unpack it; nothing may appear but below the folder."""
    with scratch() as folder:
        (folder / "archive").write_bytes(data)
        inside = folder / "inside"
        inside.mkdir()
        try:
            extract(folder / "archive", inside)
        finally:
            found = {path.name for path in folder.iterdir()}
            if found != {"archive", "inside"}:
                raise Wrong(f"unpacked outside of its folder: {found}")
            if any(path.is_symlink() for path in inside.rglob("*")):
                raise Wrong("unpacked a link")
    return True


def _npy(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version=version, allow_pickle=True)
    return out.getvalue()


NPY_SEEDS = (
    _npy(np.arange(6, dtype=np.int32).reshape(2, 3)),
    _npy(np.zeros((0, 4), np.float32)),
    _npy(np.float64(3.5)),  # type: ignore[arg-type]
    _npy(np.zeros(3, np.bool_), (2, 0)),
    _npy(np.asfortranarray(np.ones((3, 2), np.float32))),
    _npy(np.array([{"a": 1}], dtype=object)),
    _npy(np.zeros(2, [("a", "i4"), ("b", "f8")])),
)
_NPY_TOKENS = (
    b"(", b")", b",", b"[" * 90, b"(" * 200, b"-" * 90, b"-1", b"'|O'", b"'<f8'", b"'>i4'",
    b"'<U9999999999'", b"True", b"'shape': (4611686018427387904,)", b"'shape': (2, -3)", b"'shape': ()",
    b"None", b"{", b"}", b"\n", b"#", b"9" * 4400, b"1e9", b"'descr': [('a', '<i4')]", b"lambda:0",
    b"\x93NUMPY\x03\0",
)  # fmt: skip


def make_npy(random: Random) -> bytes:
    """Return an ``.npy`` file, changed mostly in its header."""
    data, mutator = random.choice(NPY_SEEDS), Mutator(random, _NPY_TOKENS)
    if random.random() < 0.7:
        end = data.index(b"\n")
        return data[:10] + mutator.bytes(data[10:end], most=3)[: end - 10].ljust(end - 10) + data[end:]
    return mutator.bytes(data, NPY_SEEDS)


def take_npy(data: bytes) -> bool:
    """Read it and map it; ValueError is what callers turn into errors of their own."""
    found = []
    with scratch() as folder:
        (folder / "a.npy").write_bytes(data)
        for mmap in (False, True):
            try:
                found.append(load_npy(folder / "a.npy", mmap=mmap))
            except ValueError as error:
                refused = DataError("a.npy", str(error))
        if len(found) == 1:
            raise Wrong("read, but not mapped, or the other way round")
        if not found:
            raise refused
        if found[0].tobytes() != found[1].tobytes() or found[0].shape != found[1].shape:
            raise Wrong("read otherwise than mapped")
    return True


_REPORT = {
    "type": "report", "time_s": 1.5, "train_s": 1.0, "phase": "train", "epoch": 0, "epochs": 1, "samples": 10,
    "epoch_done": 10, "epoch_size": 20, "samples_per_s": 9.5, "worker_samples_per_s": [4.5, 5.0], "loss": 0.5,
}  # fmt: skip
_EVALUATION = {
    "type": "evaluation", "kind": "subset", "epoch": 0, "samples": 10, "train_s": 1.0, "n_rows": 5,
    "eval_s": 0.1, **{f"{name}_at_{k}": 0.25 for name in ("p", "ndcg", "psp") for k in (1, 3, 5)},
    "hidden_recall": [0.5],
}  # fmt: skip
_JSON_TOKENS = (
    b"{",
    b"}",
    b"[" * 2000,
    b'{"a":' * 2000,
    b"null",
    b"1e400",
    b'"\\ud800"',
    b"\xff",
    b"\n",
    b",",
    b":",
)


def make_lines(random: Random) -> bytes:
    """Return lines of reports and evaluations, changed as JSON or as text."""
    mutator = Mutator(random, _JSON_TOKENS)
    lines = []
    for _ in range(random.randint(1, 4)):
        line = dict(random.choice((_REPORT, _EVALUATION)))
        if random.random() < 0.7:
            line = mutator.value(line)
        lines.append(msgspec.json.encode(_jsonable(line)))
    data = b"\n".join(lines) + b"\n"
    return mutator.bytes(data) if random.random() < 0.5 else data


def _jsonable(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_jsonable(inner) for inner in value]
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        return str(value)[:100] if abs(value) < 10**4000 else "1" + "0" * 4400
    return value


def take_lines(data: bytes) -> bool:
    """Read the lines as plots do: what is no whole line is left out."""
    with scratch() as folder:
        (folder / "lines.jsonl").write_bytes(data)
        kept = [len(_lines(folder / "lines.jsonl", kind)) for kind in (Report, Evaluation)]
    return any(kept)


TARGETS = (
    Target("idx", make_idx, take_idx, share=0.6),
    Target("archive", make_archive, take_archive, share=0.3),
    Target("npy", make_npy, take_npy, share=0.8),
    Target("lines", make_lines, take_lines),
)
