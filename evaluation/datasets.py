"""Judged data: documents, questions, and which documents, passages and characters answer them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from latewood.evaluation.dataset_files import (
    DatasetError,
    DatasetNotFoundError,
    Judgements,
    Line,
    find,
    json_lines,
    judgements,
)
from latewood.ingest.parsing.formats.text import paragraphs
from latewood.ingest.parsing.parse import parse_bytes
from latewood.ingest.types import Document, ParseError, document_id

UNITS = ("document", "passage")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class GoldSpan:
    """Where an answer stands: str indices into the text of the document with that key, end exclusive."""

    document: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class GoldPassage:
    """A passage of the set's own: its id and where it begins; it reaches to where the next one begins."""

    id: str
    start: int


@dataclass(frozen=True, slots=True)
class Dataset:
    """A judged collection. Keys are the set's own ids.

    Attributes:
        documents: in the set's order; those without text are left out and named in `notes`.
        queries: every question of the set, judged or not.
        qrels, passage_qrels: grades of documents and of passages, of one split.
        spans: gold spans by query.
        passages: by document, in order of `start`.
        notes: what a reader should know of how the set was read.
    """

    name: str
    documents: Mapping[str, Document]
    queries: Mapping[str, str]
    qrels: Judgements
    spans: Mapping[str, tuple[GoldSpan, ...]]
    passages: Mapping[str, tuple[GoldPassage, ...]]
    passage_qrels: Judgements
    notes: tuple[str, ...] = ()

    def judged(self, unit: str) -> Judgements:
        """Grades for a unit, of the queries that have something relevant.

        Raises:
            DatasetError: an unknown unit, or a set that was not judged by it.
        """
        if unit not in UNITS:
            raise DatasetError(f"unit {unit!r} is not known; one of: {', '.join(UNITS)}")
        graded = self.qrels if unit == "document" else self.passage_qrels
        telling = {query: grades for query, grades in graded.items() if max(grades.values()) > 0}
        if not telling:
            missing = "passages.jsonl and qrels_passage/" if unit == "passage" else "a relevant document"
            raise DatasetError(f"{self.name} cannot be scored by {unit}: its split has no {missing}")
        return telling

    @property
    def content_hash(self) -> str:
        """sha256 over documents and passages: what an index of this set depends on."""
        digest = hashlib.sha256()
        for key, document in self.documents.items():
            begins = [(passage.id, passage.start) for passage in self.passages.get(key, ())]
            parts = [key, document.title, document.text, repr(document.elements), repr(begins)]
            digest.update(json.dumps(parts).encode("ascii"))
        return digest.hexdigest()


def read_dataset(folder: Path, split: str = "dev") -> Dataset:
    """Read a judged set in the BEIR layout.

    `corpus.jsonl` (`_id, title, text`), `queries.jsonl` (`_id, text`) and `qrels/SPLIT.tsv`; where they
    are there also `spans.jsonl`, `passages.jsonl` and `qrels_passage/SPLIT.tsv`. Corpus, queries and passages
    may be gzipped. In place of a corpus file, `META.json` may name a folder of files in any format that can
    be ingested (`{"corpus": "../documents"}`): their ids are their paths, and spans may be quotes.

    Offsets are into `text`. A set without any is read as BEIR's own loaders do: title, blank line, text.

    Raises:
        DatasetNotFoundError: the folder or a file of it is not there.
        DatasetError: a file is not what it should be; names the line.
    """
    if not folder.is_dir():
        raise DatasetNotFoundError(f"no folder {folder}: name a folder that holds queries.jsonl and qrels/")
    card = _card(folder)
    name = str(card.get("name") or folder.resolve().name)
    notes: list[str] = []
    located = any((folder / file).exists() for file in ("spans.jsonl", "passages.jsonl", "passages.jsonl.gz"))
    if "corpus" in card:
        documents = _from_files(name, folder / str(card["corpus"]), notes)
    else:
        documents = _from_lines(name, find(folder, "corpus.jsonl", "corpus.jsonl.gz"), located, notes)
    queries: dict[str, str] = {}
    for line in json_lines(find(folder, "queries.jsonl", "queries.jsonl.gz")):
        _add(queries, line, line.text("_id"), line.text("text"))
    passages = _passages(folder, documents)
    qrels = judgements(folder / "qrels", split)
    _check(qrels, queries, documents.keys() | set(notes), f"qrels/{split}.tsv")
    passage_qrels: Judgements = {}
    if passages and (folder / "qrels_passage").is_dir():
        passage_qrels = judgements(folder / "qrels_passage", split)
        known = {passage.id for group in passages.values() for passage in group}
        _check(passage_qrels, queries, known, f"qrels_passage/{split}.tsv")
    spans = _spans(folder, documents, queries)
    told = (f"left out for want of text ({len(notes)}): {', '.join(notes[:5])}",) if notes else ()
    return Dataset(name, documents, queries, qrels, spans, passages, passage_qrels, told)


def _card(folder: Path) -> Mapping[str, object]:
    path = folder / "META.json"
    if not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON: {error}") from error
    if not isinstance(card, dict):
        raise DatasetError(f"{path} must hold one JSON object")
    return card


