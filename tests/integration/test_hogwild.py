"""Lock-free updates by two workers learn what one worker learns."""

from __future__ import annotations

import numpy as np
import pytest

from distlsh.runtime.launch import run


@pytest.mark.slow
def test_two_workers_stay_within_the_seed_to_seed_spread_of_one(config, tmp_path):
    """P@1 of 2 workers lies within the range of 1 worker's seeds, widened by that range.

    With four exchangeable seeds a side, the mean of one side leaves that interval in fewer
    than one of a thousand cases, if HOGWILD costs nothing.
    """
    precision = {
        workers: [
            run(
                config(train={"seed": seed}, run={"workers": workers}),
                run_dir=tmp_path / f"{workers}-{seed}",
            ).p_at_1
            for seed in range(1, 5)
        ]
        for workers in (1, 2)
    }
    one = np.array(precision[1])
    spread = np.ptp(one)
    assert spread > 0
    assert one.min() - spread <= np.mean(precision[2]) <= one.max() + spread, precision
