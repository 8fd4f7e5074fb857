"""The embedded indexes under a data directory.

    DATA/indexes/TENANT/COLLECTION/CURRENT            one line, the generation's folder name
    DATA/indexes/TENANT/COLLECTION/GENERATION/        index.json, shard/, …
    DATA/indexes/TENANT/COLLECTION/NEXT, PREVIOUS     see `search.stores.succession`

A generation is made aside and becomes current by one rename of `CURRENT`, so that whatever is killed when, a
collection is there whole or not at all.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from latewood.search.index_config import plan_from, plan_shape
from latewood.search.stores.durable import make_folder, sync
from latewood.search.types import (
    FingerprintError,
    IndexConfig,
    QueryError,
    StoreDamagedError,
    StoreUnavailableError,
)

FORMAT = 3
"""Of `index.json` and of the points; raised when an older program could not read the index."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_REMEDY = "restore a backup, or remove this folder and ingest again"


def list_collections(data: Path, tenant: str | None = None) -> list[tuple[str, str]]:
    """(tenant, collection) of every index, of one tenant when it is given, in order."""
    if tenant is not None:
        _check_name("tenant", tenant)
    tenants = _folders(data / "indexes") if tenant is None else [tenant]
    return [
        (one, collection)
        for one in tenants
        for collection in _folders(data / "indexes" / one)
        if (data / "indexes" / one / collection / "CURRENT").exists()
    ]


def exists(data: Path, tenant: str, collection: str) -> bool:
    """Whether there is such an index."""
    return (home_of(data, tenant, collection) / "CURRENT").exists()


def create(data: Path, tenant: str, collection: str, config: IndexConfig) -> Path:
    """Make an empty index and return its generation's folder; to be called by the directory's owner only.

    Raises:
        QueryError: a name that is not allowed, or an index of that name is there.
        StoreDamagedError: there are points, but nothing says that they are current.
    """
    home = home_of(data, tenant, collection)
    if exists(data, tenant, collection):
        raise QueryError(f"collection {collection!r} of tenant {tenant!r} is there already; delete it first")
    _clear_half_made(home)
    generation = make_generation(home, config)
    make_current(home, generation.name)
    return generation


def make_generation(home: Path, config: IndexConfig) -> Path:
    """Make an empty generation's folder; nothing names it yet."""
    generation = home / f"generation-{uuid.uuid4().hex[:12]}"
    make_folder(generation)
    shape = {
        "format": FORMAT,
        "dimensions": list(config.dimensions),
        "fingerprint": dict(config.fingerprint),
        "plan": plan_shape(config.plan),
    }
    write_file(generation / "index.json", json.dumps(shape, indent=2) + "\n")
    return generation


def _clear_half_made(home: Path) -> None:
    """Remove what a process that died in `create` left; never a folder with points in it."""
    filled = sorted(path.parent.name for path in home.glob("*/shard"))
    if filled:
        raise StoreDamagedError(
            f"{home} holds {', '.join(filled)} but no CURRENT; write the name of the one to use into "
            f"{home / 'CURRENT'}, or remove {home} and ingest again"
        )
    shutil.rmtree(home, ignore_errors=True)


def make_current(home: Path, generation: str) -> None:
    """Switch a collection's folder to one of its generations, in one step."""
    write_file(home / "CURRENT", f"{generation}\n")


def home_of(data: Path, tenant: str, collection: str) -> Path:
    """The folder of a collection, there or not; what is kept beside its generations goes here."""
    check_names(tenant, collection)
    return data / "indexes" / tenant / collection


def path_of(data: Path, tenant: str, collection: str) -> Path:
    """The folder of the current generation.

    Raises:
        StoreUnavailableError: there is no such index.
        StoreDamagedError: `CURRENT` names no folder.
    """
    home = home_of(data, tenant, collection)
    if not (home / "CURRENT").exists():
        raise StoreUnavailableError(
            f"there is no collection {collection!r} of tenant {tenant!r} in {data}; ingest something first"
        )
    return current(home)


def current(home: Path) -> Path:
    """The folder of the generation that answers, of a collection that is there.

    Raises:
        StoreDamagedError: `CURRENT` names no folder.
    """
    name = (home / "CURRENT").read_text(encoding="ascii").strip()
    if not name or "/" in name or not (home / name / "index.json").exists():
        raise StoreDamagedError(f"{home / 'CURRENT'} names {name!r}, where no index is; {_REMEDY}")
    return home / name


