"""Metadata set by hand: written into the manifest first, then told to the chunks, all of them in one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from latewood.ingest.index.manifest_updates import dropped_if_bare, update
from latewood.search.stores.base import Store
from latewood.search.stores.generations.switch import one_walk
from latewood.search.types import DocumentInfo, Manifest, MetadataValue
from latewood.search.unicode_forms import composed_metadata


@one_walk
def amend(store: Store, document_id: str, changes: Mapping[str, MetadataValue | None]) -> Manifest | None:
    """Set metadata by hand; no vector changes. It stays over what later versions of the file say.

    The wish is written first and then told to the chunks, all of them in one step; killed in between,
    `recover` tells them.

    Args:
        store: the index.
        document_id: of a document that answers.
        changes: keys to set; None takes a key out, also one that the file itself states.

    Returns:
        The manifest as it stands after; None when no such document answers.
    """
    changes = composed_metadata(changes)

    def change(old: Manifest | None) -> Manifest | None:
        if old is None or old.live is None:
            return old
        return replace(old, amended={**old.amended, **changes}, retelling=True)

    after = update(store, {document_id: change})[document_id]
    if after is None or after.live is None:
        return None
    return retell(store, [document_id])[document_id]


def told(info: DocumentInfo, amended: Mapping[str, MetadataValue | None]) -> DocumentInfo:
    """What is said of a document with metadata set by hand; the key `language` is the document's own."""
    if not amended:
        return info
    merged = composed_metadata(info.metadata) | composed_metadata(amended)
    metadata = {key: value for key, value in merged.items() if value is not None}
    language = metadata.pop("language", None)
    if "language" in amended:
        info = replace(info, language=language if isinstance(language, str) else "")
    return replace(info, metadata=metadata)


def retell(store: Store, ids: Sequence[str]) -> dict[str, Manifest | None]:
    """Tell the live versions' chunks what their manifests say, and clear the mark."""

    def change(old: Manifest | None) -> Manifest | None:
        if old is None or not old.retelling:
            return old
        if old.live is None:
            return dropped_if_bare(replace(old, retelling=False))
        document = told(old.document, old.amended)
        store.put_info(old.id, old.live, document)
        _keep_wish(store, old)
        return replace(old, document=document, retelling=False)

    return update(store, dict.fromkeys(ids, change))


def _keep_wish(store: Store, manifest: Manifest) -> None:
    """Write what was set by hand into the record too, so that it outlives the loss of the manifest."""
    kept = [one for one in store.get_records([manifest.id]) if one.version == manifest.live]
    if not kept:
        return
    store.put_records([replace(kept[0], manifest=replace(kept[0].manifest, amended=manifest.amended))])
    now = store.get_manifests([manifest.id])
    if not now or manifest.live not in (now[0].live, *now[0].hidden):  # replaced and swept meanwhile
        store.sweep([kept[0].version])
