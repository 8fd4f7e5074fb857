"""BM25 as Lucene has it; `rank_bm25`, the oracle of rankings, differs in idf alone, as its tests say."""

from __future__ import annotations

import math
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_edge import Bm25, Bm25Config, DisabledStemmer, StopwordsSet, TokenizerType
from rank_bm25 import BM25Okapi

from latewood.embedder.types import Vectors
from latewood.search.analysis.analyzer import Analyzer, Counts, term_number
from latewood.search.analysis.bm25_parameters import CONTEXT_WEIGHT, OTHER_FORM, WHOLE, WORTH
from latewood.search.analysis.tokenizer import BIGRAMS, GRAMS
from latewood.search.stores.memory import MemoryStore
from latewood.search.types import Chunk, DocumentInfo, IndexConfig, Leg, Passage

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
        ("हिन्दी में लिखना", ["हिन्द", "म", "लिख"]),
        ("co\u00adop\u200dera\u2060te", ["cooper"]),
        ("'quoted' state-of-the-art", ["quot", "state", "of", "the", "art"]),
        ("!?… 🌲 \u0000 _", []),
    ],
)
def test_a_word_is_a_run_of_letters_digits_and_marks(text, expected):
    assert terms_of(text) == expected


@given(st.text())
def test_no_text_breaks_the_analyser(text):
    analyzer = Analyzer()
    for language in ("", "de", "th", "ja", "ar"):
        counts = analyzer.counts(text, "", language)
        placed = analyzer.terms(text, language)
        assert Counter(term for term, _, _ in placed) == counts.terms
        assert [(start, end) for _, start, end in placed] == sorted((start, end) for _, start, end in placed)
        assert all(0 <= start < end <= len(text) for _, start, end in placed)
        assert all(term and not any(character.isspace() for character in term) for term in counts.terms)
        assert bool(counts.terms) == (counts.length > 0)
        vector = analyzer.passage_vector(text, "", language)
        assert len(set(vector.indices.tolist())) == len(vector.indices) == len(counts.terms)
        assert set(analyzer.query_terms(text, [language])) <= set(counts.terms)


def test_a_query_drops_stop_words_unless_it_has_nothing_else():
    analyzer = Analyzer()
    assert analyzer.query_terms("What is the age of a tree?") == {"age": 1, "tree": 1}
    assert analyzer.query_terms("to be or not to be") == {"to": 2, "be": 2, "or": 1, "not": 1}


def test_a_query_of_stop_words_finds_the_passage_that_has_them():
    assert _ranking("to be or not to be", Analyzer())[0] == 5


def test_a_word_of_the_context_counts_by_its_weight():
    counts = Analyzer(context_weight=0.5).counts("grow slowly", "Forest trees grow")
    assert counts == Counts({"grow": 1.5, "slowli": 1, "forest": 0.5, "tree": 0.5}, 2 + 0.5 * 3)
    assert Analyzer(context_weight=0).counts("grow slowly", "Forest") == Counts({"grow": 1, "slowli": 1}, 2)


def test_the_fingerprint_tells_analysers_apart():
    made = [
        Analyzer(),
        Analyzer("de"),
        Analyzer("none"),
        Analyzer(k1=1.5),
        Analyzer(b=0.5),
        Analyzer(average_length=100.0),
        Analyzer(context_weight=3),
    ]
    assert len({one.fingerprint for one in made}) == len(made)
    assert Analyzer().fingerprint == (
        f"version=2 language=auto context_weight={CONTEXT_WEIGHT:g} k1=1.2 b=0.75 average_length=160"
    )
    assert Analyzer(k1=1.5).analysis == Analyzer(b=0.5).analysis != Analyzer("de").analysis