def read_config(generation: Path) -> IndexConfig:
    """What an index was made with.

    Raises:
        StoreDamagedError: `index.json` cannot be read.
        StoreUnavailableError: it was made by a newer program.
    """
    path = generation / "index.json"
    try:
        shape = json.loads(path.read_text(encoding="utf-8"))
        version = int(shape["format"])
        if version > FORMAT:
            raise StoreUnavailableError(
                f"{path} has format {version}; this program reads up to {FORMAT}; use a newer latewood"
            )
        sizes = tuple(int(size) for size in shape["dimensions"])
        plan = plan_from(shape.get("plan", {}))  # format 1 had none to choose
        apart = version >= 3  # of older ones filters by ranges read every point; an optimise makes a new one
        return IndexConfig(sizes, dict(shape["fingerprint"]), plan, apart)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreDamagedError(f"{path} cannot be read ({error}); {_REMEDY}") from error


def delete_collection(data: Path, tenant: str, collection: str) -> bool:
    """Remove an index with everything in it; whether there was one."""
    home = home_of(data, tenant, collection)
    if not home.exists():
        return False
    there = exists(data, tenant, collection)
    # One rename makes it gone; what a kill leaves of the removal has a name no collection can have.
    aside = home.with_name(f".deleted-{uuid.uuid4().hex}")
    home.rename(aside)
    sync(home.parent)
    for left in home.parent.glob(".deleted-*"):
        shutil.rmtree(left, ignore_errors=True)
    return there


def check_fingerprint(config: IndexConfig, expected: Mapping[str, str]) -> None:
    """Hold an index against the model and analyser in use.

    Raises:
        FingerprintError: naming each part that differs, both values, and the remedy.
    """
    made = config.fingerprint
    differing = {
        part: f"{part}: index {made.get(part, 'nothing')!r}, in use {expected.get(part, 'nothing')!r}"
        for part in sorted(made.keys() | expected.keys())
        if made.get(part) != expected.get(part)
    }
    if differing:
        model = made.get("model", "")
        now = expected.get("model", "")
        remedy = (
            f"use the index's model again (MODEL={model})" if model else "use what it was made with again"
        )
        if differing.keys() == {"analyzer"}:
            remedy = "set LANGUAGE, K1 and B again as they were"
        if now:
            remedy += f", let its documents be embedded anew (`latewood migrate --model {now}`)"
        raise FingerprintError(
            f"the index was made with something else than what is in use — {'; '.join(differing.values())}; "
            f"{remedy}, or ingest again into a new collection"
        )


def check_dimensions(config: IndexConfig, asked: Sequence[int]) -> None:
    """Hold an index's sizes of vectors against those that are set, if any are.

    Raises:
        FingerprintError: they differ.
    """
    if asked and set(asked) != set(config.dimensions):
        made, now = (",".join(map(str, sorted(sizes, reverse=True))) for sizes in (config.dimensions, asked))
        raise FingerprintError(
            f"the index stores vectors of {made} dimensions, and DIMENSIONS is set to {now}; leave it out or "
            f"set it to {made}, or rebuild the index (`latewood migrate --model "
            f"{config.fingerprint.get('model', 'M')}`)"
        )


def check_names(tenant: str, collection: str = "default") -> None:
    """Hold names against what a tenant or collection may be called.

    Raises:
        QueryError: a name that is not allowed.
    """
    _check_name("tenant", tenant)
    _check_name("collection", collection)


def _check_name(what: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise QueryError(
            f"{what} name {name!r:.80} is not allowed; use 1 to 63 of a-z, 0-9, '-' and '_', "
            "beginning with a letter or digit"
        )


def _folders(path: Path) -> list[str]:
    if not path.is_dir():
        return []
    return sorted(entry.name for entry in path.iterdir() if _NAME.fullmatch(entry.name) and entry.is_dir())


def write_file(path: Path, text: str) -> None:
    """Write a file as one step that survives a power cut."""
    aside = path.with_name(f"{path.name}.partial")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    sync(path.parent)
