"""Readers and writers of several processes at once: every answer is of one version, whole."""

from __future__ import annotations

import threading
from dataclasses import replace

from qdrant_memory import LockedClient

from latewood.search.types import Manifest, ManifestWrite

PARTS = 3
REPLACEMENTS = 25


def replace_again_and_again(store, kit, name, ids, done):
    document = kit.document(name)
    live = None
    revision = None
    for number in range(REPLACEMENTS):
        version = f"{name}-{number}"
        passages = kit.passages(document, version, [f"oak {name} {part}" for part in range(PARTS)])
        ids.update({one.chunk.id: version for one in passages})
        held = Manifest(document, f"{version}-p", live=live, pending=(version,), chunks=PARTS if live else 0)
        assert store.put_manifests([ManifestWrite(document.id, revision, held)]) == [True]
        kit.write(store, passages)
        replaced = () if live is None else (live,)
        flipped = Manifest(document, f"{version}-l", live=version, replaced=replaced, chunks=PARTS)
        assert store.put_manifests([ManifestWrite(document.id, held.revision, flipped)]) == [True]
        store.sweep(replaced)
        clear = replace(flipped, revision=f"{version}-c", replaced=())
        assert store.put_manifests([ManifestWrite(document.id, flipped.revision, clear)]) == [True]
        live, revision = version, clear.revision
    done.append(name)


def mixed(ranked, ids, names):
    """What in a list is not of one whole version of each document."""
    versions = [ids[one.id] for one in ranked if one.id in ids]
    if len(ranked) - len(versions) != 2:
        yield ranked
    for name in names:
        own = [version for version in versions if version.startswith(f"{name}-")]
        if len(own) not in (0, PARTS) or len(set(own)) > 1:
            yield own


def test_every_answer_is_of_one_version_of_each_document(make_server, kit):
    client = LockedClient()
    writers = [make_server("stress", client) for _ in range(2)]
    readers = [make_server("stress", client) for _ in range(2)]
    kit.commit(writers[0], "still", ["oak still 0", "oak still 1"])
    names = ["a", "b"]
    ids: dict[str, str] = {}
    done: list[str] = []
    wrong: list[object] = []
    asked: list[int] = []

    def read(store) -> None:
        count = 0
        while len(done) < len(names):
            count += 1
            for ranked in store.search(kit.legs("oak", 200)):
                wrong.extend(mixed(ranked, ids, names))
            if store.count() % PARTS != 2:
                wrong.append(store.count())
        asked.append(count)

    threads = [threading.Thread(target=read, args=(store,)) for store in readers]
    threads += [
        threading.Thread(target=replace_again_and_again, args=(store, kit, name, ids, done))
        for store, name in zip(writers, names, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sorted(done) == names
    assert min(asked) > 1  # they did read beside the writers
    assert readers[0].stats().hidden == 0
    for store in (*writers, *readers):
        store.close()


def test_a_search_is_two_requests_where_nothing_moves_and_a_few_where_it_does(
    kit, qdrant, connect_to, shared_http
):
    kit.empty(shared_http)
    kit.commit(shared_http, "a", ["oak leaf"])
    other = type(shared_http)(connect_to(qdrant.url), shared_http.name)
    for _ in range(2):
        other.search(kit.legs("oak"))
        qdrant.requests.clear()
    assert len(other.search(kit.legs("oak"))[0]) == 1
    assert [one.rpartition("/points/")[2] for one in qdrant.requests] == ["query/batch", "scroll"]
    kit.commit(shared_http, "b", ["oak tree"])
    qdrant.requests.clear()
    assert len(other.search(kit.legs("oak"))[0]) == 2
    assert [one.rpartition("/points/")[2] for one in qdrant.requests] == [
        "query/batch",
        "query/batch",
        "scroll",
    ]
    other.close()