@pytest.mark.parametrize(
    ("language", "text", "stems"),
    [
        (
            "en",
            "generously flies dying argued university databases happily relational chunking latewood",
            "generous fli die argu universiti databas happili relat chunk latewood",
        ),
        ("de", "Häuser Bäume gegangen", "haus baum gegang"),
        ("fr", "chevaux mangeaient", "cheval mang"),
        ("es", "corriendo bibliotecas", "corr bibliotec"),
        ("ru", "деревьями рассказывал", "дерев рассказыва"),
        ("ar", "المكتبات", "مكتب"),
        ("pl", "książkami", "książk"),
        ("cs", "stromech", "strom"),
        ("fa", "کتاب‌ها", "کتاب"),
        ("vi", "những người", "những người"),
    ],
)
def test_stems_are_pinned_because_an_index_is_made_of_them(language, text, stems):
    # When this fails, the stemmer changed: raise search.analyzer.VERSION.
    assert terms_of(text, language) == stems.split()


def test_an_unknown_language_is_refused_by_name():
    with pytest.raises(ValueError, match=r"language 'klingon' is not known; one of: auto, none, .*\ben\b"):
        Analyzer("klingon")


@pytest.mark.parametrize(("name", "value"), [("k1", -1), ("k1", float("nan")), ("b", 1.1)])
def test_a_number_out_of_its_range_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"{name} is .*; it must be from 0 to"):
        Analyzer(**{name: value})


# Identifiers, versions, codes


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("max_tokens", {"max", "token", "maxtoken"}),
        ("maxTokens", {"max", "token", "maxtoken"}),
        ("parseXMLFile", {"pars", "xml", "file", "parsexmlfil"}),
        ("np.float32", {"np", "float32", "npfloat32"}),
        ("v1.2.3", {"v1", "2", "3", "v1.2.3"}),
        ("2026-01-31", {"2026", "01", "31", "2026.01.31"}),
        ("ORA-01017", {"ora", "01017", "ora01017"}),
        ("0x80070005", {"0x80070005"}),
        ("C++ and C#", {"c", "c++", "and", "c#"}),
        ("mRNA iPhone McDonald", {"mrna", "iphon", "mcdonald"}),
        ("well-known", {"well", "known"}),
        ("…end.", {"end"}),
        ("__init__ --flag", {"init", "flag"}),
        ("a..b", {"a", "b"}),
    ],
)
def test_identifiers_count_by_their_parts_and_as_a_whole(text, terms):
    assert set(Analyzer().counts(text).terms) == terms


def test_a_whole_counts_half_in_a_query_and_adds_no_length():
    analyzer = Analyzer()
    assert analyzer.query_terms("max_tokens") == {"max": 1, "token": 1, "maxtoken": WHOLE}
    assert analyzer.counts("max_tokens").length == 2


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("maxTokens", "set max_tokens to 64"),
        ("error ORA-01017", "ORA-01017: invalid username"),
        ("1.2.3", "fixed in 1.2.3 of the reader"),
        ("max", "set max_tokens to 64"),
        ("C++", "written in C++ by hand"),
    ],
)
def test_a_question_finds_the_identifier_it_means(query, best):
    texts = [
        "set max_tokens to 64",
        "tokens are counted to the max",
        "ORA-01031: insufficient privileges",
        "ORA-01017: invalid username",
        "fixed in 1.2.3 of the reader",
        "fixed in 3.2.1 of the reader",
        "written in C++ by hand",
        "written in C by hand",
        "the ferry leaves at noon",
    ]
    assert texts[_ranking(query, Analyzer(), texts)[0]] == best


# Scripts without spaces


def test_chinese_japanese_and_korean_count_by_two_characters_and_by_one():
    analyzer = Analyzer()
    assert analyzer.counts("渡輪時刻") == Counts(
        dict.fromkeys(["渡輪", "輪時", "時刻", "渡", "輪", "時", "刻"], 1), 3 * WORTH[BIGRAMS]
    )
    assert analyzer.query_terms("渡輪時刻") == {"渡輪": 1, "輪時": 1, "時刻": 1}
    assert analyzer.query_terms("雨") == {"雨": 1}
    assert set(analyzer.query_terms("フェリーの時刻表2024年版")) == {
        *("フェ", "ェリ", "リー", "ーの", "の時", "時刻", "刻表", "2024", "年版")
    }
    assert set(analyzer.query_terms("여객선이 집")) == {"여객", "객선", "선이", "집"}


