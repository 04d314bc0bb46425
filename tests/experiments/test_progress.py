"""Progress on stderr: plain lines now and then in a pipe, and the items either way."""

import pytest

from experiments.lab import progress
from experiments.lab.progress import Lines, Silent, progress_log


@pytest.fixture
def seconds_per_item(monkeypatch) -> list[float]:
    """How long the clock takes between two looks at it."""
    step, now = [0.0], [0.0]

    def tick() -> float:
        now[0] += step[0]
        return now[0]

    monkeypatch.setattr(progress.time, "monotonic", tick)
    return step


def test_a_pipe_gets_a_line_every_twenty_seconds(seconds_per_item, capsys) -> None:
    seconds_per_item[0] = 8.0
    assert list(Lines().track(range(7), "sites", 7)) == list(range(7))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "  sites: 2 of 7 after 24 s",
        "  sites: 5 of 7 after 48 s",
    ]


def test_a_short_loop_shows_nothing(capsys) -> None:
    for log in (Lines(), Silent()):
        assert list(log.track("ab", "letters", None)) == ["a", "b"]
    assert capsys.readouterr().err == ""


def test_outside_a_terminal_there_are_no_bars(capsys) -> None:
    with progress_log() as log:
        assert isinstance(log, Lines)
        log.say("one line")
    assert capsys.readouterr().err == "one line\n"
