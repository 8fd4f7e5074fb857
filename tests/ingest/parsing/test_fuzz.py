"""Damaged files of every kind: each ends as a whole document or with a known code, and nothing outlives it.

An assertion names the file: its seed, and the fixture it was made of; `Corpus(fixtures).damaged(seed)` makes
it again.
"""

from __future__ import annotations

import gc
import io
import random
import re
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from latewood.ingest.metadata import fault_of
from latewood.ingest.parsing.sandbox.pool import ParserPool
from latewood.ingest.parsing.sandbox.protocol import ParsedFile
from latewood.ingest.parsing.zip_archive import Member
from latewood.ingest.types import Document, Parsed, ParseError

CODES = {
    "empty_file", "unsupported_kind", "not_text", "no_text", "encrypted", "corrupt", "scanned", "too_deep",
    "too_large", "out_of_memory", "timeout",
}  # fmt: skip
HANG_S = 300.0  # far beyond any deadline


def outcomes(
    seeds: range, folder: Path, corpus: Corpus, pool: ParserPool, whole: Callable[[Parsed], Parsed]
) -> Iterator[str]:
    """What became of each damaged file: `document` or a code; asserts what holds for all."""
    with ThreadPoolExecutor(2) as threads:
        answers = threads.map(
            lambda seed: outcome(seed, folder, corpus, pool, whole), seeds, timeout=HANG_S * len(seeds)
        )
        yield from answers


def outcome(
    seed: int, folder: Path, corpus: Corpus, pool: ParserPool, whole: Callable[[Parsed], Parsed]
) -> str:
    name, data = corpus.damaged(seed)
    path = folder / name
    path.write_bytes(data)
    failure: ParseError | None = None
    try:
        answer = pool.parse(str(path))
    except ParseError as error:
        failure = error
    finally:
        path.unlink()
    if failure is None:
        assert isinstance(answer, ParsedFile), name
        check(answer.parsed, name, whole)
        return "document"
    assert failure.code in CODES, f"{name}: {failure.code}: {failure.message}"
    assert failure.message.encode("utf-8").strip(), name
    assert failure.skipped == (failure.code in ("empty_file", "unsupported_kind")), name
    return failure.code


def check(parsed: Parsed, name: str, whole: Callable[[Parsed], Parsed]) -> None:
    """What every document promises, however damaged its file was."""
    try:
        whole(parsed)
        Document("id", "uri", "source", parsed.title, parsed.kind, parsed.text, parsed.elements, "hash")
    except (AssertionError, ValueError) as error:
        raise AssertionError(f"{name}: {error}") from error
    assert parsed.title.strip(), name
    assert all(one.depth in range(7) and (one.page or 1) >= 1 for one in parsed.elements), name
    for key, value in parsed.metadata.items():
        assert fault_of(key, value) == "", name
    for words in (*parsed.notes, *(one.header for one in parsed.elements)):
        words.encode("utf-8")


# --- the files -------------------------------------------------------------------------------------------

LIMIT = 4_000_000  # bytes of a damaged file: time is spent on odd files, not on long ones
_NESTING = (
    (b"<div>", b"</div>"),
    (b"<table><tr><td>", b"</td></tr></table>"),
    (b"<ul><li>", b"</li></ul>"),
    (b"<a>", b"</a>"),
    (b"[", b"]"),
    (b'{"a":', b"}"),
    (b"{\\b ", b"}"),
    (b"> ", b""),
    (b"- ", b""),
    (b"*", b""),
    (b"  * x\n\n", b""),
    (b"#+begin_quote\n", b"#+end_quote\n"),
    (b"---\n", b"---\n"),
    (b"`", b"`"),
    (b"(", b")"),
    (b"<![CDATA[", b"]]>"),
)
_ODD_TEXT = (
    "\x00", "\ud800", "\ufeff", "\u2028", "\u202e", "\u200d", "\U0001f468\u200d\U0001f469", "e\u0301" * 50,
    "\x1b[31m", "\x85", "\x0b\x0c", "\ufffe", "&#0;", "&#xD800;", "&#x110000;", "%00", "\\u-1?", "\\'00",
    "=?utf-8?b?AA?=",
)  # fmt: skip
_ODD_NUMBERS = (b"0", b"-1", b"99999999999", b"1e999", b"NaN", b"-0", b"4294967296", b"9" * 400, b"9" * 5000)
_MARKUP = (".xml", ".xhtml", ".html", ".opf", ".rels")


