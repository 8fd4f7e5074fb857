"""A folder of real files to ingest: HTML, Markdown and text as found on this machine, DOCX made of such text.

    python -m benchmarks.corpus OUT [--from FOLDER ...] [--each 100]

The same folders give the same files: they are chosen in the order of a hash of their path, one of each
content. Nothing is downloaded, and nothing of what is found is part of the project.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from docx import Document as Docx

KINDS = {"html": (".html", ".htm"), "md": (".md",), "txt": (".txt",)}
SMALLEST, LARGEST = 1_000, 60_000  # bytes
_SENTENCE = (
    "harbour ferry tide dawn pilot crew engine charger season timetable bridge rope anchor storm island "
    "ticket cabin bicycle passenger winter lighthouse channel signal repair booking fare kitchen deck"
)
_WORDS = _SENTENCE.split()
_PARAGRAPHS = re.compile(r"\n\s*\n")
_HEADING = re.compile(r"(#{1,6})\s+(.+)")
_NO_XML = re.compile(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Corpus:
    """Where the files lie, and how many there are of each kind."""

    folder: Path
    counts: dict[str, int]

    @property
    def files(self) -> int:
        """All together."""
        return sum(self.counts.values())


def machine_folders() -> list[Path]:
    """Where a Debian or a Python installation keeps documentation; those that are there."""
    found = [Path("/usr/share/doc"), Path("/usr/share"), Path("/usr/lib"), Path(sys.prefix)]
    return [folder for folder in found if folder.is_dir()]


def build(out: Path, folders: Sequence[Path], each: int) -> Corpus:
    """Fill `out` with up to `each` files of each of four kinds from these folders, earlier folders first."""
    out.mkdir(parents=True)
    seen: set[bytes] = set()
    counts: dict[str, int] = {}
    for kind, suffixes in KINDS.items():
        counts[kind] = 0
        for text in _texts(folders, suffixes, seen):
            _place(out, kind, counts[kind]).write_text(text, encoding="utf-8")
            counts[kind] += 1
            if counts[kind] == each:
                break
    counts["docx"] = 0
    for text in _texts(folders, (*KINDS["txt"], *KINDS["md"]), seen):
        if counts["docx"] == each:
            break
        _docx(text, _place(out, "docx", counts["docx"]))
        counts["docx"] += 1
    return Corpus(out, counts)


def build_small(out: Path, files: int, words: int = 60) -> Corpus:
    """Fill `out` with many small text files that are all different: for counting files, not for quality."""
    for number in range(files):
        folder = out / f"{number // 1000:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha512(str(number).encode()).digest()
        chosen = (_WORDS[digest[at % 64] * (at + 7) % len(_WORDS)] for at in range(words))
        (folder / f"{number:06d}.txt").write_text(f"Note {number}. {' '.join(chosen)}.\n", encoding="utf-8")
    return Corpus(out, {"txt": files})


def _place(out: Path, kind: str, number: int) -> Path:
    folder = out / kind
    folder.mkdir(exist_ok=True)
    return folder / f"{number:04d}.{kind}"


def _texts(folders: Sequence[Path], suffixes: Sequence[str], seen: set[bytes]) -> Iterator[str]:
    """UTF-8 texts of files with these suffixes whose content was not seen yet."""
    for folder in folders:
        found = [path for path in _walk(folder) if path.suffix.lower() in suffixes]
        for path in sorted(found, key=lambda one: hashlib.sha256(os.fsencode(one)).digest()):
            content = _content(path)
            digest = hashlib.sha256(content).digest()
            if digest in seen or not SMALLEST <= len(content) <= LARGEST:
                continue
            try:
                text = content.decode("utf-8")
            except UnicodeDecodeError:
                continue
            seen.add(digest)
            yield text


def _walk(folder: Path) -> Iterator[Path]:
    for where, _, names in os.walk(folder):
        for name in names:
            yield Path(where) / name


def _content(path: Path) -> bytes:
    """The bytes; none of what is no plain file, is too large or may not be read."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
            return b""
        return path.read_bytes()
    except OSError:
        return b""


def _docx(text: str, path: Path) -> None:
    """Paragraphs and headings of a text as a Word document."""
    document = Docx()
    for paragraph in _PARAGRAPHS.split(_NO_XML.sub(" ", text)):
        heading = _HEADING.fullmatch(paragraph.strip())
        if heading:
            document.add_heading(heading[2], level=len(heading[1]))
        elif paragraph.strip():
            document.add_paragraph(" ".join(paragraph.split()))
    document.save(str(path))


def main(arguments: Sequence[str] | None = None) -> None:
    """Build a corpus and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--from", dest="folders", type=Path, nargs="+", default=None)
    parser.add_argument("--each", type=int, default=100, help="files of each kind")
    chosen = parser.parse_args(arguments)
    corpus = build(chosen.out, chosen.folders or machine_folders(), chosen.each)
    print(f"{corpus.files} files in {corpus.folder}: {corpus.counts}")


if __name__ == "__main__":
    main()
