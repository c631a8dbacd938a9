"""What a person sees: the live picture, plain lines, and nothing."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from distlsh.cli.display import (
    Display,
    Enduring,
    LiveDisplay,
    PlainDisplay,
    evaluation_line,
    make_display,
    picture,
    report_line,
    with_last_figures,
)
from distlsh.config.schema import Config
from distlsh.protocol.reports import Notice, Rehash


def rendered(renderable, width=110):
    console = Console(file=io.StringIO(), width=width, force_terminal=False, record=True)
    console.print(renderable)
    return console.export_text()


REHASH = Rehash(
    generation=3, samples=5, rows=10, moved=4, changed_share=0.012, hash_s=1.0, wait_s=0.0, full=False
)


def test_live_picture_shows_all_that_matters(make_report, make_evaluation):
    """Progress and time left, speeds in all and per worker, loss, active set, dense work, tables, P@1."""
    text = rendered(picture("runs/x  2 workers", make_report(), make_evaluation(), REHASH))
    for part in (
        "runs/x  2 workers  train  1m23s",
        "epoch 1/3",
        "45.0%  201,622 of 448,049",
        "left 1m20s",
        "3,912 (1,950 + 1,962)",
        "0.1235   rate 0.02",
        "498 a sample, 41.7 rows updated",
        "1.2%",
        "generation 3, 4.2 s old, recall of the top 1 0.8700, 1.2% of codes moved last",
        "0.2912, 0.2800 by LSH inference",
    ):
        assert part in text


def test_live_picture_of_a_run_that_has_nothing_yet(make_report):
    """Before the first figures are known, their places hold a dash."""
    nothing = dict.fromkeys(
        (
            "loss",
            "n_active_mean",
            "rows_updated_mean",
            "mac_fraction",
            "lr",
            "table_age_s",
            "table_recall_at_1",
            "p_at_1",
            "eta_s",
        )
    )
    text = rendered(picture("x", make_report(phase="init", epoch_size=0, epoch_done=0, **nothing)))
    assert "0.0%  0 of 0" in text
    assert "left -" in text


def test_pretraining_is_shown_with_its_own_progress(make_report):
    """Share, speed and loss are the pretraining's; how long all takes is not known yet."""
    report = make_report(phase="pretrain", phase_share=0.25, loss=3.5, eta_s=None, samples=0, epoch_done=0)
    text = rendered(picture("x", report))
    assert "pretrain" in text and "25.0%" in text and "left -" in text and "epoch" not in text
    line = report_line(report)
    assert line.startswith("pretrain 25.0%") and "3,912 samples/s" in line and "loss 3.5" in line


def test_live_picture_of_a_dense_run(make_report):
    """Without tables nothing is said of them."""
    text = rendered(picture("x", make_report(generation=0, table_age_s=None, table_recall_at_1=None)))
    assert "tables" not in text and "generation" not in text
    assert "P@1" in text


def test_last_figures_stay_while_nothing_is_trained(make_report):
    """While an evaluation runs, the picture keeps the last loss rather than a dash."""
    report = with_last_figures(make_report(phase="evaluate", loss=None, lr=0.5), make_report())
    assert (report.loss, report.lr, report.phase) == (0.12345, 0.5, "evaluate")


def test_many_workers_are_cut_short(make_report):
    """The speeds of the first workers are shown, the others counted."""
    text = rendered(picture("x", make_report(worker_samples_per_s=[100.0] * 30)), width=160)
    assert "+ 22 more" in text


def test_report_line(make_report):
    """The plain line has the figures of the picture."""
    assert report_line(make_report()) == (
        "epoch 1/3 45.0%  3,912 samples/s (1,950 + 1,962)  loss 0.1235  active 498  dense work 1.2%  "
        "tables 3, 4.2 s old, recall@1 0.8700  P@1 0.2912  left 1m20s"
    )


def test_report_line_of_a_dense_run(make_report):
    """Without tables their figures are left out."""
    line = report_line(make_report(table_age_s=None, table_recall_at_1=None, worker_samples_per_s=[3912.0]))
    assert "tables" not in line
    assert "3,912 samples/s  loss" in line


def test_evaluation_line(make_evaluation):
    """An evaluation is one line, exact and LSH side by side."""
    assert evaluation_line(make_evaluation()) == (
        "evaluation (subset, 2,000 rows, 100,000 samples in):  P@1/3/5 0.2900 0.2700 0.2500  nDCG@5 0.2500  "
        "PSP@1/5 0.2900 0.2500  LSH P@1 0.2800  recall@1/10 0.8700 0.6100"
    )


