"""The text before and after a result: a document's passages tile its text, so joined they give it back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from latewood.search.request import Expand
from latewood.search.results import Hit
from latewood.search.types import Passage, chunk_id

Fetch = Callable[[Sequence[str]], Sequence[Passage]]


def with_neighbours(hits: Sequence[Hit], expand: Expand, fetch: Fetch) -> list[Hit] | None:
    """Hits with the text around them; fewer passages where the document begins or ends.

    Results and neighbours are read in one trip, so what is joined is of one version.

    Returns:
        None when a hit is gone: a new version took over since it was ranked.
    """
    before = [_ids(hit, range(-expand.before, 0)) for hit in hits]
    after = [_ids(hit, range(1, expand.after + 1)) for hit in hits]
    own = [hit.passage.chunk.id for hit in hits]
    asked = dict.fromkeys([*own, *(one for ids in (*before, *after) for one in ids)])
    texts = {passage.chunk.id: passage.chunk.text for passage in fetch(list(asked))}
    if not texts.keys() >= set(own):
        return None
    return [
        replace(
            hit,
            before="".join(texts.get(one, "") for one in ids_before),
            after="".join(texts.get(one, "") for one in ids_after),
        )
        for hit, ids_before, ids_after in zip(hits, before, after, strict=True)
    ]


def _ids(hit: Hit, steps: range) -> list[str]:
    chunk = hit.passage.chunk
    places = (chunk.ordinal + step for step in steps)
    return [chunk_id(chunk.document_id, chunk.version, place) for place in places if place >= 0]
