"""What a long command shows of its phases: bars on a terminal, and elsewhere a line a minute."""

import sys
from io import StringIO
from threading import active_count

import pytest
from rich.console import Console
from rich.progress import Progress as RichProgress

from ddncodec_cli import progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time is its only element."""
    now = [1000.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    return now


def test_elsewhere_there_is_a_line_a_minute_of_the_phase_that_advances(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = progress.Lines()
    with shown.phase("training", 2_000, done=1_000) as outer:
        for step in range(5):
            clock[0] += 25
            outer(100, f"loss {step}")
        with shown.phase("reading images") as inner:
            clock[0] += 59
            inner(1_000)
            inner(1_000)
        clock[0] += 1
        outer(100)
    assert capsys.readouterr().err.splitlines() == [
        "training: 1,300 of 2,000, loss 2, 0:02:55 left",  # a hundred in 25 seconds
        "reading images: 1,000",
    ]


def test_a_terminal_shows_a_bar_for_each_phase_under_way() -> None:
    terminal = StringIO()
    with RichProgress(console=Console(file=terminal, force_terminal=True)) as rich:
        bars = progress.Bars(rich)
        with bars.phase("training", 10, done=4) as outer:
            outer(2, "loss 0.1")
            with bars.phase("reading images"):
                assert [task.description for task in rich.tasks] == ["training", "reading images"]
            (task,) = rich.tasks
            assert (task.completed, task.total, task.fields["note"]) == (6, 10, "loss 0.1")
            rich.refresh()
        assert not rich.tasks
    assert "training" in terminal.getvalue()


def test_nothing_is_shown_where_that_is_not_wanted(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with progress.shown(False) as silent, silent.phase("training", 3) as advance:
        clock[0] += 100
        advance()
    assert capsys.readouterr() == ("", "")


def test_files_have_a_bar_with_rate_and_bytes_on_a_terminal_and_no_thread(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.of_files(True, "encoding", 128) as show:
        show(64, 6_400, 640)
    assert capsys.readouterr() == ("", "")  # no terminal
    terminal = StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    threads = active_count()
    with progress.of_files(True, "encoding", 128) as show:
        clock[0] += 2
        show(64, 6_400, 640)
        print("a result")
        assert active_count() == threads  # the process may fork
    for part in ("encoding", "64/128", "32 a second", "6.4 kB to 640 bytes"):
        assert part in terminal.getvalue()
    assert "a result" not in terminal.getvalue()
    assert capsys.readouterr().out == "a result\n"
