"""How likely a true label is to be recorded at all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def inv_propensity(label_counts: NDArray[np.integer], n: int, a: float, b: float) -> NDArray[np.float32]:
    """Return f4[n_labels], one over each label's propensity.

    label_counts  training instances of each label
    n             training instances
    a, b          of the data set: 0.55 and 1.5 by default, 0.5 and 0.4 for Wikipedia
                  data, 0.6 and 2.6 for Amazon data

    ``1 + C * (count + b) ** -a`` with ``C = (ln n - 1) * (b + 1) ** a``.
    Source: Jain, Prabhu & Varma 2016, section 4.2, equation 2.
    """
    # below e instances the formula's C turns negative, and propensities exceed one
    c = max(np.log(max(n, 1)) - 1.0, 0.0) * (b + 1.0) ** a
    inverse: NDArray[np.float32] = (1.0 + c * (label_counts + b) ** -a).astype(np.float32)
    return inverse