def _add(target: dict[str, _T], line: Line, key: str, value: _T) -> None:
    if key in target:
        raise DatasetError(f"{line.place}: _id {key!r} stands there a second time; ids must be distinct")
    target[key] = value


def _from_lines(name: str, path: Path, located: bool, empty: list[str]) -> dict[str, Document]:
    documents: dict[str, Document] = {}
    for line in json_lines(path):
        key, title, text = line.text("_id"), line.text("title", ""), line.text("text")
        if not located and title and not text.casefold().startswith(title.casefold()):
            text = f"{title}\n\n{text}"
        if not text.strip():
            empty.append(key)
            continue
        _add(documents, line, key, _document(name, key, title, text))
    if not documents:
        raise DatasetError(f"{path} holds no document with text")
    return documents


def _document(name: str, key: str, title: str, text: str) -> Document:
    uri = f"upload:{key}"
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
    return Document(
        document_id("evaluation", name, uri), uri, "uploads:", title, "text", text, paragraphs(text), digest
    )


def _from_files(name: str, folder: Path, skipped: list[str]) -> dict[str, Document]:
    if not folder.is_dir():
        raise DatasetNotFoundError(f"no folder {folder}, which META.json names as the corpus")
    documents: dict[str, Document] = {}
    for path in sorted(folder.rglob("*")):
        key = path.relative_to(folder).as_posix()
        if not path.is_file() or any(part.startswith(".") for part in Path(key).parts):
            continue
        data = path.read_bytes()
        try:
            parsed = parse_bytes(data, key)
        except ParseError as error:
            if not error.skipped:
                raise DatasetError(f"{path} cannot be read: {error.message} [{error.code}]") from error
            skipped.append(key)
            continue
        uri = f"upload:{key}"
        documents[key] = Document(
            document_id("evaluation", name, uri),
            uri,
            "uploads:",
            parsed.title,
            parsed.kind,
            parsed.text,
            parsed.elements,
            hashlib.sha256(data).hexdigest(),
        )
    if not documents:
        raise DatasetError(f"{folder} holds no file that can be read")
    return documents


def _passages(folder: Path, documents: Mapping[str, Document]) -> dict[str, tuple[GoldPassage, ...]]:
    found: dict[str, list[GoldPassage]] = {}
    if not any((folder / name).is_file() for name in ("passages.jsonl", "passages.jsonl.gz")):
        return {}
    seen: dict[str, None] = {}
    for line in json_lines(find(folder, "passages.jsonl", "passages.jsonl.gz")):
        key, document = line.text("_id"), _of(documents, line, "doc_id")
        _add(seen, line, key, None)
        start = line.offset("start", len(documents[document].text) - 1)
        found.setdefault(document, []).append(GoldPassage(key, start))
    for key in documents:
        starts = [passage.start for passage in found.get(key, ())]
        if not starts or len(set(starts)) < len(starts):
            what = "no passage" if not starts else "two passages that begin at one place"
            raise DatasetError(f"{folder}: document {key} has {what} in passages.jsonl")
    return {key: tuple(sorted(found[key], key=lambda one: one.start)) for key in documents}


def _of(documents: Mapping[str, Document], line: Line, field: str) -> str:
    key = line.text(field)
    if key not in documents:
        raise DatasetError(f"{line.place}: {field} {key!r} is not a document of the corpus")
    return key


def _spans(
    folder: Path, documents: Mapping[str, Document], queries: Mapping[str, str]
) -> dict[str, tuple[GoldSpan, ...]]:
    found: dict[str, list[GoldSpan]] = {}
    if not (folder / "spans.jsonl").is_file():
        return {}
    for line in json_lines(folder / "spans.jsonl"):
        query = line.text("query_id")
        if query not in queries:
            raise DatasetError(f"{line.place}: query_id {query!r} is not in queries.jsonl")
        found.setdefault(query, []).append(_span(line, documents))
    return {query: tuple(dict.fromkeys(spans)) for query, spans in found.items()}


def _span(line: Line, documents: Mapping[str, Document]) -> GoldSpan:
    document = _of(documents, line, "doc_id" if "doc_id" in line.fields else "document")
    text = documents[document].text
    if "quote" in line.fields:
        quote = line.text("quote")
        if not quote or text.count(quote) != 1:
            times = text.count(quote) if quote else 0
            raise DatasetError(
                f"{line.place}: the quote stands {times} times in {document}; it must stand there exactly "
                "once: quote more, or less, of the text as it is read"
            )
        start = text.index(quote)
        return GoldSpan(document, start, start + len(quote))
    start = line.offset("start", len(text) - 1)
    end = line.offset("end", len(text))
    if end <= start:
        raise DatasetError(f"{line.place}: the span [{start}, {end}) is empty; end is exclusive")
    return GoldSpan(document, start, end)


def _check(graded: Judgements, queries: Iterable[str], known: Iterable[str], name: str) -> None:
    queries, known = set(queries), set(known)
    for query, grades in graded.items():
        if query not in queries:
            raise DatasetError(f"{name} judges query {query!r}, which is not in queries.jsonl")
        for judged in grades.keys() - known:
            raise DatasetError(
                f"{name}: query {query} judges {judged!r}, which is not in the corpus; use the whole corpus"
            )
