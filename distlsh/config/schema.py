"""The configuration: one struct a group, every key with its type, range and default.

Ranges are msgspec constraints, so that a wrong value is refused with its key path.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0.0, lt=1.0)]
Rate = Annotated[float, Meta(ge=0.0)]
PositiveRate = Annotated[float, Meta(gt=0.0)]

Format = Literal["auto", "xc", "svmlight", "idx"]
Normalize = Literal["none", "l2"]
Activation = Literal["linear", "relu", "tanh"]
Loss = Literal["softmax", "bce"]
Storage = Literal["float32", "bfloat16"]
HiddenShare = Annotated[float, Meta(gt=0.0, le=1.0)]
Family = Literal["cross_polytope", "srp", "fast_srp", "sparse_srp", "wta", "dwta", "l2"]
Probing = Literal["query_directed", "step_wise"]
ProbeOrder = Literal["table", "global"]
Transform = Literal["none", "simple", "l2_alsh", "sign_alsh"]
Policy = Literal["fifo", "reservoir", "bottom_k"]
Sampling = Literal["topk", "vanilla", "threshold", "score"]
OnNonFinite = Literal["stop", "skip", "fall_back"]


class _Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class SynthConfig(_Group, frozen=True):
    """A generated data set (`distlsh data synth` takes the same settings)."""

    n_train: Positive = 60_000
    n_test: Positive = 10_000
    n_features: Annotated[int, Meta(ge=16)] = 30_000
    n_labels: Annotated[int, Meta(ge=2)] = 20_000
    n_nonzeros: Positive = 32  # mean features of an instance
    n_labels_mean: Annotated[float, Meta(ge=1.0)] = 1.0  # mean labels of an instance
    cluster_size: Positive = 16  # labels that share features
    exponent: Rate = 0.7  # of the power law of label frequencies; 0 is uniform
    noise: Share = 0.3  # share of an instance's features drawn from all features
    seed: Count = 1


class DataConfig(_Group, frozen=True):
    train: str | None = None  # file; null where `synth` generates the data
    test: str | None = None
    format: Format = "auto"
    cache_dir: str | None = None  # of parsed data; null: .distlsh-cache beside the file
    normalize: Normalize = "none"  # of each instance's features
    synth: SynthConfig | None = None


class ModelConfig(_Group, frozen=True):
    hidden: Annotated[list[Annotated[int, Meta(ge=1, le=65536)]], Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: [256]
    )
    # share of a hidden layer's neurons that a sample computes, or a list of one a layer; 1: dense
    active_share: HiddenShare | Annotated[list[HiddenShare], Meta(min_length=1)] = 1.0
    activation: Activation = "linear"
    normalize: bool = True  # L2-normalise the last hidden vector
    scale: PositiveRate = 10.0  # of the logits, where `normalize` is on
    bias: bool = False  # of the output neurons
    dropout: Share = 0.0  # of hidden activations
    input_dropout: Share = 0.0  # of input features
    loss: Loss = "softmax"
    log_q: bool = False  # correct the softmax for the random negatives' sampling rate
    storage: Storage = "float32"  # of the first layer's and the output's rows
    warm_start: bool = True  # output rows start as their label's mean hidden vector


class HashingConfig(_Group, frozen=True):
    """How the rows of one layer are hashed and kept in tables."""

    family: Family = "cross_polytope"
    n_hashes: Annotated[int, Meta(ge=1, le=32)] = 2  # K, hashes of a code
    n_tables: Annotated[int, Meta(ge=1, le=1024)] = 40  # L
    n_probes: Annotated[int, Meta(ge=0, le=64)] = 4  # extra buckets a table
    probing: Probing = "query_directed"
    probe_order: ProbeOrder = "table"
    dim: Annotated[int, Meta(ge=2, le=1024)] = 64  # of one cross-polytope; a power of two
    bin_size: Annotated[int, Meta(ge=2, le=32)] = 8  # of one WTA or DWTA hash; a power of two
    density: Annotated[float, Meta(gt=0.0, le=1.0)] = 1 / 3  # of a sparse projection
    l2_width: PositiveRate = 4.0  # of the slots of an l2 hash
    code_bits: Annotated[int, Meta(ge=1, le=24)] = 16  # of the codes of l2
    transform: Transform = "none"  # of rows and queries, for inner products
    bucket_size: Annotated[int, Meta(ge=1, le=65536)] = 64
    bucket_policy: Policy = "fifo"
    center: bool = True  # hash rows relative to their mean


class HiddenLshConfig(HashingConfig, frozen=True):
    """The tables of hashed hidden layers (`model.active_share` below 1): small layers, small buckets."""

    choice: Literal["tables", "exact", "random"] = "tables"  # of the active neurons
    n_hashes: Annotated[int, Meta(ge=1, le=32)] = 1
    n_tables: Annotated[int, Meta(ge=1, le=1024)] = 64
    n_probes: Annotated[int, Meta(ge=0, le=64)] = 2
    dim: Annotated[int, Meta(ge=2, le=1024)] = 16
    bucket_size: Annotated[int, Meta(ge=1, le=65536)] = 128
    center: bool = False
    # retrieved neurons computed, over those kept; at most a dense layer's
    pool: Annotated[float, Meta(ge=1.0)] = 2.0


class AutoConfig(_Group, frozen=True):
    """What the output's hash functions shall reach, where the run chooses them (`lsh.auto`)."""

    # of the tables, on outputs that are not the instance's labels
    recall: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.6
    k: Literal[1, 10] = 10  # of the exact top so many outputs
    n_active: Positive | None = None  # distinct outputs found a sample, in the mean; null: lsh.n_active
    max_bytes: Positive | None = None  # of the tables; null: twice the output rows, at least 64 MiB
    max_tunings: Positive = 5  # in a run


