"""What a sync needs to know of the documents there are: little of each, in one pass over the manifests."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from latewood.ingest.sources.uris import covers
from latewood.search.stores.base import Store
from latewood.search.types import Failure, FileStamp, Manifest

PAGE = 1000


@dataclass(frozen=True, slots=True)
class Known:
    """A document as far as an ingest of its source asks for it; no title, no metadata.

    Attributes:
        live: whether it answers.
        content_hash: sha256 of the bytes that answer, hexadecimal.
        stamp: of the file with those bytes, as it was last seen.
        failure: why newer bytes do not answer.
        beside: what its path and its sidecar said of it, as a checksum.
    """

    id: str
    uri: str
    live: bool
    content_hash: str
    stamp: FileStamp | None
    failure: Failure | None
    beside: str = ""

    @classmethod
    def of(cls, manifest: Manifest) -> Known:
        """What a manifest says."""
        return cls(
            id=manifest.id,
            uri=manifest.document.uri,
            live=manifest.live is not None,
            content_hash=manifest.content_hash,
            stamp=manifest.stamp,
            failure=manifest.failure,
            beside=manifest.beside,
        )


@dataclass(slots=True)
class Holdings:
    """The documents of a collection, seen from the sources that a root may be.

    Attributes:
        sources: of all documents that answer; one with failures only stands in nobody's way.
        mine: by source, then by uri, the documents of the sources asked for.
        others: content hash -> id of a live document of another source.
    """

    sources: set[str] = field(default_factory=set)
    mine: dict[str, dict[str, Known]] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)


def holdings(store: Store, asked: Collection[str]) -> Holdings:
    """Read what there is, with a closer look at these sources.

    A failure alone belongs to whatever source its file lies in now.
    """
    found = Holdings(mine={source: {} for source in asked})
    for manifest in manifests(store):
        info = manifest.document
        if manifest.live is not None:
            found.sources.add(info.source)
        for source in asked:
            if info.source == source or (manifest.live is None and covers(source, info.uri)):
                found.mine[source][info.uri] = Known.of(manifest)
        if manifest.live is not None and info.source not in asked:
            found.others[manifest.content_hash] = manifest.id
    return found


def manifests(store: Store, source: str | None = None) -> Iterator[Manifest]:
    """Every manifest, of one source when it is given, page by page."""
    after: str | None = None
    while page := store.list_manifests(source=source, after=after, limit=PAGE):
        yield from page
        after = page[-1].id
