from __future__ import annotations

import re

from benchmarks import embedder, turns
from latewood.embedder.encoder.backbone import native_dtype
from latewood.embedder.quantization.int8 import missing_for_int8


def test_the_small_run_prints_every_table(capsys):
    embedder.main(["--small"])
    printed = capsys.readouterr().out
    for name in ("sentence-transformers, float32", "Latewood, float32", "context 0.5", "engine, 12 tokens"):
        assert f"| {name} |" in printed
    cosines = [float(cell) for cell in re.findall(r"\| (\d\.\d{5,6}) \|$", printed, re.M)]
    alone = 2 + (native_dtype("cpu") != "float32")
    assert len(cosines) == alone + 3 + (0 if missing_for_int8() else 4)
    assert min(cosines) >= 0.998


def test_spans_tile_each_text_and_end_at_spaces():
    for document in embedder.documents([], 3):
        joined = "".join(document.text[span.start : span.end] for span in document.spans)
        assert joined == document.text


def test_the_sides_take_turns_and_the_first_round_does_not_count():
    ran = []
    seconds = turns.best({"a": lambda: ran.append("a"), "b": lambda: ran.append("b")}, rounds=2)
    assert ran == ["a", "b"] * 3
    assert set(seconds) == {"a", "b"}
