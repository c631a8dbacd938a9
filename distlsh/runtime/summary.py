"""The figures of a finished run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distlsh.model.counters import Counter
from distlsh.protocol.reports import Evaluation, Summary
from distlsh.runtime.clock import RunClock
from distlsh.runtime.reporting import means, pretrain_loss

_METRICS = (
    "p_at_1",
    "p_at_3",
    "p_at_5",
    "ndcg_at_1",
    "ndcg_at_3",
    "ndcg_at_5",
    "psp_at_1",
    "psp_at_3",
    "psp_at_5",
    "lsh_p_at_1",
    "hidden_recall",
    "table_recall_at_1",
    "table_recall_at_10",
)


def summarise(
    *,
    status: str,
    workers: int,
    clock: RunClock,
    totals: NDArray[np.float64],
    samples: int,
    epoch_size: int,
    evaluation: Evaluation | None,
    **fields: object,
) -> Summary:
    """Return ``summary.json``'s content.

    samples  acknowledged, each once
    totals   f8[24], the counters' sums over the whole training, resumed parts included
    """
    train_s, pretrain_s = clock.seconds("train"), clock.seconds("pretrain")
    averages = means(totals)
    averages.pop("rows_updated_mean", None)
    metrics = {name: getattr(evaluation, name) for name in _METRICS} if evaluation else {}
    return Summary(
        status=status,
        workers=workers,
        samples=samples,
        epochs=round(samples / epoch_size, 4),
        samples_per_s=round(samples / train_s, 1) if train_s > 0 else 0.0,
        train_s=round(train_s + pretrain_s, 3),
        pretrain_s=round(pretrain_s, 3),
        pretrained=int(totals[Counter.PRETRAINED]),
        pretrain_loss=pretrain_loss(totals),
        eval_s=round(clock.seconds("eval"), 3),
        total_s=round(clock.total_s, 3),
        start_s=round(clock.marks.get("first_task", 0.0), 3),
        first_step_s=round(clock.marks.get("first_step", 0.0), 3),
        start_timeline=clock.start(),
        load_s=round(clock.seconds("load"), 3),
        compile_s=round(clock.seconds("compile"), 3),
        **averages,
        **metrics,
        **fields,  # type: ignore[arg-type]
    )
