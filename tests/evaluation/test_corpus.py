from __future__ import annotations

import numpy as np
import pytest

from latewood.embedder.encoder.pooling import blend
from latewood.evaluation import embedding_cache as module
from latewood.evaluation.configuration import Configuration
from latewood.evaluation.dataset_files import DatasetError
from latewood.evaluation.datasets import read_dataset
from latewood.evaluation.embedding_cache import Cutting, build_corpus
from latewood.evaluation.workbench import Workbench

PASSAGES = Cutting("passage", None)


def quiet(what, done, total):
    """Progress that nobody reads."""


def build(dataset, embedder, cache, cutting=PASSAGES):
    return build_corpus(dataset, embedder, cutting, cache, quiet)


def test_the_sets_own_passages_tile_the_text_from_one_start_to_the_next(spanned_set, embedder, tmp_path):
    dataset = read_dataset(spanned_set)
    found = build(dataset, embedder, tmp_path)
    own = {one.id: one.start for group in dataset.passages.values() for one in group}
    assert dict(zip(found.judged, (place.start for place in found.places), strict=True)) == own
    for key, document in dataset.documents.items():
        texts = [
            one.text for one, place in zip(found.chunks, found.places, strict=True) if place.document == key
        ]
        assert "".join(texts) == document.text
    assert [one.context for one in found.chunks][:1] == ["Ferry"]


def test_chunks_tile_each_document_and_are_judged_as_it(spanned_set, embedder, tmp_path):
    dataset = read_dataset(spanned_set)
    found = build(dataset, embedder, tmp_path, Cutting("document", 8))
    assert found.judged == tuple(place.document for place in found.places)
    for key, document in dataset.documents.items():
        texts = [one.text for one, of in zip(found.chunks, found.judged, strict=True) if of == key]
        assert "".join(texts) == document.text
    assert len(found.chunks) == len(found.naive) == len(found.late) > len(dataset.documents)


def test_vectors_of_every_context_and_dimension_come_from_the_two_ends(spanned_set, embedder, tmp_path):
    found = build(read_dataset(spanned_set), embedder, tmp_path)
    np.testing.assert_allclose(found.vectors(0.3, 16), blend(found.naive, found.late, 0.3), atol=1e-6)
    short = found.vectors(1.0, 8)
    np.testing.assert_allclose(np.linalg.norm(short, axis=1), 1, atol=1e-6)
    cosines = (short * found.late[:, :8]).sum(axis=1) / np.linalg.norm(found.late[:, :8], axis=1)
    np.testing.assert_allclose(cosines, 1, atol=1e-6)


def test_what_was_embedded_once_is_read_from_the_cache_and_is_the_same(spanned_set, embedder, tmp_path):
    dataset = read_dataset(spanned_set)
    once = build(dataset, embedder, tmp_path)
    documents, queries = len(embedder.documents), len(embedder.queries)
    twice = build(dataset, embedder, tmp_path)
    assert (len(embedder.documents), len(embedder.queries)) == (documents, queries) != (0, 0)
    for name in ("naive", "late", "queries"):
        np.testing.assert_array_equal(getattr(once, name), getattr(twice, name))
    assert (once.chunks, once.judged, once.places) == (twice.chunks, twice.judged, twice.places)


def test_another_text_model_or_cutting_embeds_again(spanned_set, embedder, other_embedder, tmp_path):
    dataset = read_dataset(spanned_set)
    build(dataset, embedder, tmp_path)
    before = len(embedder.documents)
    build(dataset, other_embedder, tmp_path)
    assert len(other_embedder.documents) == before == 3
    for times, cutting in enumerate((Cutting("document", 8), Cutting("document", 16)), 2):
        build(dataset, embedder, tmp_path, cutting)
        assert len(embedder.documents) == times * before
    path = spanned_set / "corpus.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("pier", "quay"), encoding="utf-8")
    build(read_dataset(spanned_set), embedder, tmp_path)
    assert len(embedder.documents) == 4 * before


def test_every_context_mode_and_fusion_after_the_first_costs_no_embedding(spanned_set, embedder, tmp_path):
    bench = Workbench(read_dataset(spanned_set), embedder, tmp_path)
    bench.row(Configuration("dense", context=0))
    before = len(embedder.documents)
    for context in (0.25, 0.5, 1):
        for method in ("rrf", "dbsf", "convex"):
            bench.row(Configuration("hybrid", method=method, context=context, dimensions=8, k1=0.9))
    assert len(embedder.documents) == before


def test_an_interrupted_run_goes_on_where_it_stopped(spanned_set, embedder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_DOCUMENTS", 1)
    dataset = read_dataset(spanned_set)
    embedder.breaks_at = "Monday"
    with pytest.raises(KeyboardInterrupt):
        build(dataset, embedder, tmp_path)
    assert len(embedder.documents) == 1
    embedder.breaks_at = ""
    found = build(dataset, embedder, tmp_path)
    assert embedder.documents == [document.text for document in dataset.documents.values()]
    assert len(found.chunks) == 6


def test_an_interrupted_write_leaves_no_block_behind(spanned_set, embedder, tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        build(read_dataset(spanned_set), embedder, tmp_path / "cache")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_progress_counts_documents_to_the_last(spanned_set, embedder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_DOCUMENTS", 2)
    told = []
    build_corpus(read_dataset(spanned_set), embedder, PASSAGES, tmp_path, lambda *said: told.append(said))
    assert told == [("embedding boats", 2, 3), ("embedding boats", 3, 3)]


def test_a_document_without_tokens_is_not_found_and_harms_nothing(plain_set, embedder, tmp_path):
    with (plain_set / "corpus.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"_id": "mute", "title": "", "text": "\\u200b\\u200b"}\n')
    embedder.token_offsets = lambda text, known=embedder.token_offsets: (
        known(text) if text.strip("\u200b") else np.zeros((0, 2), dtype=np.int64)
    )
    found = build(read_dataset(plain_set), embedder, tmp_path, Cutting("document", 16))
    assert set(found.judged) == {"a", "b"}


def test_passages_are_refused_where_the_set_has_none(plain_set, embedder, tmp_path):
    with pytest.raises(DatasetError, match=r"plain has no passages\.jsonl; use the unit `document`"):
        build(read_dataset(plain_set), embedder, tmp_path)


def test_a_cutting_is_of_one_kind():
    for unit, size in (("passage", 8), ("document", None)):
        with pytest.raises(ValueError, match="has no chunk size"):
            Cutting(unit, size)
