"""Changing manifests as they stand: one conditional write, tried again when another writer came between."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace

from latewood.search.stores.base import Store
from latewood.search.types import Manifest, ManifestWrite, StoreUnavailableError

_TRIES = 50

Change = Callable[[Manifest | None], Manifest | None]


def update(store: Store, changes: Mapping[str, Change]) -> dict[str, Manifest | None]:
    """Apply each change to the manifest as it stands, again when another writer came between.

    A change gets the stored manifest (None: there is none) and returns what shall stand instead (None: no
    manifest); returning the very object it was given writes nothing. Returns what stands after.

    Raises:
        StoreUnavailableError: a manifest was changed by others at every one of 50 tries.
    """
    done: dict[str, Manifest | None] = {}
    left = dict(changes)
    for _ in range(_TRIES):
        stored = {manifest.id: manifest for manifest in store.get_manifests(list(left))}
        writes: list[ManifestWrite] = []
        for key, change in left.items():
            old = stored.get(key)
            new = change(old)
            if new is old:
                done[key] = old
                continue
            if new is not None:
                new = replace(new, revision=str(uuid.uuid4()))
            writes.append(ManifestWrite(key, old.revision if old else None, new))
        taken = store.put_manifests(writes) if writes else []
        done |= {write.document_id: write.manifest for write, ok in zip(writes, taken, strict=True) if ok}
        left = {key: change for key, change in left.items() if key not in done}
        if not left:
            return done
    raise StoreUnavailableError(
        f"{len(left)} manifests were changed by other writers {_TRIES} times in a row; try again"
    )


def dropped_if_bare(manifest: Manifest) -> Manifest | None:
    """None for a manifest that says nothing any more."""
    bare = manifest.live is None and not manifest.hidden and manifest.failure is None
    return None if bare else manifest