def test_plain_lines_come_now_and_then(make_report):
    """Reports come each second, lines each five and when the phase changes."""
    out = io.StringIO()
    display = PlainDisplay(Console(file=out, width=200))
    display.start(Config(), Path("runs/x"))
    for second in range(12):
        display.report(make_report(time_s=float(second)))
    display.report(make_report(time_s=12.0, phase="evaluate"))
    lines = out.getvalue().splitlines()
    assert lines[0] == "[    0.0 s] run runs/x, 1 worker"
    assert [line[:11] for line in lines[1:]] == ["[    0.0 s]", "[    5.0 s]", "[   10.0 s]", "[   12.0 s]"]
    assert lines[-1] == "[   12.0 s] evaluate"


def test_a_first_parse_is_announced(capsys):
    """Before a run starts its data may be parsed, which takes a while: each display but the quiet says so."""
    for kind, terminal in ((PlainDisplay, False), (LiveDisplay, True)):
        out = io.StringIO()
        kind(Console(file=out, width=120, force_terminal=terminal)).parsing(Path("data/[big].txt.gz"))
        assert "parsing data/[big].txt.gz" in out.getvalue()
    make_display(quiet=True).parsing(Path("x"))
    assert capsys.readouterr().out == ""


def test_plain_output_has_no_control_characters(make_report, make_evaluation, make_summary):
    """A log file stays readable."""
    out = io.StringIO()
    display = PlainDisplay(Console(file=out, width=100))
    display.start(Config(), Path("runs/x"))
    display.report(make_report())
    display.evaluation(make_evaluation())
    display.notice(Notice(level="warning", text="worker 1 was started again [2]"))
    display.summary(make_summary())
    display.close()
    assert "\x1b" not in out.getvalue()
    assert "warning: worker 1 was started again [2]" in out.getvalue()


def test_live_display_draws_and_stops(make_report, make_evaluation, make_summary):
    """On a terminal the picture is drawn, evaluations stay above it, the summary follows."""
    out = io.StringIO()
    display = LiveDisplay(Console(file=out, width=120, force_terminal=True))
    display.start(Config(), Path("runs/x"))
    display.report(make_report())
    display.rehash(REHASH)
    display.evaluation(make_evaluation())
    display.notice(Notice(level="info", text="checkpoint [bold]written"))
    display.summary(make_summary())
    display.close()
    display.close()
    text = out.getvalue()
    for part in ("epoch 1/3", "evaluation (subset", "checkpoint [bold]written", "Run completed"):
        assert part in text


def test_quiet_shows_warnings_alone(capsys, make_report, make_evaluation, make_summary):
    """--quiet prints nothing but warnings, on standard error."""
    display = make_display(quiet=True)
    assert type(display.shown) is Display
    display.start(Config(), Path("x"))
    display.report(make_report())
    display.evaluation(make_evaluation())
    display.rehash(REHASH)
    display.notice(Notice(level="info", text="quiet"))
    display.notice(Notice(level="warning", text="loud"))
    display.summary(make_summary())
    display.close()
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "warning: loud\n")


def test_a_pipe_gets_plain_lines(capsys):
    """Where standard output is no terminal, lines are plain."""
    assert isinstance(make_display().shown, PlainDisplay)


@pytest.mark.parametrize(
    "method", ["parsing", "start", "report", "evaluation", "rehash", "notice", "summary", "close"]
)
def test_all_displays_have_the_observers_methods(method):
    """The runtime may call any of these on any display."""
    for kind in (Display, PlainDisplay, LiveDisplay):
        assert callable(getattr(kind, method))


class Gone(io.StringIO):
    """A terminal that is closed after its first line."""

    def write(self, text):
        if self.getvalue().count("\n"):
            raise OSError(5, "Input/output error")
        return super().write(text)


def test_a_closed_terminal_silences_the_display(make_report, make_summary):
    """What cannot be written is dropped, and nothing raised, to the end of the run."""
    for kind, terminal in ((PlainDisplay, False), (LiveDisplay, True)):
        out = Gone()
        display = Enduring(kind(Console(file=out, width=120, force_terminal=terminal)))
        display.notice(Notice(level="info", text="one"))
        display.start(Config(), Path("runs/x"))
        for second in range(3):
            display.report(make_report(time_s=10.0 * second))
        display.summary(make_summary())
        display.close()
        assert display.shown is None and out.getvalue().count("\n") == 1
