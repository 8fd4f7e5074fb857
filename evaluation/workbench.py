"""The evaluation walk, top to bottom: a configuration -> ranked lists -> fusion -> scores per question."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from latewood.embedder.types import ModelDescription
from latewood.evaluation import metrics
from latewood.evaluation.bm25 import Bm25Parameters
from latewood.evaluation.configuration import Configuration
from latewood.evaluation.dataset_files import DatasetError, EvaluationError
from latewood.evaluation.datasets import Dataset, GoldSpan
from latewood.evaluation.embedding_cache import (
    Corpus,
    Cutting,
    Progress,
    TwoEndedEmbedder,
    build_corpus,
    code_hash,
)
from latewood.evaluation.exact_legs import LegLists, Legs
from latewood.evaluation.metrics import PerQuery
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.analysis.languages import AUTO
from latewood.search.analysis.query_language import is_foreign
from latewood.search.fusion import fuse
from latewood.search.paging import LEG_DEPTH
from latewood.search.request import MODES
from latewood.search.types import Candidate

DEFAULT_CHUNK_TOKENS = 256
DEFAULT_LANGUAGE = AUTO
_LISTS_KEPT = 24  # ranked lists of 200 for a thousand questions take some 30 MB

_CODE = ("evaluation", "search")  # what ranks and scores; what cuts and embeds shows in its results

Run = Mapping[str, Sequence[Candidate]]
"""By question: what was found with its score, best first."""


@dataclass(frozen=True, slots=True)
class Row:
    """A configuration and how good it is.

    Attributes:
        configuration: every value that its mode uses is filled in.
        scores: mean of each metric.
        per_query: the same by question; every question with something relevant counts.
        latency_ms: mean milliseconds for one question on this machine: embedding it where the mode does,
            exact search in memory, fusion. Compare rows of one run; a served index has other figures.
    """

    configuration: Configuration
    unit: str
    scores: Mapping[str, float]
    per_query: PerQuery
    queries: int
    latency_ms: float


def complete(configuration: Configuration, model: ModelDescription, unit: str) -> Configuration:
    """What is left to the model or the index by a configuration, filled in; what it does not use is None.

    Raises:
        EvaluationError: a dimension that the model was not trained for.
        InputError: a context that the model cannot have.
    """
    asked = configuration.dimensions
    if asked is not None and asked not in model.dimensions:
        known = ", ".join(map(str, model.dimensions))
        raise EvaluationError(f"dimension {asked} is not a size of {model.name}; one of: {known}")

    if configuration.context is not None and "dense" in MODES[configuration.mode]:
        model.check_context(configuration.context)

    def either(value: float | None, default: float) -> float:
        return default if value is None else value

    bm25 = Bm25Parameters()
    return Configuration(
        mode=configuration.mode,
        method=configuration.method,
        k=configuration.k,
        weights=configuration.weights,
        foreign=configuration.foreign,
        context=either(configuration.context, model.context),
        dimensions=asked or model.dimensions[0],
        chunk_tokens=None if unit == "passage" else configuration.chunk_tokens or DEFAULT_CHUNK_TOKENS,
        k1=either(configuration.k1, bm25.k1),
        b=either(configuration.b, bm25.b),
        language=configuration.language or DEFAULT_LANGUAGE,
    ).essential


class Workbench:
    """A judged set, a model and a cache; ranks and scores configurations, embedding each cutting once.

    Not for sharing between threads.
    """

    def __init__(
        self,
        dataset: Dataset,
        embedder: TwoEndedEmbedder,
        cache: Path,
        unit: str = "document",
        progress: Progress = lambda _what, _done, _all: None,
    ) -> None:
        """Work on `dataset`.

        Args:
            dataset: what is searched and asked.
            embedder: the model; used for what the cache does not hold.
            cache: a folder for vectors, made if it is not there.
            unit: `document` (found by its best chunk), or `passage`: the set's own.
            progress: told what is being embedded.

        Raises:
            DatasetError: the set was not judged by this unit.
        """
        judged = dataset.judged(unit)
        self.dataset = dataset
        self.unit = unit
        self.queries = tuple(query for query in dataset.queries if query in judged)
        """The questions that count, in the set's order."""
        self._judged = {query: judged[query] for query in self.queries}
        self._own = {query for query in self.queries if unit == "document" and self._is_document(query)}
        self._embedder = embedder
        self._cache = cache
        self._progress = progress
        self._corpora: dict[Cutting, Corpus] = {}
        self._legs: dict[Cutting, Legs] = {}
        self._analyzers: dict[str, Analyzer] = {}
        self._lists: dict[Configuration, LegLists] = {}
        self._foreign: dict[Cutting, tuple[bool, ...]] = {}

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """Of the model."""
        return self._embedder.fingerprint

    @property
    def late_chunking(self) -> bool:
        """Return whether contexts other than 0 can be measured with the model."""
        return self._embedder.description.late_chunking

    def complete(self, configuration: Configuration) -> Configuration:
        """See `complete`."""
        return complete(configuration, self._embedder.description, self.unit)

    def corpus(self, configuration: Configuration) -> Corpus:
        """The set cut as the configuration says, and embedded; from memory or the cache where it is there."""
        cutting = self._cutting(configuration)
        if cutting not in self._corpora:
            found = build_corpus(self.dataset, self._embedder, cutting, self._cache, self._progress)
            self._corpora[cutting] = found
        return self._corpora[cutting]

    def subject(self, configuration: Configuration) -> str:
        """All that scores depend on besides the configuration: questions, grades, passages, vectors, code.

        Passages and vectors are those of `configuration`; others are made by the same code and model.
        """
        corpus = self.corpus(configuration)
        digest = hashlib.sha256()
        for vectors in (corpus.naive, corpus.late, corpus.queries):
            digest.update(vectors.tobytes())
        for chunk in corpus.chunks:
            digest.update(json.dumps([chunk.start, chunk.context]).encode("ascii"))
        spans = {
            query: [(one.document, one.start, one.end) for one in self.dataset.spans.get(query, ())]
            for query in self.queries
        }
        asked = {query: self.dataset.queries[query] for query in self.queries}
        knows = self._embedder.description.knows
        said = [self.dataset.content_hash, asked, self._judged, spans, self.unit, digest.hexdigest(), knows]
        return json.dumps([*said, *map(code_hash, _CODE)], sort_keys=True)

    def legs(self, configuration: Configuration) -> Mapping[str, LegLists]:
        """The ranked list of each leg of the mode, a list for each of `queries`."""
        whole = self.complete(configuration)
        return {leg: self._leg(leg, whole) for leg in MODES[whole.mode]}

    def foreign(self, configuration: Configuration) -> tuple[bool, ...]:
        """Whether the model does not know the language of each of `queries`; see `search.foreign`."""
        cutting = self._cutting(configuration)
        if cutting not in self._foreign:
            index = {one.language for one in self.corpus(configuration).chunks}
            knows = self._embedder.description.knows
            texts = (self.dataset.queries[query] for query in self.queries)
            self._foreign[cutting] = tuple(is_foreign(text, index, knows) for text in texts)
        return self._foreign[cutting]

    def run(self, configuration: Configuration) -> tuple[Run, float]:
        """Chunks found for every question, and the mean milliseconds that took."""
        legs = self.legs(configuration)
        latency = sum(found.each_ms for found in legs.values())
        latency += self.corpus(configuration).embed_ms if "dense" in legs else 0.0
        if len(legs) == 1:
            ((_, only),) = legs.items()
            return dict(zip(self.queries, only.lists, strict=True)), latency
        foreign = self.foreign(configuration)
        by = {one: configuration.fusion.for_question(foreign=one) for one in set(foreign)}
        begun = time.perf_counter()
        fused = {
            query: tuple(
                Candidate(one.id, one.score)
                for one in fuse(by[foreign[row]], {leg: found.lists[row] for leg, found in legs.items()})
            )
            for row, query in enumerate(self.queries)
        }
        return fused, latency + (time.perf_counter() - begun) * 1e3 / len(self.queries)

    def judged_run(self, configuration: Configuration, run: Run) -> Run:
        """A run of chunks as one of what is judged: a document stands where its best chunk stands.

        Where questions are documents of the corpus themselves (ArguAna, Quora), finding itself is no find:
        as BEIR's own evaluation does, a document with the question's id and text is passed over. Unlike
        there, one that has only its id by chance is not.
        """
        corpus = self.corpus(configuration)
        names = dict(zip((chunk.id for chunk in corpus.chunks), corpus.judged, strict=True))
        best: dict[str, tuple[Candidate, ...]] = {}
        for query, found in run.items():
            first: dict[str, Candidate] = {}
            for one in found:
                first.setdefault(names[one.id], Candidate(names[one.id], one.score))
            if query in self._own:
                first.pop(query, None)
            best[query] = tuple(first.values())
        return best

    def scorer(self, metric: str) -> Callable[[Configuration], Mapping[str, float]]:
        """What scores a configuration by one metric, by question.

        Raises:
            DatasetError: no such metric, or one of spans and the set has none.
        """
        spans = any(query in self.dataset.spans for query in self.queries)
        known = [*metrics.METRICS, *(metrics.SPAN_METRICS if spans else ())]
        if metric not in known:
            raise DatasetError(
                f"metric {metric!r} is not known of {self.dataset.name}; one of: {', '.join(known)}"
            )
        return lambda configuration: self.row(configuration).per_query[metric]

    def row(self, configuration: Configuration) -> Row:
        """Score a configuration."""
        run, latency = self.run(configuration)
        rankings = {
            query: [one.id for one in found] for query, found in self.judged_run(configuration, run).items()
        }
        per_query = metrics.score(self._judged, rankings)
        gold = {query: self.dataset.spans[query] for query in run if query in self.dataset.spans}
        if gold:
            per_query |= metrics.score_spans(gold, self._places(configuration, run))
        scores = metrics.means(per_query)
        return Row(self.complete(configuration), self.unit, scores, per_query, len(run), latency)

    def _is_document(self, query: str) -> bool:
        """Whether the question is a document of the corpus, and not judged as an answer to itself."""
        document = self.dataset.documents.get(query)
        if document is None or query in self._judged[query]:
            return False
        text = document.text.removeprefix(document.title)
        return text.strip() == self.dataset.queries[query].strip()

    def _places(self, configuration: Configuration, run: Run) -> dict[str, list[GoldSpan]]:
        corpus = self.corpus(configuration)
        places = dict(zip((chunk.id for chunk in corpus.chunks), corpus.places, strict=True))
        first = metrics.SPAN_DEPTH
        return {query: [places[one.id] for one in found[:first]] for query, found in run.items()}

    def _cutting(self, configuration: Configuration) -> Cutting:
        return Cutting(self.unit, self.complete(configuration).chunk_tokens)

    def _leg(self, leg: str, whole: Configuration) -> LegLists:
        alone = Configuration(**{**whole.index_time, "mode": leg}).essential
        if alone not in self._lists:
            found = self._ranked(alone)
            while len(self._lists) >= _LISTS_KEPT:
                del self._lists[next(iter(self._lists))]
            self._lists[alone] = found
        return self._lists[alone]

    def _ranked(self, alone: Configuration) -> LegLists:
        cutting = Cutting(self.unit, alone.chunk_tokens)
        if cutting not in self._legs:
            row_of = {query: row for row, query in enumerate(self.dataset.queries)}
            texts = [self.dataset.queries[query] for query in self.queries]
            rows = [row_of[query] for query in self.queries]
            self._legs[cutting] = Legs(self.corpus(alone), texts, rows)
        legs = self._legs[cutting]
        if alone.context is not None and alone.dimensions is not None:
            return legs.dense(alone.context, alone.dimensions, LEG_DEPTH)
        language = alone.language or DEFAULT_LANGUAGE
        if language not in self._analyzers:
            self._analyzers[language] = Analyzer(language)
        own = Bm25Parameters()
        parameters = Bm25Parameters(
            own.k1 if alone.k1 is None else alone.k1,
            own.b if alone.b is None else alone.b,
            # The index's constant goes with its chunk size; a set's own passages have none.
            None if cutting.chunk_tokens is None else own.average_length,
        )
        return legs.bm25(self._analyzers[language], parameters, LEG_DEPTH)


def evaluate(bench: Workbench, configurations: Iterable[Configuration]) -> list[Row]:
    """Score each configuration, in order."""
    return [bench.row(configuration) for configuration in configurations]