def test_thai_counts_by_four_characters_and_shorter_words_are_found():
    analyzer = Analyzer()
    passage = analyzer.counts("เรือข้ามฟาก")
    assert passage.length == pytest.approx(8 * WORTH[GRAMS])
    assert set(analyzer.query_terms("เรือข้าม")) <= set(passage.terms)
    assert analyzer.query_terms("ฟาก") == {"ฟาก": 1}
    assert "ฟาก" in passage.terms
    assert analyzer.query_terms("ก") == {"ก": 1}


def test_scripts_side_by_side_are_told_apart():
    assert set(Analyzer().query_terms("iPhone手机 เมื่อ2024")) == {"iphon", "手机", "เมื่", "มื่อ", "2024"}


# Many languages in one index


def test_a_passage_is_analysed_in_its_own_language_and_a_query_in_all_of_the_index():
    analyzer = Analyzer()
    passage = analyzer.counts("Die Fahrpreise der Häuser", "", "de").terms
    assert set(passage) == {"die", "fahrpreis", "der", "haus"}
    assert set(analyzer.query_terms("Häuser", ["en", "de"])) == {"häuser", "haus"}
    assert set(analyzer.query_terms("Häuser", ["en"])) == {"häuser"}
    assert set(analyzer.query_terms("Häuser", ["de"])) == {"haus"}


def test_a_form_that_languages_share_is_asked_for_once():
    assert Analyzer().query_terms("Kirk 2024", ["de", "en", "es", "fr"]) == {"kirk": 1, "2024": 1}


def test_forms_of_a_language_the_query_is_not_in_count_less():
    analyzer = Analyzer()
    asked = analyzer.query_terms("the side of it", ["en", "ca"])
    assert asked == {"side": 1, "sid": OTHER_FORM}
    assert analyzer.query_terms("side", ["en", "ca"]) == {"side": 1, "sid": 1}


def test_stop_words_are_those_of_the_language_the_query_seems_to_be_in():
    analyzer = Analyzer()
    assert set(analyzer.query_terms("was kostet die Fähre", ["de", "en"])) >= {"kostet", "fahr"}
    assert not {"was", "die"} & set(analyzer.query_terms("was kostet die Fähre", ["de", "en"]))
    assert "die" in analyzer.query_terms("what is the casting of a die", ["de", "en"])


def test_a_word_of_another_script_is_analysed_in_that_scripts_first_language():
    analyzer = Analyzer()
    english = analyzer.counts("деревьями", "", "en").terms
    assert english == analyzer.counts("деревьями", "", "ru").terms == {"дерев": 1}
    assert analyzer.counts("trees", "", "ru").terms == {"tree": 1}
    assert analyzer.query_terms("деревья", ["en"]) == {"дерев": 1}


def test_a_language_that_is_set_is_that_of_every_text():
    analyzer = Analyzer("de")
    assert analyzer.counts("Häuser", "", "en").terms == {"haus": 1}
    assert analyzer.query_terms("Häuser", ["en", "fr"]) == {"haus": 1}
    assert Analyzer("none").query_terms("The Häuser", ["en", "fr"]) == {"the": 1, "häuser": 1}


def test_no_two_terms_of_a_vocabulary_share_a_number():
    rng = random.Random(3)
    terms = {"".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(20_000)}
    assert len({term_number(term) for term in terms}) >= len(terms) - 1  # 0.05 are expected to meet


def test_without_context_the_weights_are_the_engines_own():
    engine = Bm25(
        Bm25Config(
            k=1.2,
            b=0.75,
            avg_len=160.0,
            tokenizer=TokenizerType.Whitespace,
            lowercase=False,
            stopwords=StopwordsSet(),
            stemmer=DisabledStemmer(),
        )
    )
    for text in TEXTS:
        theirs = engine.embed_document(" ".join(terms_of(text)))
        ours = Analyzer().passage_vector(text)
        assert sorted(ours.values.tolist()) == pytest.approx(sorted(theirs.values), rel=1e-6)


