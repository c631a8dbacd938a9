from __future__ import annotations

import dense_ratio
import pytest


def _runs(*speeds):
    return [{"phases": {"train": {"samples_per_s": speed}}} for speed in speeds]


def test_the_ratio_is_the_median_over_rounds():
    """Each round divides the two sides measured next to each other; the median of these is reported."""
    runs = {"PyTorch": _runs(100.0, 200.0, 100.0), "distlsh": _runs(6000.0, 6000.0, 9000.0)}
    assert dense_ratio.ratios(runs) == {"PyTorch": 60.0}


def test_the_figure_has_a_bar_a_side():
    """Sides are drawn with their median speeds."""
    pytest.importorskip("matplotlib")
    drawn = dense_ratio.figure({"a": [1.0, 3.0, 2.0], "b": [10.0], "distlsh": [99.0]})
    assert [text.get_text() for text in drawn.axes[0].texts] == ["2", "10", "99"]
