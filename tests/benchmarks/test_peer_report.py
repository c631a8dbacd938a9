from __future__ import annotations

import pytest
from comparison import found, report


def _result(peer="pecos", name="default", p_at_1=0.25, **more):
    prediction = {"p_at_1": p_at_1, "p_at_3": 0.1, "p_at_5": 0.07, "rows_per_s": 500.0}
    return {
        "peer": peer,
        "setting_name": name,
        "setting": {"beam": 1},
        "train_s": 100.0,
        "phases": {"train": {"seconds": 100.0}},
        "predictions": {"tree": prediction},
        "latency": {},
        "curve": [],
        "peak_memory_bytes": {"whole": 2e9},
        **more,
    }


def test_the_best_trial_wins_and_is_kept(tmp_path):
    """The setting with the highest P@1 is kept with all trials, beside those of other peers and data."""
    kept = tmp_path / "found.json"
    trials = [
        _result(p_at_1=0.2),
        _result(p_at_1=0.4, setting={"beam": 2}),
        _result(p_at_1=0.9, error="died"),
    ]
    outcome = found.keep("wiki", "pecos", trials, kept)
    assert outcome["setting"] == {"beam": 2}
    assert [trial["p_at_1"] for trial in outcome["trials"]] == [0.2, 0.4, None]
    found.keep("wiki", "omikuji", trials[:1], kept)
    assert found.read("wiki", "pecos", kept) == outcome
    assert found.read("amazon", "pecos", kept) is None


def test_a_search_in_which_all_failed_keeps_nothing(tmp_path):
    """Without one trial that worked there is no setting to keep."""
    assert found.keep("wiki", "pecos", [_result(error="died")], tmp_path / "f.json") is None
    assert not (tmp_path / "f.json").exists()


def test_exact_inference_is_what_a_result_is_judged_by():
    """Of several ways to predict, exact inference counts, whatever its place."""
    result = _result()
    result["predictions"] = {"lsh": {"p_at_1": 0.1}, "exact": {"p_at_1": 0.3}}
    assert report.best_prediction(result)["p_at_1"] == found.p_at_1(result) == 0.3


def test_part_of_an_epoch_is_shown_as_extrapolated():
    """The time of an epoch that was trained in part is what the whole would take, and says so."""
    result = _result(partly_trained=True, notes={"epoch_s_extrapolated": 3400.0})
    assert report.train_s(result) == 3400.0
    assert "3,400 (extrapolated)" in report.cells(result)


def test_a_failed_peer_keeps_its_line():
    """The table names what failed instead of leaving it out."""
    assert "failed: no memory" in report.cells(_result(error="no memory"))


def test_the_figure_shows_whole_trainings_only():
    """Peers that were trained have a mark in each of the three panels; failed and partial ones have none."""
    pytest.importorskip("matplotlib")
    curve = [{"train_s": 10.0, "p_at_1": 0.1, "samples": 5}]
    results = [_result(curve=curve), _result("omikuji", "found"), _result("torch", partly_trained=True)]
    drawn = report.figure([*results, _result("x", error="died")], "wiki")
    texts = [{text.get_text() for text in axis.texts} for axis in drawn.axes]
    assert texts[0] == texts[1] == {"pecos, default", "omikuji, found"}
    assert texts[2] == {"pecos, default, tree", "omikuji, found, tree"}
