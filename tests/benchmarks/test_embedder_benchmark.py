from __future__ import annotations

import re

from benchmarks import embedder
from embedder.quantised import missing_for_int8


def test_the_small_run_prints_every_table(capsys):
    embedder.main(["--small"])
    printed = capsys.readouterr().out
    for name in ("sentence-transformers, float32", "Latewood, bfloat16", "context 0.5", "engine, 12 tokens"):
        assert f"| {name} |" in printed
    cosines = [float(cell) for cell in re.findall(r"\| (\d\.\d{5,6}) \|$", printed, re.M)]
    assert len(cosines) == (4 if missing_for_int8() else 6)
    assert min(cosines) >= 0.998


def test_spans_tile_each_text_and_end_at_spaces():
    for document in embedder.documents(None, 3):
        joined = "".join(document.text[span.start : span.end] for span in document.spans)
        assert joined == document.text


def test_the_sides_take_turns_and_the_first_round_does_not_count():
    ran = []
    seconds = embedder.best({"a": lambda: ran.append("a"), "b": lambda: ran.append("b")}, rounds=2)
    assert ran == ["a", "b"] * 3
    assert set(seconds) == {"a", "b"}