def test_many_threads_get_the_same_tokens():
    analyzer = Analyzer()
    rng = random.Random(0)
    texts = [" ".join(rng.choices(" ".join(TEXTS).split(), k=50)) + f" word{n}ing" for n in range(200)]
    expected = [Analyzer().counts(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(analyzer.counts, texts)) == expected


def terms_of(text, language=""):
    return [term for term, _, _ in Analyzer().terms(text, language)]


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
    documents = [terms_of(text) for text in TEXTS]
    expected = {}
    for number, tokens in enumerate(documents):
        score = 0.0
        for term, asked in analyzer.query_terms(query).items():
            n = sum(term in other for other in documents)
            idf = math.log(1 + (len(documents) - n + 0.5) / (n + 0.5))
            tf = tokens.count(term)
            score += asked * idf * tf * 2.2 / (tf + 1.2 * (1 - 0.75 + 0.75 * len(tokens) / average))
        if score:
            expected[number] = score
    assert _scores(query, analyzer) == pytest.approx(expected, rel=1e-5)


def test_rankings_agree_with_rank_bm25_on_the_same_tokens():
    rng = random.Random(7)
    vocabulary = [f"w{number}" for number in range(400)]
    weights = [1 / (number + 1) for number in range(400)]
    texts = [" ".join(rng.choices(vocabulary, weights, k=rng.randint(10, 60))) for _ in range(300)]
    tokens = [terms_of(text) for text in texts]
    average = sum(map(len, tokens)) / len(tokens)
    analyzer = Analyzer(average_length=average)
    oracle = BM25Okapi(tokens, k1=1.2, b=0.75)
    # rank_bm25's own idf is log((N - n + ½) / (n + ½)), without Lucene's 1 + and floored where negative.
    frequency = Counter(token for one in tokens for token in set(one))
    oracle.idf = {token: math.log(1 + (len(texts) - n + 0.5) / (n + 0.5)) for token, n in frequency.items()}
    for _ in range(20):
        query = " ".join(rng.sample(vocabulary, 4))
        expected = oracle.get_scores(list(analyzer.query_terms(query)))
        found = _scores(query, analyzer, texts)
        assert found == pytest.approx(
            {number: score for number, score in enumerate(expected) if score > 0}, rel=1e-4
        )


def test_rankings_agree_with_rank_bm25s_own_idf_where_terms_are_rare():
    # Below n = N / 2 both idfs fall with n alike, so a query of one rare term ranks the same under both.
    rng = random.Random(8)
    texts = [" ".join(rng.choices([f"w{n}" for n in range(200)], k=rng.randint(10, 60))) for _ in range(200)]
    tokens = [terms_of(text) for text in texts]
    analyzer = Analyzer(average_length=sum(map(len, tokens)) / len(tokens))
    oracle = BM25Okapi(tokens, k1=1.2, b=0.75)
    for term in ("w3", "w50", "w199"):
        expected = oracle.get_scores(list(analyzer.query_terms(term)))
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
    assert [term for term, _, _ in found] == terms_of(text)


def test_matches_are_the_places_of_the_querys_terms():
    text = TEXTS[3]
    found = Analyzer().matches("What is the age of trees?", text)
    assert [text[start:end] for start, end in found] == ["age", "tree"]
    assert Analyzer().matches("whale", text) == []


def test_what_a_question_leaves_out_in_a_language_of_the_index_is_not_found_in_a_passage_of_another():
    """`war` and `die` are words of an English passage; who asks in German did not ask for them."""
    text = "The war goes on and soldiers die before the Ernte."
    found = Analyzer().matches("wie war die Ernte", text, "en", ("de", "en"))
    assert [text[start:end] for start, end in found] == ["Ernte"]
    assert len(Analyzer().matches("wie war die Ernte", text, "en")) == 3
