from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from latewood.evaluation.dataset_files import DatasetError, DatasetNotFoundError
from latewood.evaluation.datasets import read_dataset


def test_a_set_with_spans_and_passages_is_read_whole(spanned_set):
    found = read_dataset(spanned_set)
    assert found.name == "boats"
    assert list(found.documents) == ["ferry", "storm", "other"]
    assert found.documents["ferry"].title == "Ferry"
    assert found.queries["q4"] == "not judged"
    assert found.qrels == {"q1": {"ferry": 2}, "q2": {"storm": 1}, "q3": {"ferry": 1}}
    assert found.passage_qrels["q3"] == {"ferry-2": 1}
    (span,) = found.spans["q1"]
    assert found.documents[span.document].text[span.start : span.end] == "forty cars"
    assert [passage.id for passage in found.passages["ferry"]] == ["ferry-0", "ferry-1", "ferry-2"]


def test_offsets_keep_their_meaning_because_no_title_is_put_before_the_text(spanned_set):
    text = read_dataset(spanned_set).documents["ferry"].text
    assert text.startswith("The ferry leaves")


def test_without_offsets_a_title_stands_before_its_text_once(plain_set):
    found = read_dataset(plain_set)
    assert found.documents["a"].text == "Seals\n\nThey sleep on the rocks."
    assert found.documents["b"].text == "Charging the ship takes an hour."


def test_documents_without_text_are_left_out_and_named(plain_set):
    found = read_dataset(plain_set)
    assert list(found.documents) == ["a", "b"]
    assert found.notes == ("left out for want of text (1): c",)


