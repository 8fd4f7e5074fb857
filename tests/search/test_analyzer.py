from __future__ import annotations

import math
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rank_bm25 import BM25Okapi

from embedder.types import Vectors
from search.analyzer import Analyzer, words
from search.stores.memory import MemoryStore
from search.types import Chunk, DocumentInfo, IndexConfig, Leg, Passage

TEXTS = [
    "The trees of the northern forest grow slowly, and their wood is dense.",
    "Late wood is the dense wood a tree grows late in the season.",
    "A season without rain leaves a narrow ring.",
    "Rings tell the age of a tree; rain tells the width of its rings.",
    "Rain, rain, rain: the forest is wet.",
    "To be, or not to be, that is the question.",
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Running runs RAN", ["run", "run", "ran"]),
        ("ﬁle ＡＢＣ Straße", ["file", "abc", "strass"]),
        ("naïve e\u0301tude", ["naïv", "étude"]),
        ("हिन्दी में लिखना", ["हिन्दी", "में", "लिखना"]),
        ("co\u00adop\u200dera\u2060te", ["cooper"]),
        ("snake_case v1.2 'quoted'", ["snake", "case", "v1", "2", "quot"]),
        ("!?… 🌲 \u0000 _", []),
    ],
)
def test_a_word_is_a_run_of_letters_digits_and_marks(text, expected):
    assert Analyzer().tokens(text) == expected


@given(st.text())
def test_no_text_breaks_the_analyser(text):
    analyzer = Analyzer()
    tokens = analyzer.tokens(text)
    assert all(token and not any(character.isspace() for character in token) for token in tokens)
    assert len(tokens) == len(words(text))
    vector = analyzer.passage_vector(text)
    assert len(set(vector.indices.tolist())) == len(vector.indices) == len(set(tokens))


def test_a_query_drops_stop_words_unless_it_has_nothing_else():
    analyzer = Analyzer()
    assert analyzer.query_tokens("What is the age of a tree?") == ["age", "tree"]
    assert analyzer.query_tokens("to be or not to be") == ["to", "be", "or", "not", "to", "be"]


def test_a_query_of_stop_words_finds_the_passage_that_has_them():
    assert _ranking("to be or not to be", Analyzer())[0] == 5


def test_context_counts_as_text():
    analyzer = Analyzer()
    one = analyzer.passage_vector("grow slowly", "Forest trees")
    two = analyzer.passage_vector("Forest trees grow slowly")
    assert dict(zip(one.indices, one.values, strict=True)) == dict(zip(two.indices, two.values, strict=True))


def test_the_fingerprint_tells_analysers_apart():
    made = [
        Analyzer(),
        Analyzer("german"),
        Analyzer(k1=1.5),
        Analyzer(b=0.5),
        Analyzer(average_length=100.0),
    ]
    assert len({one.fingerprint for one in made}) == len(made)
    assert Analyzer().fingerprint == "language=english k1=1.2 b=0.75 average_length=160 version=1"


def test_stems_are_pinned_because_an_index_is_made_of_them():
    # When this fails, the stemmer changed: raise search.analyzer.VERSION.
    told = "generously flies dying argued university databases happily relational chunking latewood"
    expected = "generous fli die argu universiti databas happili relat chunk latewood"
    assert Analyzer().tokens(told) == expected.split()
    assert Analyzer("german").tokens("Häuser Bäume gegangen") == ["haus", "baum", "gegang"]


def test_an_unknown_language_is_refused_by_name():
    with pytest.raises(ValueError, match=r"language 'klingon' is not known; one of: .*english"):
        Analyzer("klingon")