class LshConfig(HashingConfig, frozen=True):
    auto: AutoConfig | None = None
    n_active: Positive = 512  # budget of active outputs a sample
    n_random: Count = 0  # of these, at least so many random ones
    sampling: Sampling = "topk"  # how retrieved outputs are chosen
    min_hits: Positive = 2  # buckets that must hold an output (sampling threshold)
    pool: Positive = 2048  # outputs whose scores are estimated (sampling score)
    hidden: HiddenLshConfig = msgspec.field(default_factory=HiddenLshConfig)


class TrainConfig(_Group, frozen=True):
    epochs: Positive = 1
    optimizer: Literal["sgd", "adagrad", "adagrad_row", "adam"] = "adagrad"
    lr: PositiveRate = 0.005
    lr_input: PositiveRate | None = None  # of the first layer; null: lr
    momentum: Share = 0.0  # sgd
    beta1: Share = 0.9  # adam
    beta2: Share = 0.999  # adam
    eps: PositiveRate = 1e-8
    adagrad_init: Rate = 0.01  # where Adagrad's sums of squares start
    schedule: Literal["constant", "linear", "cosine", "step"] = "constant"
    warmup: Share = 0.0  # share of the training over which the rate rises from 0
    final_lr: Share = 0.0  # rate at the end over `lr`: linear, cosine
    step_at: list[Annotated[float, Meta(gt=0.0, lt=1.0)]] = msgspec.field(
        default_factory=lambda: [0.5, 0.75]
    )  # shares of the training at which schedule `step` multiplies the rate
    step_factor: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.1
    skip_below: Share = 0.003  # tau: smaller output gradients are rounded stochastically; 0: never
    batch_size: Annotated[int, Meta(ge=1, le=4096)] = 32  # samples a worker takes through a layer together
    chunk_size: Positive = 2048  # sample positions given to a worker at a time
    seed: Count = 1
    deterministic: bool = False  # one worker, rehash at fixed sample counts
    # what a NaN or an infinity does: end the run; leave the sample out; or leave out what is wrong in the
    # data, and for anything else go back to the last checkpoint and train on with smaller rates
    on_non_finite: OnNonFinite = "stop"
    fall_back_factor: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.5  # of all rates, at each going back
    max_fall_backs: Count = 3  # in a run; then it ends


