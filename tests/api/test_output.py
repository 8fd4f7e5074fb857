"""What people and programs are shown of what documents and file names hold."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from latewood.api.cli import render

RESULT = {
    "title": "Log",
    "uri": "file:///docs/a%0Ab%09%1B%5B2Jc.txt",
    "page_start": None,
    "page_end": None,
    "score": 1.0,
    "headings": ["A\x9b31m"],
    "text": "red \x1b[31m and \x07 a\ttab\r",
    "explain": None,
}
ANSWER = {"results": [RESULT], "mode": "bm25", "took_ms": {"total": 1.0}}


def test_a_terminal_obeys_no_document_and_a_name_stays_on_its_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    render.render_results(ANSWER, "red", explain=False)
    assert capsys.readouterr().out.splitlines() == [
        "1. Log  [1.0000]",
        "   /docs/a�b��[2Jc.txt",
        "   A�31m",
        "   | red �[31m and � a       tab",
        "",
        "1 passage, bm25, 1 ms",
    ]


def test_a_message_about_a_file_with_such_a_name_is_harmless_too(capsys: pytest.CaptureFixture[str]) -> None:
    render.say("'/docs/\x1b]0;x\x07' is gone")
    assert capsys.readouterr().err == "'/docs/�]0;x�' is gone\n"


def test_a_program_is_given_every_character(capsys: pytest.CaptureFixture[str]) -> None:
    render.emit(True, ANSWER, lambda answer: None)
    assert json.loads(capsys.readouterr().out) == ANSWER


@pytest.mark.parametrize(
    ("finished", "left", "shown"),
    [
        (1, None, "1 of 500 files"),
        (10, 1470.0, "10 of 500 files, about 1,470 s left"),
        (500, 0.0, "500 of 500 files, about 0 s left"),
    ],
)
def test_progress_shows_the_time_left_that_the_service_estimates(
    finished: int,
    left: float | None,
    shown: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = iter((100.0, 130.0))
    monkeypatch.setattr(render, "time", SimpleNamespace(monotonic=lambda: next(now)))
    counts = {"finished": finished, "total": 500, "tokens": 0, "share": finished / 500}
    with render.progress("docs") as show:
        show({"status": "in_progress", "counts": counts, "seconds_left": left})
    assert capsys.readouterr().err == f"docs: {shown}\n"
