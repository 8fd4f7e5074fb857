from __future__ import annotations

import bm25s
import numpy as np
import pytest

from latewood.evaluation.bm25 import Bm25Parameters, postings
from latewood.evaluation.configuration import Configuration
from latewood.evaluation.datasets import read_dataset
from latewood.evaluation.embedding_cache import Corpus
from latewood.evaluation.exact_legs import Legs
from latewood.evaluation.metrics import means, score
from latewood.evaluation.workbench import Workbench
from latewood.search.analysis.analyzer import Analyzer, Counts, term_number

ANALYZER = Analyzer()
TEXTS = ["The ferry, the FERRY and the sea", "Sea and more sea: sea-going ferries", "", "harbour"]


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.4, 0.0), (2.5, 1.0)])
def test_weights_are_those_the_analyser_writes_into_an_index(k1, b):
    analyzer = Analyzer(k1=k1, b=b, average_length=7.0)
    counted = postings([analyzer.counts(text) for text in TEXTS])
    parameters = Bm25Parameters(k1, b, 7.0)
    for row, text in enumerate(TEXTS):
        written = analyzer.passage_vector(text)
        weight_of = dict(zip(written.indices.tolist(), written.values.tolist(), strict=True))
        for word in analyzer.counts(text).terms:
            found = sum(word in analyzer.counts(other).terms for other in TEXTS)
            idf = np.log(1 + (3 - found + 0.5) / (found + 0.5))
            expected = idf * weight_of[term_number(word)]
            assert counted.scores({word: 1}, parameters)[row] == pytest.approx(expected, rel=1e-6)


def test_a_word_asked_twice_counts_twice_and_an_unknown_one_nothing():
    counted = postings([Counts({"ferry": 1, "sea": 1}, 2), Counts({"sea": 1}, 1)])
    once = counted.scores({"ferry": 1}, Bm25Parameters())
    np.testing.assert_allclose(counted.scores({"ferry": 2, "whale": 1}, Bm25Parameters()), 2 * once)
    assert once[1] == 0


def test_a_corpus_without_words_scores_nothing():
    assert postings([Counts({}, 0)] * 2).scores({"ferry": 1}, Bm25Parameters()).tolist() == [0, 0]
    assert postings([]).scores({"ferry": 1}, Bm25Parameters()).shape == (0,)


def words_of(corpus: Corpus) -> list[list[str]]:
    texts = ((text, one.language) for one in corpus.chunks for text in (one.context, one.text))
    found = iter([[term for term, _, _ in ANALYZER.terms(*each)] for each in texts])
    return [context + text for context, text in zip(found, found, strict=True)]


def ndcg(bench: Workbench, corpus: Corpus, rows: dict[str, list[int]]) -> float:
    rankings = {
        query: list(dict.fromkeys(corpus.judged[row] for row in best)) for query, best in rows.items()
    }
    return means(score(bench.dataset.judged(bench.unit), rankings))["ndcg@10"]


def ndcg_of_bm25s(bench: Workbench, corpus: Corpus) -> float:
    """The public library on the same words; the average length is always the corpus's own there."""
    words = words_of(corpus)
    index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    index.index(words, show_progress=False)
    languages = {one.language for one in corpus.chunks}
    found = {}
    for query in bench.queries:
        asked = ANALYZER.query_terms(bench.dataset.queries[query], languages)
        scores = np.zeros(len(words))
        for term, weight in asked.items():
            if term in index.vocab_dict:
                scores += weight * index.get_scores([term])
        found[query] = [row for row in np.argsort(-scores, kind="stable")[:200] if scores[row] > 0]
    return ndcg(bench, corpus, found)


def ndcg_of_ours(bench: Workbench, corpus: Corpus) -> float:
    questions = [bench.dataset.queries[query] for query in bench.queries]
    legs = Legs(corpus, questions, [0] * len(questions))
    lists = legs.bm25(ANALYZER, Bm25Parameters(average_length=None)).lists
    row_of = {chunk.id: row for row, chunk in enumerate(corpus.chunks)}
    rows = ([row_of[one.id] for one in found] for found in lists)
    return ndcg(bench, corpus, dict(zip(bench.queries, rows, strict=True)))


@pytest.mark.parametrize(
    ("name", "unit", "within"),
    [
        ("", "document", 0.001),
        ("xquad-en", "passage", 0.001),
        ("xquad-ru", "passage", 0.001),
        (
            "cranfield",
            "document",
            0.003,
        ),  # wholes of identifiers, and what is like them, add to a length there
        ("codebase-ctx", "passage", 0.005),
    ],
)
def test_bm25_is_that_of_bm25s(samples, shared_data, embedder, tmp_path, name, unit, within):
    bench = Workbench(read_dataset(shared_data(name) if name else samples), embedder, tmp_path, unit)
    corpus = bench.corpus(Configuration())
    theirs = ndcg_of_bm25s(bench, corpus)
    # An index counts with a constant length, so that an incremental one equals a fresh one.
    assert bench.row(Configuration("bm25")).scores["ndcg@10"] == pytest.approx(theirs, abs=0.005)
    assert ndcg_of_ours(bench, corpus) == pytest.approx(theirs, abs=within)


def test_a_length_that_is_not_given_is_the_mean_of_the_passages_that_have_words():
    counted = postings(
        [Counts({"ferry": 3}, 3), Counts({"sea": 1}, 1), Counts({}, 0), Counts({"ferry": 1, "sea": 1}, 2)]
    )
    np.testing.assert_array_equal(
        counted.scores({"ferry": 1}, Bm25Parameters(average_length=None)),
        counted.scores({"ferry": 1}, Bm25Parameters(average_length=2.0)),
    )
    assert postings([Counts({}, 0)]).scores({"ferry": 1}, Bm25Parameters(average_length=None)).tolist() == [0]
