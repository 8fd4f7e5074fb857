"""The sample folder: written again it is the same, and every judged answer stands in its document."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import zipfile
from collections import Counter
from functools import cache
from pathlib import Path

import pypdfium2
import pytest

from latewood.ingest.parsing.parse import parse_bytes

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "api" / "samples"
DOCUMENTS = SAMPLES / "documents"
HANDBOOK = "handbook/operations-handbook.pdf"


@pytest.fixture(scope="module")
def generator():
    scripts = str(ROOT / "scripts")
    sys.path.insert(0, scripts)
    try:
        spec = importlib.util.spec_from_file_location("make_samples", ROOT / "scripts" / "make_samples.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["make_samples"] = module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(scripts)
        for name in ("make_samples", "samples_pdf"):
            sys.modules.pop(name, None)


@cache
def text_of(document: str) -> str:
    return parse_bytes((DOCUMENTS / document).read_bytes(), document).text


def lines(name: str) -> list[dict]:
    return [json.loads(line) for line in (SAMPLES / "judged" / name).read_text(encoding="utf-8").splitlines()]


def grades() -> dict[str, dict[str, int]]:
    head, *rows = (SAMPLES / "judged" / "qrels" / "dev.tsv").read_text(encoding="utf-8").splitlines()
    assert head == "query-id\tcorpus-id\tscore"
    judged: dict[str, dict[str, int]] = {}
    for row in rows:
        query, document, score = row.split("\t")
        assert document not in judged.setdefault(query, {}), f"{query} judges {document} twice"
        judged[query][document] = int(score)
    return judged


def all_documents() -> set[str]:
    return {path.relative_to(DOCUMENTS).as_posix() for path in DOCUMENTS.rglob("*") if path.is_file()}


def members(archive: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return [(name, opened.read(name)) for name in opened.namelist()]


def test_writing_the_samples_twice_gives_the_same_bytes(generator, tmp_path):
    once = {path.relative_to(tmp_path / "a"): path.read_bytes() for path in generator.write(tmp_path / "a")}
    twice = {path.relative_to(tmp_path / "b"): path.read_bytes() for path in generator.write(tmp_path / "b")}
    assert once == twice
    assert len(once) == 6


def test_the_samples_that_ship_are_what_their_sources_say(generator, tmp_path):
    for path in generator.write(tmp_path):
        fresh, shipped = path.read_bytes(), (DOCUMENTS / path.relative_to(tmp_path)).read_bytes()
        # Members rather than archives: how tightly zlib packs is the machine's affair.
        same = fresh == shipped if path.suffix == ".pdf" else members(fresh) == members(shipped)
        assert same, f"{path.name} is stale: run scripts/make_samples.py"


@pytest.mark.parametrize("document", sorted(all_documents()))
def test_every_sample_is_read_whole(document):
    assert len(text_of(document).split()) > 100


def test_the_samples_stay_small_and_cover_the_formats():
    kinds = Counter(Path(document).suffix for document in all_documents())
    at_least = {".md": 3, ".html": 2, ".pdf": 2, ".docx": 1, ".pptx": 1, ".csv": 1, ".xlsx": 1, ".eml": 2}
    assert not at_least.items() - {(kind, min(kinds[kind], least)) for kind, least in at_least.items()}
    assert {".txt", ".py", ".sh", ".ts", ".json"} <= set(kinds)
    assert sum((DOCUMENTS / document).stat().st_size for document in all_documents()) < 1_500_000


def test_the_handbook_is_long():
    with pypdfium2.PdfDocument(DOCUMENTS / HANDBOOK) as book:
        assert len(book) >= 20
    assert len(text_of(HANDBOOK).split()) >= 6_000


def test_speaker_notes_can_be_searched():
    assert "stop asking" in text_of("engineering/winter-refit-2026.pptx")


def test_every_judged_answer_stands_exactly_once_in_its_document():
    found = {
        (span["query_id"], span["document"]): text_of(span["document"]).count(span["quote"])
        for span in lines("spans.jsonl")
    }
    assert {key: count for key, count in found.items() if count != 1} == {}


def test_every_question_has_a_best_document_and_a_quote_from_one():
    judged = grades()
    queries = [query["_id"] for query in lines("queries.jsonl")]
    spans = lines("spans.jsonl")
    assert len(queries) == len(set(queries)) >= 60
    assert set(queries) == set(judged) == {span["query_id"] for span in spans}
    assert all(judged[span["query_id"]][span["document"]] == 2 for span in spans)


def test_judgements_name_documents_that_ship_and_grades_that_exist():
    named = {document for graded in grades().values() for document in graded}
    assert named <= all_documents()
    assert {score for graded in grades().values() for score in graded.values()} == {1, 2}


def test_questions_are_hard_in_seven_ways():
    kinds = Counter(query["metadata"]["kind"] for query in lines("queries.jsonl"))
    assert set(kinds) == {
        "code", "language", "near-duplicate", "negation", "paraphrase", "pronoun", "table"
    }  # fmt: skip
    assert min(kinds.values()) >= 7


def test_the_card_of_the_judged_set_counts_right():
    card = json.loads((SAMPLES / "judged" / "META.json").read_text(encoding="utf-8"))
    assert card["docs"] == len(all_documents())
    assert card["dev_queries"] == len(lines("queries.jsonl"))


def test_the_demo_asks_three_questions_about_documents_that_ship():
    demo = json.loads((SAMPLES / "demo.json").read_text(encoding="utf-8"))
    assert len(demo) == 3
    assert {entry["document"] for entry in demo} <= all_documents()
