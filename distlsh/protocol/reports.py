"""What a run tells about itself: one struct per line of its files and of its PUB socket."""

from __future__ import annotations

import msgspec


class Report(msgspec.Struct, kw_only=True, tag="report"):
    """One line of ``metrics.jsonl``: the run at one moment."""

    time_s: float  # since the start of the run
    train_s: float  # of training so far
    phase: str  # "init", "pretrain", "warm start", "tables", "train", "evaluate", "checkpoint", ...
    phase_share: float | None = None  # of the phase's tasks, done
    epoch: int  # from 0
    epochs: int
    samples: int  # trained so far, all epochs
    epoch_done: int  # samples of this epoch done
    epoch_size: int
    samples_per_s: float  # while pretraining, like loss and lr, of the pretraining
    worker_samples_per_s: list[float]
    loss: float | None = None  # mean over the samples since the last report
    n_active_mean: float | None = None
    rows_updated_mean: float | None = None  # output rows updated a sample
    mac_fraction: float | None = None  # multiply-adds done over those of a dense network
    hidden_mac_fraction: float | None = None  # the same of the hashed hidden layers alone
    lr: float | None = None
    generation: int = 0  # of the tables
    rehashes: int = 0
    table_age_s: float | None = None
    table_age_samples: int | None = None
    table_recall_at_1: float | None = None  # of the last evaluation
    p_at_1: float | None = None  # of the last evaluation
    eta_s: float | None = None
    worker_restarts: int = 0
    repeated_samples: int = 0  # trained by a worker that died before it could acknowledge them, and so again
    non_finite_samples: int = 0  # left out, since a number was not finite


class Evaluation(msgspec.Struct, kw_only=True, tag="evaluation"):
    """One line of ``eval.jsonl``: exact and LSH inference side by side."""

    kind: str  # "initial", "subset" or "final"
    epoch: int
    samples: int
    train_s: float
    n_rows: int
    eval_s: float
    p_at_1: float
    p_at_3: float
    p_at_5: float
    ndcg_at_1: float
    ndcg_at_3: float
    ndcg_at_5: float
    psp_at_1: float
    psp_at_3: float
    psp_at_5: float
    # None where no layer has tables
    lsh_p_at_1: float | None = None
    lsh_p_at_3: float | None = None
    lsh_p_at_5: float | None = None
    lsh_ndcg_at_1: float | None = None
    lsh_ndcg_at_3: float | None = None
    lsh_ndcg_at_5: float | None = None
    lsh_psp_at_1: float | None = None
    lsh_psp_at_3: float | None = None
    lsh_psp_at_5: float | None = None
    hidden_recall: list[float] | None = None  # of each hashed hidden layer: exactly active neurons found
    # None where the output is dense
    table_recall_at_1: float | None = None  # exact top-1 among the retrieved
    table_recall_at_10: float | None = None
    retrieved_mean: float | None = None  # distinct labels retrieved a row
    lsh_mac_fraction: float | None = None  # multiply-adds of LSH inference over exact
    tables: str | None = None  # the hash functions, where the run chose them (lsh.auto)


class Rehash(msgspec.Struct, kw_only=True, tag="rehash"):
    """One finished refresh of the tables."""

    generation: int
    samples: int
    rows: int  # rows hashed
    moved: int  # codes that changed, over all tables
    changed_share: float  # moved / (rows * n_tables)
    hash_s: float
    wait_s: float  # for readers of the idle buffer
    cpu_s: float = 0.0  # of the rehasher's core
    full: bool
    overflow_share: float = 0.0  # of the ids that belong to buckets, those that had no room


class Tuned(msgspec.Struct, kw_only=True, tag="tuned"):
    """One choice of hash functions (`lsh.auto`)."""

    samples: int
    target: float  # recall that was asked for
    recall: float  # on the sampled training instances
    candidates: float  # distinct labels found a query
    n_bytes: int
    tune_s: float
    missing: str | None = None  # what of the goal is out of reach


class Restart(msgspec.Struct, kw_only=True, tag="restart"):
    """A child that was lost has a successor, which is ready."""

    role: str
    pid: int  # of the successor
    why: str  # the child was lost
    down_s: float  # from noticing the loss to the successor's first message


class Notice(msgspec.Struct, kw_only=True, tag="notice"):
    """Something a person should read once: a restart, a checkpoint, a warning."""

    level: str  # "info" or "warning"
    text: str


class Summary(msgspec.Struct, kw_only=True, tag="summary"):
    """``summary.json``."""

    status: str  # "completed", "interrupted" or "failed"
    workers: int
    samples: int
    epochs: float
    samples_per_s: float
    load_s: float
    compile_s: float
    train_s: float
    eval_s: float
    total_s: float
    pretrain_s: float = 0.0  # of train_s, in the pretraining
    pretrained: int = 0  # samples of the pretraining; those of instances that share no label are left out
    pretrain_loss: float | None = None  # mean over them
    start_s: float  # from the command to the first work of training, its warm start included
    first_step_s: float = 0.0  # from the command to the first gradient step
    # seconds from the command to: "imported", "data" opened, "memory" made, "first_task", the first moment
    # of each stage ("init", "warm start", ...), "first_step"
    start_timeline: dict[str, float] = msgspec.field(default_factory=dict)
    p_at_1: float | None = None
    p_at_3: float | None = None
    p_at_5: float | None = None
    ndcg_at_1: float | None = None
    ndcg_at_3: float | None = None
    ndcg_at_5: float | None = None
    psp_at_1: float | None = None
    psp_at_3: float | None = None
    psp_at_5: float | None = None
    lsh_p_at_1: float | None = None
    loss: float | None = None
    n_active_mean: float | None = None
    mac_fraction: float | None = None
    hidden_mac_fraction: float | None = None
    hidden_recall: list[float] | None = None
    table_recall_at_1: float | None = None
    table_recall_at_10: float | None = None
    popularity_p_at_1: float | None = None  # baseline: always the most frequent labels
    rehashes: int = 0
    table_age_s_mean: float | None = None
    # of the refreshes while training, the first tables left out
    table_stale_mean: float | None = None  # codes that had changed since they were hashed, of all hashed
    rehash_s: float = 0.0
    # since the last resume, of writing checkpoints: in all, and while work waited for it
    save_s: float = 0.0
    save_stall_s: float = 0.0
    rehash_share: float | None = None  # rehasher's seconds of a core over the workers' in training tasks
    conflict_rate: float | None = None  # active outputs that another worker had (run.conflicts)
    visits_min: int | None = None  # trainings of the instance trained least (run.visits)
    visits_repeated: int | None = (
        None  # trainings beyond one an instance and epoch, in what faults made repeat
    )
    cpu_s: dict[str, float] = msgspec.field(default_factory=dict)  # by role, since the last resume
    stage_s: dict[str, float] = msgspec.field(default_factory=dict)  # likewise, from the clock
    tables: str | None = None  # the hash functions, where the run chose them (lsh.auto)
    tunings: int = 0
    worker_restarts: int = 0
    repeated_samples: int = 0  # trained more than once, since a worker died before it acknowledged them
    repeated_pretrained: int = 0  # likewise in the pretraining
    non_finite_samples: int = 0  # left out, since a number was not finite
    fall_backs: int = 0  # returns to a checkpoint with smaller rates (train.on_non_finite: fall_back)
    lr_scale: float = 1.0  # of all learning rates at the end, after these
    peak_memory_bytes: int = 0  # shared + private
    energy_j: float | None = None
    run_dir: str = ""
