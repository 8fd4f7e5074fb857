"""EPUB: the book's pages in reading order, each read as HTML."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from lxml import etree  # type: ignore[import-untyped]

from latewood.ingest.metadata import common
from latewood.ingest.parsing.encoding import decode
from latewood.ingest.parsing.formats.html import add_html, declared_encoding
from latewood.ingest.parsing.formats.xml import local, tree
from latewood.ingest.parsing.gzip_zip import open_archive, read_entry
from latewood.ingest.parsing.text_builder import TextBuilder, one_line, pick_title
from latewood.ingest.types import Parsed, ParseError
from latewood.search.types import MetadataValue

_WHAT = "an EPUB book"
_PAGES = ("application/xhtml+xml", "text/html", "text/x-oeb1-document")
_FONT_SCRAMBLING = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")


def read_epub(data: bytes, name: str) -> Parsed:
    """A book: title, author, date and language from its package, text in the order of its spine.

    Raises:
        ParseError: `encrypted` (copy protection), `corrupt` or `too_large`.
    """
    builder = TextBuilder()
    notes: list[str] = []
    with open_archive(data, _WHAT) as archive:
        entries = set(archive.namelist())
        if "META-INF/container.xml" not in entries:
            raise ParseError(
                "corrupt", f"the file is a zip archive, but not {_WHAT}: it has no container.xml"
            )
        if "META-INF/encryption.xml" in entries:
            _refuse_protection(tree(read_entry(archive, "META-INF/encryption.xml")))
        path = _package_path(tree(read_entry(archive, "META-INF/container.xml")))
        if path not in entries:
            raise ParseError("corrupt", f"the book's package file {path!r:.100} is missing")
        package = tree(read_entry(archive, path))
        pages = list(_pages(package, path))
        for page in pages:
            if page not in entries:
                notes.append(f"the page {page:.100} is missing in the book")
                continue
            _add_page(archive, page, builder, notes)
    metadata, stated = _about(package)
    return builder.finish(
        pick_title(name, stated, builder.first_title()), "epub", metadata=metadata, notes=notes
    )


def _add_page(archive: zipfile.ZipFile, page: str, builder: TextBuilder, notes: list[str]) -> None:
    data = read_entry(archive, page)
    if not data.strip():
        return
    try:
        text, _ = decode(data, declared_encoding(data[:4096]))
    except ParseError as error:
        notes.append(f"the page {page:.100} was left out: {error.message}")
        return
    add_html(text, builder)


def _refuse_protection(encryption: Any) -> None:
    """Scrambled fonts are of no concern; any other method means copy protection."""
    for method in encryption.iter(etree.Element):
        if local(method) == "EncryptionMethod" and method.get("Algorithm") not in _FONT_SCRAMBLING:
            raise ParseError("encrypted", "the book is copy-protected; only books without DRM can be read")


def _package_path(container: Any) -> str:
    for element in container.iter(etree.Element):
        if local(element) == "rootfile" and element.get("full-path"):
            return str(element.get("full-path"))
    raise ParseError("corrupt", f"the file is not {_WHAT}: its container names no package file")


def _pages(package: Any, path: str) -> Iterator[str]:
    """Entry names of the pages in reading order, each once; the manifest's order for want of a spine."""
    folder = posixpath.dirname(path)
    items: dict[str, str] = {}
    for item in package.iter(etree.Element):
        if local(item) == "item" and item.get("href") and item.get("media-type") in _PAGES:
            target = unquote(item.get("href").partition("#")[0])
            items[item.get("id") or target] = posixpath.normpath(posixpath.join(folder, target))
    spine = [one.get("idref") for one in package.iter(etree.Element) if local(one) == "itemref"]
    wanted = [items[one] for one in spine if one in items] or list(items.values())
    yield from dict.fromkeys(wanted)


def _about(package: Any) -> tuple[dict[str, MetadataValue], str]:
    values: dict[str, list[str]] = {}
    for element in package.iter(etree.Element):
        if "purl.org/dc/" in element.tag and (text := one_line(element.text or "")):
            values.setdefault(local(element), []).append(text)
    first = {key: found[0] for key, found in values.items()}
    metadata = common(
        author=", ".join(values.get("creator", [])),
        created=first.get("date"),
        language=first.get("language"),
        keywords=list(dict.fromkeys(values.get("subject", []))),
    )
    return metadata, first.get("title", "")
