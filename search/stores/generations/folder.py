"""Which generation of an index answers, which is being built, which is kept to go back to.

    HOME/CURRENT     the generation that answers
    HOME/NEXT        the one being built aside, what for, and which it is to replace
    HOME/PREVIOUS    the one kept, of another model

The switch is the rename of `CURRENT`. Everything after it (`settle`) and everything before it can be done
again, so whatever is killed when, the next owner finds either the old generation current and a `NEXT` to go
on with, or the new one.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from latewood.search.stores.generations import layout
from latewood.search.types import IndexConfig

logger = logging.getLogger(__name__)
_lock = threading.RLock()  # a folder that is being made is not to be taken for one that nothing names
_in_use: set[Path] = set()

OPTIMISE, MIGRATE, ROLLBACK, MOVE = "optimise", "migrate", "rollback", "move"
PURPOSES = frozenset({OPTIMISE, MIGRATE, ROLLBACK, MOVE})


@dataclass(frozen=True, slots=True)
class Next:
    """A generation being built.

    Attributes:
        generation: its folder's name.
        purpose: `optimise` (same points, indexed), `migrate` (another model), `rollback` (the kept one) or
            `move` (from another store).
        replaces: folder name of the generation that answers meanwhile; empty when there is none.
    """

    generation: str
    purpose: str
    replaces: str


def plan(home: Path, purpose: str, config: IndexConfig) -> Next:
    """Note that a generation is to be built; for all but a rollback an empty one is made.

    Raises:
        ValueError: a rollback without a generation to go back to.
    """
    with _lock:
        kept = previous(home)
        if purpose == ROLLBACK and kept is None:
            raise ValueError(f"{home} keeps no generation to go back to")
        folder = kept if purpose == ROLLBACK and kept is not None else layout.make_generation(home, config)
        made = Next(folder.name, purpose, _current(home))
        layout.write_file(home / "NEXT", json.dumps(asdict(made)) + "\n")
        return made


def planned(home: Path) -> Next | None:
    """What is being built; None when nothing is, or when what is written there makes no sense."""
    try:
        found = Next(**json.loads((home / "NEXT").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        logger.warning("%s cannot be read and is left out: %s", home / "NEXT", error)
        return None
    whole = found.purpose in PURPOSES and (home / found.generation / "index.json").exists()
    return found if whole else None


def previous(home: Path) -> Path | None:
    """The folder of the kept generation, if there is one."""
    try:
        name = (home / "PREVIOUS").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    kept = home / name
    whole = bool(name) and "/" not in name and (kept / "index.json").exists()
    return kept if whole and kept.name != _current(home) else None


def switch(home: Path, to: Next) -> None:
    """Let the generation answer that was built: the one step that counts."""
    layout.make_current(home, to.generation)


def abandon(home: Path) -> None:
    """Give up what is being built and remove what was made for it."""
    with _lock:
        _remove_next(home)
        tidy(home)


def settle(home: Path) -> None:
    """Finish a switch, or clean up after a build that can no more be finished."""
    with _lock:
        now = _current(home)
        found = planned(home)
        if found is not None and found.generation == now:
            if found.purpose != OPTIMISE and found.replaces:
                layout.write_file(home / "PREVIOUS", f"{found.replaces}\n")
            _remove_next(home)
        elif found is None or found.replaces != now:
            _remove_next(home)
        tidy(home)


def use(generation: Path) -> None:
    """Note that a generation is open in this process: its folder stays, whatever names it."""
    with _lock:
        _in_use.add(generation)


def release(generation: Path) -> None:
    """Note that it is closed, and remove its folder if nothing names it any more."""
    with _lock:
        _in_use.discard(generation)
        if (generation.parent / "CURRENT").exists():  # else the collection was deleted
            tidy(generation.parent)


def delete(data: Path, tenant: str, collection: str) -> bool:
    """Remove a collection with all its generations; whether there was one. Nobody may have it open."""
    with _lock:  # what closes late looks there for what nobody names any more
        return layout.delete_collection(data, tenant, collection)


def tidy(home: Path) -> None:
    """Remove the folders of generations that nothing names and this process has not open."""
    with _lock:
        found, kept = planned(home), previous(home)
        needed = {_current(home)}
        needed |= {kept.name} if kept is not None else set()
        needed |= {found.generation, found.replaces} if found is not None else set()
        for folder in home.glob("generation-*"):
            if folder.is_dir() and folder.name not in needed and folder not in _in_use:
                shutil.rmtree(folder, ignore_errors=True)


def _current(home: Path) -> str:
    """The folder name of the generation that answers; empty while the first one is built."""
    return layout.current(home).name if (home / "CURRENT").exists() else ""


def _remove_next(home: Path) -> None:
    if not home.exists():
        return
    (home / "NEXT").unlink(missing_ok=True)
    handle = os.open(home, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
