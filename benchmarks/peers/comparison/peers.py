"""The peers: which adapter runs each, what its defaults are, and the few settings a search may try.

Each peer has as many trials as the others, its defaults among them: what its documentation or papers name as
the levers of accuracy.  The search trains on the same subset of the training rows and takes the best P@1 on
held-out ones; it never sees a test row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Setting = dict[str, Any]

_COSINE: Setting = {"head": "cosine", "warm_start": True, "schedule": "linear", "sparse": True}
_DENSE_COSINE: Setting = {**_COSINE, "fused": True, "by_hand": True}
_EARLY = (
    "model.hidden=[256]",
    "pretrain.epochs=1",
    "pretrain.lr=0.03",
    "lsh.n_active=128",
    "train.lr=0.005",
    "train.lr_input=0.01",
)
_SAMPLED: Setting = {"loss": "sampled", "sparse": True}


@dataclass(frozen=True)
class Peer:
    """A system to compare.

    adapter     of ``adapters/run_<adapter>.py``
    module      what its interpreter must be able to import
    default     its defaults; where those cannot work on wide outputs, ``note`` says what stands for them
    candidates  the other settings of a search
    early       a setting for a good result early, chosen by hand on the validation split; None: none
    in_search   changes to any setting while searching, because the subset is smaller
    expected_s  training, and predicting 1,000 rows, at enwiki-para's size on two cores, for --plan
    """

    name: str
    adapter: str
    module: str
    default: Setting
    candidates: tuple[Setting, ...]
    in_search: Setting = field(default_factory=dict)
    note: str = ""
    expected_s: tuple[float, float] = (100.0, 2.0)
    early: Setting | None = None


def peers(config: str, overrides: tuple[str, ...] = ()) -> tuple[Peer, ...]:
    """Return all peers; ``config`` is the configuration that distlsh ships for the data, with overrides."""
    return (_distlsh(config, overrides), PECOS, OMIKUJI, NAPKINXC, FASTTEXT, TORCH_SAMPLED, TORCH_DENSE)


def _distlsh(config: str, overrides: tuple[str, ...]) -> Peer:
    def with_sets(*sets: str) -> Setting:
        return {"config": config, "set": [*sets, *overrides], "points": 8}

    with_early = with_sets(*_EARLY) if config == "enwiki-para" else None

    return Peer(
        "distlsh",
        "distlsh",
        "distlsh",
        with_sets(),
        (
            with_sets("model.hidden=[512]"),
            with_sets("model.hidden=[2048]"),
            with_sets("pretrain.epochs=5"),
            with_sets("pretrain.epochs=8"),
            with_sets("model.hidden=[2048]", "pretrain.epochs=5"),
        ),
        expected_s=(140.0, 1.0),
        early=with_early,
    )


PECOS = Peer(
    "pecos",
    "pecos",
    "pecos",
    {},
    (
        {"train": {"threshold": 0.01}, "predict": {"beam_size": 20}},
        {"train": {"threshold": 0.01, "Cp": 4.0}, "predict": {"beam_size": 20}},
        {"train": {"threshold": 0.05, "nr_splits": 2}, "predict": {"beam_size": 20}},
        {"indexer": {"max_leaf_size": 400}, "train": {"threshold": 0.05}, "predict": {"beam_size": 20}},
        {"seeds": 3, "train": {"threshold": 0.05}, "predict": {"beam_size": 20}},
    ),
    expected_s=(140.0, 1.9),
)

OMIKUJI = Peer(
    "omikuji",
    "omikuji",
    "omikuji",
    {},
    (
        {"beam_size": 30},
        {"collapse_every_n_layers": 5, "beam_size": 20},
        {"cluster_balanced": False, "cluster_k": 100, "max_depth": 3, "beam_size": 20},
        {"linear_weight_threshold": 0.01, "beam_size": 20},
        {"linear_loss_type": 1, "beam_size": 20},
    ),
    note="Parabel, its defaults",
    expected_s=(110.0, 5.9),
)

NAPKINXC = Peer(
    "napkinxc",
    "napkinxc",
    "napkinxc",
    {},
    (
        {"arity": 16},
        {"liblinear_c": 32},
        {"loss": "l2", "liblinear_c": 1},
        {"weights_threshold": 0.01, "max_leaves": 400},
        {"ensemble": 3},
    ),
    note="PLT, its defaults",
    expected_s=(320.0, 4.4),
)

FASTTEXT = Peer(
    "fasttext",
    "fasttext",
    "fasttext",
    {"loss": "hs"},
    (
        {"loss": "hs", "dim": 128, "epoch": 10, "lr": 1.0},
        {"loss": "hs", "dim": 128, "epoch": 25, "lr": 1.0, "repeat": 5},
        {"loss": "hs", "dim": 256, "epoch": 25, "lr": 0.5},
        {"loss": "ns", "dim": 128, "epoch": 10, "lr": 0.5, "neg": 25},
        {"loss": "ns", "dim": 128, "epoch": 25, "lr": 1.0, "neg": 25, "repeat": 5},
    ),
    note="defaults with loss=hs: a full softmax would take hours",
    expected_s=(45.0, 0.7),
)

TORCH_SAMPLED = Peer(
    "torch-sampled",
    "torch",
    "torch, scipy",
    {**_SAMPLED, "points": 5},
    (
        {**_SAMPLED, "lr": 1e-2, "epochs": 3},
        {**_SAMPLED, **_COSINE, "lr": 1e-3, "n_sampled": 1024},
        {**_SAMPLED, **_COSINE, "lr": 1e-3, "n_sampled": 4096},
        {**_SAMPLED, **_COSINE, "lr": 3e-3, "n_sampled": 4096, "width": 512},
        {**_SAMPLED, **_COSINE, "lr": 1e-3, "n_sampled": 4096, "width": 512, "epochs": 3},
    ),
    note="width 256, batch 256, 1,024 sampled labels, Adam, one epoch",
    expected_s=(150.0, 2.0),
)

TORCH_DENSE = Peer(
    "torch-dense",
    "torch",
    "torch, scipy",
    {},
    (
        {**_DENSE_COSINE, "lr": 3e-4},
        {**_DENSE_COSINE, "lr": 1e-3},
        {**_DENSE_COSINE, "lr": 3e-3},
        {"sparse": True, "fused": True, "lr": 3e-3},
        {**_DENSE_COSINE, "lr": 1e-3, "lr_input": 3e-3},
    ),
    # As many steps an epoch as the whole data has.
    in_search={"batch": 20, "sparse": True, "fused": True},
    note="width 256, batch 256, Adam, one epoch",
    expected_s=(3500.0, 2.0),
)