class Corpus:
    """Files to damage, and how."""

    def __init__(self, folder: Path) -> None:
        self._files = sorted(
            (path for path in folder.iterdir() if path.is_file() and path.suffix not in (".py", ".pyc")),
            key=lambda path: path.name,
        )

    def damaged(self, seed: int) -> tuple[str, bytes]:
        """A name and bytes: one file after the other, each damaged in one to three ways."""
        chance = random.Random(seed)
        path = self._files[seed % len(self._files)]
        name, data = path.name, path.read_bytes()
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            way = chance.choice(_WAYS)
            data = self._spliced(data, chance) if way is None else way(data, chance)
            data = data[:LIMIT]
        if chance.random() < 0.05:
            name = f"other{chance.choice(self._files).suffix}"
        return f"{seed}-{name}", data

    def _spliced(self, data: bytes, chance: random.Random) -> bytes:
        other = chance.choice(self._files).read_bytes()
        return data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other) + 1) :]


def _flipped(data: bytes, chance: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(chance.choice((1, 4, 64)) if out else 0):
        out[chance.randrange(len(out))] ^= 1 << chance.randrange(8)
    return bytes(out)


def _truncated(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _repeated(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data) + 1)
    block = data[start : start + chance.choice((1, 10, 200, 5000))]
    times = min(chance.choice((2, 50, 5000, 200_000)), 2_000_000 // max(len(block), 1))
    return data[:start] + block * times + data[start:]


def _unicode(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    odd = "".join(chance.choice(_ODD_TEXT) for _ in range(chance.choice((1, 5, 100))))
    wide = "".join(chr(chance.randrange(0x110000)) for _ in range(chance.choice((0, 20))))
    encoding = chance.choice(("utf-8", "utf-8", "utf-16", "utf-32"))
    return data[:at] + (odd + wide).encode(encoding, "surrogatepass") + data[at:]


def _nested(data: bytes, chance: random.Random) -> bytes:
    opening, closing = chance.choice(_NESTING)
    depth = chance.choice((10, 300, 3000, 100_000))
    at = chance.randrange(len(data) + 1)
    closed = closing * depth if chance.random() < 0.5 else b""
    return data[:at] + opening * depth + b"deep" + closed + data[at:]


def _numbered(data: bytes, chance: random.Random) -> bytes:
    numbers = list(re.finditer(rb"\d+", data))
    if not numbers:
        return data
    for found in sorted(chance.sample(numbers, min(len(numbers), 3)), key=lambda one: -one.start()):
        data = data[: found.start()] + chance.choice(_ODD_NUMBERS) + data[found.end() :]
    return data


def _without_lines(data: bytes, chance: random.Random) -> bytes:
    lines = data.split(b"\n")
    chance.shuffle(lines)
    return b"\n".join(lines[: chance.randrange(len(lines)) + 1])


def _repacked(data: bytes, chance: random.Random) -> bytes:
    """A zip archive whose members are damaged, then packed again with right sums; others are cut."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as old:
            members = [(name, old.read(name)) for name in old.namelist()]
    except (zipfile.BadZipFile, NotImplementedError, OSError, RuntimeError, ValueError, zlib.error):
        return _truncated(data, chance)
    ways: list[_Way] = [_flipped, _truncated, _repeated, _unicode, _nested, _numbered]
    wanted = {chance.randrange(len(members)) for _ in range(2)} if members else set()
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")
        for index, (name, content) in enumerate(members):
            markup = name.endswith(_MARKUP) and chance.random() < 0.3
            if index in wanted or markup:
                content = chance.choice(ways)(content, chance)  # noqa: PLW2901
            if not (index in wanted and chance.random() < 0.1):
                # Without the time of day: a seed gives the same bytes whenever it is used.
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


_Way = Callable[[bytes, random.Random], bytes]
_WAYS: tuple[_Way | None, ...] = (
    _flipped, _flipped, _truncated, _repeated, _unicode, _nested, _numbered, _without_lines,
    _repacked, _repacked, None,
)  # fmt: skip


# --- the tests -------------------------------------------------------------------------------------------


def test_a_hundred_damaged_files_end_as_documents_or_with_a_code(tmp_path, fixtures, whole):
    with ParserPool(2, deadline_s=60) as pool:
        counts = Counter(outcomes(range(100), tmp_path, Corpus(fixtures), pool, whole))
    assert counts.total() == 100
    assert counts["document"] >= 30
    assert counts["corrupt"] >= 5


@pytest.mark.soak
def test_two_thousand_damaged_files_leave_the_parent_as_it_was(tmp_path, fixtures, whole):
    corpus, me = Corpus(fixtures), psutil.Process()
    with ParserPool(2, deadline_s=10) as pool:
        counts = Counter(outcomes(range(1000, 1500), tmp_path, corpus, pool, whole))
        gc.collect()
        before = me.memory_info().rss
        counts += Counter(outcomes(range(1500, 3000), tmp_path, corpus, pool, whole))
        gc.collect()
        assert me.memory_info().rss - before < 64 * 1024**2
        assert len(pool._children) <= 2
    assert not [
        child for child in me.children() if "latewood.ingest.parsing.sandbox.worker" in child.cmdline()
    ]
    assert counts.total() == 2000
    assert counts["document"] >= 600
    assert counts["timeout"] <= 40


def test_damaged_archives_list_their_members_and_read_them_or_say_why(tmp_path, fixtures, pool):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in ("mill.rst", "mill.odt", "table.html", "mill.md.gz"):
            packed.write(fixtures / name, f"inner/{name}")
    ways: tuple[_Way, ...] = (_flipped, _flipped, _flipped, _truncated, _repeated, _unicode, _numbered)
    path, ends = tmp_path / "a.zip", Counter[str]()
    for seed in range(100):
        chance = random.Random(seed)
        path.write_bytes(chance.choice(ways)(archive.getvalue(), chance))
        try:
            members = pool.list_members(str(path))
        except ParseError as error:
            ends[f"unlisted: {error.code}"] += 1
            continue
        assert len({one.name for one in members}) == len(members)
        for member in members:
            ends[_end_of(pool, path, member)] += 1
    assert ends["document"] >= 50
    assert ends["corrupt"] >= 5
    unlisted = {end: count for end, count in ends.items() if end.startswith("unlisted")}
    assert set(unlisted) <= {"unlisted: corrupt", "unlisted: too_large"}
    assert sum(unlisted.values()) >= 5


def _end_of(pool: ParserPool, path: Path, member: Member) -> str:
    failure: ParseError | None = None
    try:
        answer = pool.parse(str(path), member=member.name)
    except ParseError as error:
        failure = error
    if failure is None:
        assert isinstance(answer, ParsedFile)
        return "document"
    assert failure.code in {*CODES, "unsafe_name", "not_a_file"}, failure.message
    assert not member.code or (failure.code, failure.skipped) == (member.code, member.skipped)
    return failure.code


def test_a_seed_gives_the_same_file_again(fixtures):
    first, again = Corpus(fixtures), Corpus(fixtures)
    assert [first.damaged(seed) for seed in range(50)] == [again.damaged(seed) for seed in range(50)]
