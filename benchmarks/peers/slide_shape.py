"""The comparison on generated data of Amazon-670K's shape: 670,091 labels, 135,909 features, 71 non-zeros.

    python benchmarks/peers/slide_shape.py         # distlsh, with at least 1,000 active outputs a sample
    ... --only distlsh,torch-sampled,torch-dense --python torch-dense=... --python torch-sampled=...
    ... --quick                                    # a tenth of the rows and of the labels

One epoch of width 128 each; all options of compare.py hold.  A peer that is not done within ``--wall-limit``
seconds is ended and named.  SLIDE's code itself is not run: it is C++ to be built by hand.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parents[1]), str(FOLDER)]

import compare  # noqa: E402

from distlsh.config.schema import SynthConfig  # noqa: E402
from distlsh.data.synth import write_synth  # noqa: E402

SHAPE = {"n_train": 490_449, "n_test": 10_000, "n_features": 135_909, "n_labels": 670_091, "n_nonzeros": 71}
QUICK = {"n_train": 50_000, "n_test": 2_000, "n_features": 20_000, "n_labels": 67_000, "n_nonzeros": 71}
NAME = "amazon-670k-shape"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=FOLDER / "out")
    own, rest = parser.parse_known_args(arguments)
    name = NAME + ("-quick" if own.quick else "")
    files = generated(own.out / name, QUICK if own.quick else SHAPE)
    defaults = ["--config", "amazon-670k", "--set", "train.epochs=1", "--width", "128"]
    defaults += ["--only", "distlsh", "--settings", "default"]
    limits = ["--rows", "10000", "--wall-limit", "900", "--search-rows", "20000"]
    return compare.main([*files, "--out", str(own.out), "--name", name, *defaults, *limits, *rest])


def generated(folder: Path, shape: dict[str, int]) -> list[str]:
    """Return compare.py's --train and --test, of files that are generated unless they lie there."""
    train, test = folder / "generated.train.txt", folder / "generated.test.txt"
    if not test.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_synth(SynthConfig(**shape, n_labels_mean=5.0), train, test)
    return ["--train", str(train), "--test", str(test)]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
