"""Random edits of two folders, with ingests in between."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from latewood.embedder.types import Floats, ModelDescription, Offsets, SpannedText, Task
from latewood.ingest.index import commit
from latewood.ingest.parsing.parse import parse_bytes
from latewood.ingest.parsing.read_file import read_file
from latewood.ingest.parsing.sandbox.protocol import ParsedFile, Unchanged
from latewood.ingest.pipeline import Index
from latewood.ingest.report import Report
from latewood.ingest.sources.patterns import Selection
from latewood.ingest.sync import SyncOptions, Work, sync
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.stores.base import Store
from latewood.search.types import IndexConfig, StoreUnavailableError

DIMENSION = 8
CONFIG = IndexConfig((DIMENSION,), {"model": "late"})
ANALYZER = Analyzer()
PLACES = (
    "a.txt",
    "b.txt",
    "c.md",
    "d/a.txt",
    "d/e/f.md",
    "d/g.csv",
    "h/a.txt",
    "h/e/f.md",
    ".hid.txt",
    "d/.s/x.md",
    "skip.bin",
    "a.txt/inner.txt",
    "b.txt.meta.json",
    "d/a.txt.meta.json",
)
FOLDERS = ("d", "d/e", "h", "d/.s", "a.txt")
_LONG = "".join(
    f"## Part {part}\n\n" + "The ferry leaves at dawn when the tide is high. " * 6 + "\n\n"
    for part in range(3)
)
CONTENTS = (
    b"The keeper counts ships.\n",
    b"The keeper counts seals.\n",  # as long as the one before
    ("# Log\n\n" + _LONG).encode(),
    ("# Lag\n\n" + _LONG).encode(),
    b"name,port\nAda,Leith\nBob,Wick\n",
    b"---\ntitle: The lamp\ntags: [light, sea]\n---\nIt burns all night.\n",
    b'{"team": "north", "year": 2025}',
    b"",
    b" \n\n ",
    bytes(range(256)) * 4,  # no text
)
SELECTIONS = (
    Selection(),
    Selection(),
    Selection(hidden=True),
    Selection(include=("*.txt",)),
    Selection(exclude=("d/",)),
    Selection(include=("d/", "/c.md"), exclude=("*.csv",), hidden=True),
    Selection(exclude=("*",)),
)


class LateEmbedder:
    """Vectors of a passage depend on the whole text, so that rows of another document would be noticed."""

    description = ModelDescription("late", "1", "mean", 512, (DIMENSION,), "none", "any", 1.0)
    fingerprint: Mapping[str, str] = {"model": "late"}
    recorded: Mapping[str, str] = {"context": "1.0"}
    dimension = DIMENSION

    def token_offsets(self, text: str) -> Offsets:
        return _offsets(text)

    def embed_documents(
        self,
        documents: Sequence[SpannedText],
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[float], object] | None = None,
    ) -> list[Floats]:
        return [np.stack([vector(one.text, s.start, s.end) for s in one.spans]) for one in documents]

    def embed_texts(self, texts: Sequence[str], task: Task) -> Floats:
        return np.stack([vector(text, 0, len(text)) for text in texts])

    def close(self) -> None:
        """Nothing is held."""


@lru_cache(maxsize=4096)
def _offsets(text: str) -> Offsets:
    ends = [place for place, mark in enumerate(text) if mark.isspace()] + [len(text)]
    starts = [0, *(end + 1 for end in ends[:-1])]
    spans = [(start, end) for start, end in zip(starts, ends, strict=True) if start < end]
    return np.array(spans, dtype=np.int64).reshape(-1, 2)


@lru_cache(maxsize=4096)
def vector(text: str, start: int, end: int) -> Floats:
    seed = zlib.crc32(f"{start} {end} {text}".encode("utf-8", "surrogatepass"))
    row = np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)
    return row / np.linalg.norm(row)


class Parsing:
    """Parses in this process."""

    def parse(
        self, path: str, known_hash: str | None = None, name: str | None = None, member: str | None = None
    ) -> Any:
        assert not member, "no archives here"
        data, stamp = read_file(path, name or Path(path).name, 10**9)
        content_hash = hashlib.sha256(data).hexdigest()
        if content_hash == known_hash:
            return Unchanged(content_hash, stamp)
        return ParsedFile(parse_bytes(data, name or Path(path).name), content_hash, stamp)


class Dying:
    """A store whose writes fail after a number of them, as if the process had been killed there."""

    def __init__(self, store: Store, writes: int) -> None:
        self._store = store
        self._left = writes

    def __getattr__(self, name: str) -> Any:
        if name in {"put_manifests", "put_chunks", "put_records", "put_info", "sweep"}:
            self._left -= 1
            if self._left < 0:
                raise StoreUnavailableError("killed")
        return getattr(self._store, name)


def index_of(store: Store) -> Index:
    return Index("default", "default", store, LateEmbedder, ANALYZER, 24)


# --- edits --------------------------------------------------------------------------------------------------

Edit = tuple[str, int, int, int]

KINDS = (
    "write",
    "write",
    "rewrite",
    "back",
    "touch",
    "rename",
    "copy",
    "swap",
    "remove",
    "move_folder",
    "copy_folder",
    "remove_folder",
    "select",
    "wait",
    "ingest",
    "ingest",
    "ingest",
    "stop",
    "die",
)
EDITS = st.tuples(st.sampled_from(KINDS), st.integers(0, 2**16), st.integers(0, 2**16), st.integers(0, 2**16))
SCRIPTS = st.lists(EDITS, min_size=4, max_size=24)


@dataclass(slots=True)
class World:
    """Two folders, the store that follows them, and the patterns of the next ingest."""

    home: Path
    store: Store
    parser: Any
    grain_s: float
    selection: Selection = field(default_factory=Selection)

    def __post_init__(self) -> None:
        for root in self.roots:
            root.mkdir(parents=True, exist_ok=True)

    @property
    def roots(self) -> list[Path]:
        return [self.home / "one", self.home / "two"]

    def apply(self, edit: Edit) -> None:
        getattr(self, edit[0])(*edit[1:])

    def ingest_all(self) -> None:
        for root in self.roots:
            self._sync(root, self.store)

    def mend(self) -> None:
        """Rewrite every file that cannot be read."""
        for root in self.roots:
            for path in root.rglob("*"):
                if path.is_file() and path.suffix != ".bin" and path.read_bytes() == CONTENTS[-1]:
                    path.write_bytes(CONTENTS[0])

    def write(self, place: int, content: int, root: int) -> None:
        path = self._path(place, root)
        _clear_way(path)
        path.write_bytes(CONTENTS[content % len(CONTENTS)])

    def rewrite(self, place: int, content: int, root: int) -> None:
        """Change a file in place and leave its time as it was; most often also its size."""
        path = self._existing(place, root)
        if path is None:
            return
        before = path.stat()
        partner = {CONTENTS[0]: 1, CONTENTS[1]: 0, CONTENTS[2]: 3, CONTENTS[3]: 2}
        path.write_bytes(CONTENTS[partner.get(path.read_bytes(), content % len(CONTENTS))])
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def back(self, place: int, content: int, root: int) -> None:
        """Change a file, perhaps ingest, and change it back: same bytes, same time."""
        path = self._existing(place, root)
        if path is None:
            return
        before, data = path.stat(), path.read_bytes()
        path.write_bytes(CONTENTS[content % len(CONTENTS)])
        if content % 2:
            self.ingest(root, 0, 0)
        path.write_bytes(data)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def touch(self, place: int, when: int, root: int) -> None:
        path = self._existing(place, root)
        if path is not None:
            os.utime(path, (0, (1, 10**9, 4 * 10**9)[when % 3]))

    def rename(self, place: int, other: int, root: int) -> None:
        path, target = self._existing(place, root), self._path(other, root + place % 2)
        if path is not None and path != target and path not in target.parents:
            aside = path.rename(self.home / "aside")
            _clear_way(target)
            aside.rename(target)

    def copy(self, place: int, other: int, root: int) -> None:
        path, target = self._existing(place, root), self._path(other, root + place % 2)
        if path is not None and path != target and path not in target.parents:
            aside = Path(shutil.copy2(path, self.home / "aside"))
            _clear_way(target)
            aside.rename(target)

    def swap(self, place: int, other: int, root: int) -> None:
        one, two = self._existing(place, root), self._existing(other, root)
        if one is not None and two is not None and one != two:
            aside = self.home / "aside"
            one.rename(aside)
            two.rename(one)
            aside.rename(two)

    def remove(self, place: int, _: int, root: int) -> None:
        path = self._existing(place, root)
        if path is not None:
            path.unlink()

    def move_folder(self, folder: int, other: int, root: int) -> None:
        path = self._root(root) / FOLDERS[folder % len(FOLDERS)]
        target = self._root(root) / FOLDERS[other % len(FOLDERS)]
        if path.is_dir() and path != target and path not in target.parents and target not in path.parents:
            _clear_way(target)
            path.rename(target)

    def copy_folder(self, folder: int, other: int, root: int) -> None:
        path = self._root(root) / FOLDERS[folder % len(FOLDERS)]
        target = self._root(root + 1) / FOLDERS[other % len(FOLDERS)]
        if path.is_dir():
            aside = Path(shutil.copytree(path, self.home / "aside"))
            _clear_way(target)
            aside.rename(target)

    def remove_folder(self, folder: int, _: int, root: int) -> None:
        path = self._root(root) / FOLDERS[folder % len(FOLDERS)]
        if path.is_dir():
            shutil.rmtree(path)

    def select(self, which: int, _: int, __: int) -> None:
        self.selection = SELECTIONS[which % len(SELECTIONS)]

    def wait(self, _: int, __: int, ___: int) -> None:
        """Let the clock's grain pass, so that stamps are believed."""
        time.sleep(self.grain_s)

    def ingest(self, root: int, _: int, __: int) -> None:
        self._sync(self._root(root), self.store)

    def stop(self, root: int, after: int, _: int) -> None:
        """An ingest that is stopped on the way."""
        asked: list[int] = []

        def stopping() -> bool:
            asked.append(1)
            return len(asked) > after % 12

        self._sync(self._root(root), self.store, stopping)

    def die(self, root: int, after: int, _: int) -> None:
        """An ingest that is killed on the way; the next owner settles what is in flight."""
        dying: Any = Dying(self.store, after % 12)
        try:
            self._sync(self._root(root), dying)
        except StoreUnavailableError:
            commit.recover(self.store)

    def _sync(self, root: Path, store: Store, stop: Callable[[], bool] = lambda: False) -> Report:
        return ingest_folder(store, root, self.selection, self.parser, stop)

    def _root(self, number: int) -> Path:
        return self.roots[number % 2]

    def _path(self, place: int, root: int) -> Path:
        return self._root(root) / PLACES[place % len(PLACES)]

    def _existing(self, place: int, root: int) -> Path | None:
        files = sorted(path for path in self._root(root).rglob("*") if path.is_file())
        return files[place % len(files)] if files else None


def ingest_folder(
    store: Store, root: Path, selection: Selection, parser: Any, stop: Callable[[], bool] = lambda: False
) -> Report:
    work = Work(parser, lambda report: None, stop)
    options = SyncOptions(allow_empty=True, selection=selection)
    return sync(lambda: index_of(store), str(root), options, work)


def _clear_way(path: Path) -> None:
    """Make room for a file or folder: what stands in its place, or is a file on the way to it, goes."""
    for above in reversed(path.parents):
        if above.is_file():
            above.unlink()
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