class PretrainConfig(_Group, frozen=True):
    """Contrastive training of the first layer: each instance shall find the others of its label."""

    epochs: Count = 0  # passes over the instances that share a label; 0: none
    batch_size: Annotated[int, Meta(ge=2, le=8192)] = 1024  # instances compared with each other
    partners: Annotated[int, Meta(ge=1, le=256)] = (
        8  # other instances of the label, at most, that make its vector
    )
    lr: PositiveRate = 0.02  # of the first layer; falls linearly to 0
    pool: Count = 0  # instances among which those of a batch are found that are alike; 0: random batches
    scale: PositiveRate = 15.0  # of the cosines in the loss
    adagrad_init: Rate = 0.001  # where Adagrad's sums of squares start


class RehashConfig(_Group, frozen=True):
    initial_interval: Positive = 50_000  # samples before the first rehash
    decay: Rate = 0.1  # the n-th interval is initial_interval * exp(decay * n)
    # share of codes moved that shortens the interval again
    max_drift: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.2


class EvalConfig(_Group, frozen=True):
    interval: Count = 0  # samples between evaluations in training; 0: after each epoch
    n_rows: Count = 2_000  # of the seeded random subset; 0: no evaluation in training
    initial: bool = True  # evaluate before the first step
    final_rows: Count = 0  # rows of the last evaluation; 0: all
    lsh: bool = True  # LSH inference beside the exact one
    propensity_a: PositiveRate = 0.55
    propensity_b: PositiveRate = 1.5


class CheckpointConfig(_Group, frozen=True):
    interval: Count = 0  # samples between checkpoints; 0: after each epoch
    interval_s: Rate = 600.0  # seconds from a checkpoint to the next, in the pretraining too; 0: none by time
    keep: Positive = 2
    optimizer_state: bool = True  # also in the final checkpoint; those before it always have it


class RunConfig(_Group, frozen=True):
    workers: Annotated[int, Meta(ge=1, le=1024)] = 1
    dir: str | None = None  # null: runs/<time>-<name>
    name: str | None = None
    pin: bool = False  # each worker to a core, the others to cores that no worker has, where there are some
    conflicts: bool = False  # count how often two workers have an output in a batch at once
    visits: bool = False  # count how often each instance is trained; an instance left out is an error
    max_restarts: Count = 3  # of each child, within the window
    restart_window_s: Rate = 600.0  # 0: the whole run
    heartbeat_s: PositiveRate = 1.0
    heartbeat_timeout_s: PositiveRate = 60.0
    stop_timeout_s: PositiveRate = 10.0  # a step of ask, SIGTERM, SIGKILL
    report_s: PositiveRate = 1.0  # between lines of metrics.jsonl, in a run's first hour
    log_bytes: Annotated[int, Meta(ge=1000)] = 10 << 20  # of a part of a log; three parts are kept
    publish: str | None = None  # tcp://HOST:PORT: metrics for watchers on other machines
    control: str | None = None  # tcp://HOST:PORT: control and metrics of children, at PORT and PORT + 1
    keys: str | None = None  # folder of keys, by distlsh keygen; needed by publish and control


class Config(_Group, frozen=True):
    data: DataConfig = msgspec.field(default_factory=DataConfig)
    model: ModelConfig = msgspec.field(default_factory=ModelConfig)
    lsh: LshConfig = msgspec.field(default_factory=LshConfig)
    train: TrainConfig = msgspec.field(default_factory=TrainConfig)
    pretrain: PretrainConfig = msgspec.field(default_factory=PretrainConfig)
    rehash: RehashConfig = msgspec.field(default_factory=RehashConfig)
    eval: EvalConfig = msgspec.field(default_factory=EvalConfig)
    checkpoint: CheckpointConfig = msgspec.field(default_factory=CheckpointConfig)
    run: RunConfig = msgspec.field(default_factory=RunConfig)
