"""The query walk: words to legs, ranked lists from the store, fusion, the page, and what goes with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from latewood.embedder.types import Floats, SparseVector
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.analysis.query_language import is_foreign
from latewood.search.filters import LIMITS, Limits
from latewood.search.fusion import alone, fuse
from latewood.search.highlights import mark
from latewood.search.neighbours import with_neighbours
from latewood.search.paging import Look, page
from latewood.search.request import MODES, SearchRequest, check_request
from latewood.search.reranking import BUDGET, TimedReranker
from latewood.search.results import Hit, Reranked, SearchResult, Timing
from latewood.search.stores.base import Store
from latewood.search.types import Chunk, DenseQuery, Fused, Leg, QueryError, StoreUnavailableError

_ATTEMPTS = 8
_TOGETHER = 3  # times the places asked for: candidates whose documents are looked up in one trip


class _ChangedError(Exception):
    """A passage that was ranked is gone: the ranking is out of date."""


class Searcher:
    """Answers queries on one index. Safe to call from many threads."""

    def __init__(
        self,
        store: Store,
        embed_query: Callable[[str], Floats],
        analyzer: Analyzer,
        limits: Limits = LIMITS,
        reranker: TimedReranker | None = None,
        check: Callable[[], object] = lambda: None,
        knows: Collection[str] = (),
    ) -> None:
        """Search `store`.

        Args:
            store: the index.
            embed_query: text to (dim,) float32 unit vector, at the largest stored dimension.
            analyzer: the one the index was made with.
            limits: the most that one query may ask for.
            reranker: what reranks, where one is set.
            check: called before each search; raises when the index is not to be asked as things are.
            knows: the languages the embedding model knows; none: it knows very many, or nobody said.
        """
        self._knows = knows
        self._check = check
        self._store = store
        self._embed_query = embed_query
        self._analyzer = analyzer
        self._limits = limits
        self._reranker = reranker

    def search(self, request: SearchRequest) -> SearchResult:
        """Answer one query.

        Raises:
            QueryError: the request cannot be answered as asked.
            FingerprintError: the index was made with another model or analyser.
            StoreUnavailableError: the store cannot be reached, or changed under every attempt.
            EmbedderError: the question cannot be embedded, or the reranker cannot be loaded or failed.
        """
        check_request(request, self._limits)
        self._check()
        reranker = self._reranker_for(request)
        started = time.perf_counter()
        dense = self._embed_query(request.query) if "dense" in MODES[request.mode] else None
        embedded = time.perf_counter()
        languages = self._store.languages()
        queries = {name: self._query(name, request, dense, languages) for name in MODES[request.mode]}
        foreign = len(queries) > 1 and is_foreign(request.query, languages, self._knows)
        request = replace(request, fusion=request.fusion.for_question(foreign=foreign))
        for _ in range(_ATTEMPTS):
            walk = _Walk(self._store, request, queries, self._limits.limit)
            told, waited = None, 0.0
            try:
                if reranker is None:
                    hits = walk.fused()
                else:
                    hits, told, waited = walk.reranked(reranker)
                hits = walk.expanded(hits)
            except _ChangedError:
                continue
            if request.highlight:
                hits = [self._marked(request.query, hit, languages) for hit in hits]
            done = time.perf_counter()
            took = Timing(
                embed=(embedded - started) * 1e3,
                search=(done - embedded - waited) * 1e3,
                rerank=None if told is None else waited * 1e3,
                total=(done - started) * 1e3,
            )
            fusion = request.fusion if len(queries) > 1 else None
            return SearchResult(tuple(hits), request.mode, took, told, fusion, foreign)
        raise StoreUnavailableError(
            f"the index changed during each of {_ATTEMPTS} attempts to answer; ask again in a moment"
        )

    def _marked(self, query: str, hit: Hit, languages: Sequence[str]) -> Hit:
        chunk = hit.passage.chunk
        found = mark(self._analyzer, query, chunk.text, chunk.language, languages)
        return replace(hit, marks=found)

    def _query(
        self, name: str, request: SearchRequest, dense: Floats | None, languages: Sequence[str]
    ) -> DenseQuery | SparseVector:
        if dense is None or name == "bm25":
            return self._analyzer.query_vector(request.query, languages)
        return DenseQuery(dense)

    def _reranker_for(self, request: SearchRequest) -> TimedReranker | None:
        """The reranker that was asked for.

        Raises:
            QueryError: none is set, or another.
        """
        if request.rerank is None:
            return None
        if self._reranker is None:
            raise QueryError("rerank was asked for, but no reranker is set; name one in RERANKER")
        if request.rerank.model not in {"", *self._reranker.names}:
            raise QueryError(
                f"rerank model {request.rerank.model!r:.80} is not the one that is set; "
                f"leave it out, or name {self._reranker.name!r}"
            )
        return self._reranker


class _Walk:
    """One attempt: it ends with _ChangedError when what it ranked is there no more."""

    def __init__(
        self,
        store: Store,
        request: SearchRequest,
        queries: dict[str, DenseQuery | SparseVector],
        most: int,
    ) -> None:
        self._store = store
        self._request = request
        self._queries = queries
        self._most = most

    def fused(self) -> list[Hit]:
        """The page of the fused list."""
        request = self._request
        keys = self._documents if request.group_by == "document" else _themselves
        return self._read(page(self._look, keys, request.offset, request.end, self._most))

    def reranked(self, reranker: TimedReranker) -> tuple[list[Hit], Reranked, float]:
        """The page of the first `top_n` in the reranker's order, in the fused one if it was late.

        Returns:
            the hits, what became of the rerank, and the seconds spent on it.
        """
        request, top_n = self._request, self._top_n
        hits = self._read(page(self._look, _themselves, 0, top_n, max(self._most, top_n)))
        started = time.perf_counter()
        scores = reranker.scores(request.query, [_to_be_read(hit.passage.chunk) for hit in hits])
        waited = time.perf_counter() - started
        reason = "" if scores is not None else BUDGET
        told = Reranked(reranker.name, top_n, scores is not None, reason, reranker.seconds)
        if scores is not None:
            scored = [replace(hit, score=one, rerank=one) for hit, one in zip(hits, scores, strict=True)]
            hits = sorted(scored, key=lambda hit: (-hit.score, hit.passage.chunk.id))
        if request.group_by == "document":
            hits = _one_a_document(hits)
        return hits[request.offset : request.end], told, waited

    def expanded(self, hits: list[Hit]) -> list[Hit]:
        """With the text around each, where it was asked for."""
        expand = self._request.expand
        if not hits or not (expand.before or expand.after):
            return hits
        found = with_neighbours(hits, expand, self._store.fetch)
        if found is None:
            raise _ChangedError
        return found

    @property
    def _top_n(self) -> int:
        rerank = self._request.rerank
        return 0 if rerank is None else rerank.top_n

    def _look(self, depth: int) -> Look:
        request = self._request
        legs = [Leg(name, query, depth, request.min_score.get(name)) for name, query in self._queries.items()]
        found = self._store.search(legs, request.where)
        lists = {leg.name: ranked for leg, ranked in zip(legs, found, strict=True)}
        whole = all(len(ranked) < depth for ranked in found)
        if len(lists) > 1:
            return Look(fuse(request.fusion, lists), whole)
        ((name, candidates),) = lists.items()
        return Look(alone(name, candidates), whole)

    def _documents(self, ids: list[str]) -> Iterator[tuple[str, str]]:
        """Each passage's document, looked up as far as anyone reads on."""
        step = _TOGETHER * self._request.end
        for start in range(0, len(ids), step):
            some = ids[start : start + step]
            keys = self._store.locate(some)
            if len(keys) < len(some):
                raise _ChangedError
            yield from ((one.id, one.document_id) for one in keys)

    def _read(self, places: Sequence[Fused]) -> list[Hit]:
        passages = self._store.fetch([one.id for one in places]) if places else []
        if len(passages) < len(places):
            raise _ChangedError
        return [
            Hit(passage, one.score, one.score, one.legs)
            for passage, one in zip(passages, places, strict=True)
        ]


def _themselves(ids: list[str]) -> Iterable[tuple[str, str]]:
    return zip(ids, ids, strict=True)


def _one_a_document(hits: Iterable[Hit]) -> list[Hit]:
    """Each document's best passage."""
    best: dict[str, Hit] = {}
    for hit in hits:
        best.setdefault(hit.passage.chunk.document_id, hit)
    return list(best.values())


def _to_be_read(chunk: Chunk) -> str:
    """What a reranker reads: what is indexed of a passage, its title and headings first."""
    return f"{chunk.context}\n{chunk.text}" if chunk.context else chunk.text