def test_many_threads_get_the_same_tokens():
    analyzer = Analyzer()
    rng = random.Random(0)
    texts = [" ".join(rng.choices(" ".join(TEXTS).split(), k=50)) + f" word{n}ing" for n in range(200)]
    expected = [Analyzer().tokens(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(analyzer.tokens, texts)) == expected


def _passages(texts):
    document = DocumentInfo("00000000-0000-0000-0000-000000000001", "u", "s", "t", "txt", "en", "", "")
    return [
        Passage(Chunk(document.id, "v", number, 0, len(text), text), document)
        for number, text in enumerate(texts)
    ]


def _scores(query, analyzer, texts=TEXTS):
    """Score per text, through the exact store."""
    store = MemoryStore(IndexConfig((1,), {}))
    passages = _passages(texts)
    sparse = tuple(analyzer.passage_vector(text) for text in texts)
    store.put_chunks(passages, Vectors(np.ones((len(texts), 1), np.float32), sparse))
    ordinals = {one.chunk.id: one.chunk.ordinal for one in passages}
    (found,) = store.search([Leg("bm25", analyzer.query_vector(query), len(texts))])
    return {ordinals[one.id]: one.score for one in found}


def _ranking(query, analyzer, texts=TEXTS):
    scores = _scores(query, analyzer, texts)
    return sorted(scores, key=lambda number: -scores[number])


@pytest.mark.parametrize(
    "query", ["dense wood", "rain and rings", "wood wood rain", "the age of a tree", "be"]
)
def test_scores_are_lucenes_term_by_term(query):
    average = 9.0
    analyzer = Analyzer(average_length=average)
    documents = [analyzer.tokens(text) for text in TEXTS]
    expected = {}
    for number, tokens in enumerate(documents):
        score = 0.0
        for term in analyzer.query_tokens(query):
            n = sum(term in other for other in documents)
            idf = math.log(1 + (len(documents) - n + 0.5) / (n + 0.5))
            tf = tokens.count(term)
            score += idf * tf * 2.2 / (tf + 1.2 * (1 - 0.75 + 0.75 * len(tokens) / average))
        if score:
            expected[number] = score
    assert _scores(query, analyzer) == pytest.approx(expected, rel=1e-5)


def test_rankings_agree_with_rank_bm25_on_the_same_tokens():
    rng = random.Random(7)
    vocabulary = [f"w{number}" for number in range(400)]
    weights = [1 / (number + 1) for number in range(400)]
    texts = [" ".join(rng.choices(vocabulary, weights, k=rng.randint(10, 60))) for _ in range(300)]
    plain = Analyzer()
    tokens = [plain.tokens(text) for text in texts]
    average = sum(map(len, tokens)) / len(tokens)
    analyzer = Analyzer(average_length=average)
    oracle = BM25Okapi(tokens, k1=1.2, b=0.75)
    # rank_bm25's own idf is log((N - n + ½) / (n + ½)), without Lucene's 1 + and floored where negative.
    frequency = Counter(token for one in tokens for token in set(one))
    oracle.idf = {token: math.log(1 + (len(texts) - n + 0.5) / (n + 0.5)) for token, n in frequency.items()}
    for _ in range(20):
        query = " ".join(rng.sample(vocabulary, 4))
        expected = oracle.get_scores(analyzer.query_tokens(query))
        found = _scores(query, analyzer, texts)
        assert found == pytest.approx(
            {number: score for number, score in enumerate(expected) if score > 0}, rel=1e-4
        )


def test_rankings_agree_with_rank_bm25s_own_idf_where_terms_are_rare():
    # Below n = N / 2 both idfs fall with n alike, so a query of one rare term ranks the same under both.
    rng = random.Random(8)
    texts = [" ".join(rng.choices([f"w{n}" for n in range(200)], k=rng.randint(10, 60))) for _ in range(200)]
    tokens = [Analyzer().tokens(text) for text in texts]
    analyzer = Analyzer(average_length=sum(map(len, tokens)) / len(tokens))
    oracle = BM25Okapi(tokens, k1=1.2, b=0.75)
    for term in ("w3", "w50", "w199"):
        expected = oracle.get_scores(analyzer.query_tokens(term))
        ranking = _ranking(term, analyzer, texts)
        assert ranking
        assert [expected[number] for number in ranking] == sorted(expected[expected > 0], reverse=True)


def test_terms_know_where_they_stand():
    text = "Die Stra\u00adße, ﬁne NAI\u0308VE rings"
    found = Analyzer().terms(text)
    assert [text[start:end] for _, start, end in found] == [
        "Die",
        "Stra\u00adße",
        "ﬁne",
        "NAI\u0308VE",
        "rings",
    ]
    assert [term for term, _, _ in found] == Analyzer().tokens(text)


def test_matches_are_the_places_of_the_querys_terms():
    text = TEXTS[3]
    found = Analyzer().matches("What is the age of trees?", text)
    assert [text[start:end] for start, end in found] == ["age", "tree"]
    assert Analyzer().matches("whale", text) == []
