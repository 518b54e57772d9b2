"""Bars on a terminal show count, rate and time left; elsewhere there are a few plain lines."""

from __future__ import annotations

import contextlib
import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.cli.progress import counting_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_a_bar_is_for_terminals(stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream())
    with counting_bar("recording") as show:
        for done in (500, 501, 502, 503):
            show(done, 520)
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    if stream is Terminal:
        assert "recording" in shown and "503/520" in shown and "/min" in shown and "0:00:" in shown
    else:
        assert shown == "recording: 500 of 520\n"


@given(st.integers(0, 300))
def test_where_no_terminal_is_each_tenth_is_a_line(total: int) -> None:
    stream = io.StringIO()
    with contextlib.redirect_stderr(stream), counting_bar("recording") as show:
        for done in range(total + 1):
            show(done, total)
    lines = stream.getvalue().splitlines()
    assert len(lines) <= 11 and len(set(lines)) == len(lines)
    if total:
        assert lines[-1] == f"recording: {total} of {total}"


def test_nothing_to_count_shows_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with counting_bar("grading again"):
        pass
    assert "grading" not in sys.stderr.getvalue()  # type: ignore[attr-defined]