def test_files_may_be_gzipped(spanned_set):
    before = read_dataset(spanned_set)
    for name in ("corpus.jsonl", "passages.jsonl", "queries.jsonl"):
        path = spanned_set / name
        (spanned_set / f"{name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert read_dataset(spanned_set) == before


def test_the_content_hash_follows_the_texts_and_the_passages(spanned_set):
    before = read_dataset(spanned_set).content_hash
    assert read_dataset(spanned_set).content_hash == before
    path = spanned_set / "passages.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("ferry-1", "ferry-9"), encoding="utf-8")
    (spanned_set / "qrels_passage" / "dev.tsv").write_text("q2\tstorm-0\t1\n", encoding="utf-8")
    moved = read_dataset(spanned_set)
    assert moved.content_hash != before
    assert moved.passage_qrels == {"q2": {"storm-0": 1}}


def test_the_samples_that_ship_are_read_through_the_parsers(samples):
    found = read_dataset(samples)
    assert found.name == "averill-sound"
    assert len(found.documents) == 26
    assert len(found.queries) == len(found.judged("document")) == 85
    assert "handbook/operations-handbook.pdf" in found.documents
    lines = (samples / "spans.jsonl").read_text(encoding="utf-8").splitlines()
    quotes = {(one["query_id"], one["document"], one["quote"]) for one in map(json.loads, lines)}
    told = {
        (query, span.document, found.documents[span.document].text[span.start : span.end])
        for query, spans in found.spans.items()
        for span in spans
    }
    assert told == quotes
    # Every document that answers a question says where: one found instead of another is a find, too.
    answering = {
        (query, key) for query, grades in found.qrels.items() for key, grade in grades.items() if grade == 2
    }
    assert answering == {(query, document) for query, document, _ in told}


def test_only_queries_with_something_relevant_are_judged(spanned_set):
    path = spanned_set / "qrels" / "dev.tsv"
    path.write_text("query-id\tcorpus-id\tscore\nq1\tferry\t0\nq2\tstorm\t1\n", encoding="utf-8")
    assert set(read_dataset(spanned_set).judged("document")) == {"q2"}


def test_a_unit_the_set_was_not_judged_by_is_refused(plain_set):
    with pytest.raises(DatasetError, match=r"plain cannot be scored by passage: .*passages\.jsonl"):
        read_dataset(plain_set).judged("passage")
    with pytest.raises(DatasetError, match="unit 'page' is not known; one of: document, passage"):
        read_dataset(plain_set).judged("page")


def append(folder: Path, name: str, text: str) -> None:
    with (folder / name).open("a", encoding="utf-8") as file:
        file.write(text + "\n")


@pytest.mark.parametrize(
    ("name", "line", "complaint"),
    [
        ("corpus.jsonl", "{", r"corpus\.jsonl, line 4: not JSON"),
        ("corpus.jsonl", "[1]", r"corpus\.jsonl, line 4: must be a JSON object, not \[1\]"),
        ("corpus.jsonl", '{"_id": 7, "text": "x"}', r"line 4: field '_id' must be a string, not 7"),
        ("corpus.jsonl", '{"_id": "x"}', r"line 4: field 'text' must be a string, not None"),
        ("corpus.jsonl", '{"_id": "ferry", "text": "x"}', r"line 4: _id 'ferry' .* second time"),
        ("queries.jsonl", '{"_id": "q1", "text": "x"}', r"line 5: _id 'q1' .* second time"),
        ("qrels/dev.tsv", "q1\tferry", r"dev\.tsv, line 5: 2 columns; write query-id, corpus-id, score"),
        ("qrels/dev.tsv", "q1\tferry\thigh", r"dev\.tsv, line 5: score 'high' is not a whole number"),
        ("qrels/dev.tsv", "q1\tferry\t1", r"dev\.tsv, line 5: q1 judges ferry a second time"),
        ("qrels/dev.tsv", "q9\tferry\t1", "judges query 'q9', which is not in queries.jsonl"),
        ("qrels/dev.tsv", "q4\tgone\t1", "query q4 judges 'gone', which is not in the corpus"),
        ("qrels_passage/dev.tsv", "q4\tgone\t1", "query q4 judges 'gone', which is not in the corpus"),
        ("spans.jsonl", '{"query_id": "q9"}', r"spans\.jsonl, line 4: query_id 'q9' is not in queries"),
        ("spans.jsonl", '{"query_id": "q1", "doc_id": "x"}', r"line 4: doc_id 'x' is not a document"),
        (
            "spans.jsonl",
            '{"query_id": "q1", "doc_id": "storm", "start": 3, "end": 900}',
            r"line 4: field 'end' is 900; it must be a character offset from 0 to 64",
        ),
        (
            "spans.jsonl",
            '{"query_id": "q1", "doc_id": "storm", "start": 3, "end": 3}',
            r"line 4: the span \[3, 3\) is empty; end is exclusive",
        ),
        (
            "spans.jsonl",
            '{"query_id": "q1", "doc_id": "storm", "quote": "harbour"}',
            "the quote stands 2 times in storm; it must stand there exactly once",
        ),
        (
            "passages.jsonl",
            '{"_id": "new", "doc_id": "storm", "start": 0}',
            "document storm has two passages that begin at one place",
        ),
        (
            "passages.jsonl",
            '{"_id": "new", "doc_id": "storm", "start": true}',
            "field 'start' is True; it must be a character offset",
        ),
    ],
)
def test_what_is_malformed_is_named_with_its_line(spanned_set, name, line, complaint):
    append(spanned_set, name, line)
    with pytest.raises(DatasetError, match=complaint):
        read_dataset(spanned_set)


@pytest.mark.parametrize(
    ("gone", "complaint"),
    [
        ("corpus.jsonl", r"no corpus\.jsonl or corpus\.jsonl\.gz in .*boats: a data set in the BEIR layout"),
        ("queries.jsonl", r"no queries\.jsonl or queries\.jsonl\.gz"),
        ("qrels/dev.tsv", r"no split 'dev' in .*qrels \(splits there: none\); name one of them"),
    ],
)
def test_what_is_missing_is_named(spanned_set, gone, complaint):
    (spanned_set / gone).unlink()
    with pytest.raises(DatasetNotFoundError, match=complaint):
        read_dataset(spanned_set)


def test_a_missing_folder_and_a_missing_split_say_what_there_is(spanned_set, tmp_path):
    with pytest.raises(DatasetNotFoundError, match=r"no folder .*nowhere"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetNotFoundError, match=r"no split 'test' .*splits there: dev"):
        read_dataset(spanned_set, "test")


def test_a_truncated_archive_and_bytes_that_are_no_text_are_refused(spanned_set):
    path = spanned_set / "corpus.jsonl"
    whole = gzip.compress(path.read_bytes())
    path.unlink()
    (spanned_set / "corpus.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"corpus\.jsonl\.gz cannot be read"):
        read_dataset(spanned_set)
    (spanned_set / "corpus.jsonl.gz").unlink()
    path.write_bytes(b'{"_id": "\xff"}')
    with pytest.raises(DatasetError, match=r"corpus\.jsonl cannot be read: .*is it whole, and UTF-8"):
        read_dataset(spanned_set)


def test_a_folder_of_files_can_be_the_corpus(tmp_path):
    (tmp_path / "files" / "deep").mkdir(parents=True)
    (tmp_path / "files" / "deep" / "seals.md").write_text("# Seals\n\nThey bark.", encoding="utf-8")
    (tmp_path / "files" / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n0000")
    (tmp_path / "files" / ".hidden.txt").write_text("no", encoding="utf-8")
    judged = tmp_path / "judged"
    (judged / "qrels").mkdir(parents=True)
    (judged / "META.json").write_text('{"name": "mine", "corpus": "../files"}', encoding="utf-8")
    (judged / "queries.jsonl").write_text('{"_id": "1", "text": "noise"}\n', encoding="utf-8")
    (judged / "qrels" / "dev.tsv").write_text("1\tdeep/seals.md\t1\n", encoding="utf-8")
    found = read_dataset(judged)
    assert list(found.documents) == ["deep/seals.md"]
    assert found.documents["deep/seals.md"].title == "Seals"
    assert found.notes == ("left out for want of text (1): photo.png",)
    (judged / "META.json").write_text('{"corpus": "../nowhere"}', encoding="utf-8")
    with pytest.raises(DatasetNotFoundError, match=r"which META\.json names as the corpus"):
        read_dataset(judged)


def test_lone_surrogates_and_nul_become_replacement_characters_without_moving_offsets(plain_set):
    line = '{"_id": "s", "title": "", "text": "a\\ud83db\\u0000c\\ud83d\\ude00d"}'
    append(plain_set, "corpus.jsonl", line)
    assert read_dataset(plain_set).documents["s"].text == "a\ufffdb\ufffdc😀d"


@pytest.mark.parametrize("name", ["codebase-ctx", "covidqa-long", "jaquad-dev", "qmsum-val", "xquad-en"])
def test_development_sets_are_read_and_their_spans_hold_their_texts(shared_data, name):
    folder = shared_data(name)
    found = read_dataset(folder)
    assert found.judged("document").keys() <= found.queries.keys()
    assert found.judged("passage")
    for line in map(json.loads, (folder / "spans.jsonl").read_text(encoding="utf-8").splitlines()):
        text = found.documents[line["doc_id"]].text[line["start"] : line["end"]]
        assert line.get("text", "") in ("", text)
