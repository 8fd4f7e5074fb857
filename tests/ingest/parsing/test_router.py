from __future__ import annotations

import gzip

import pytest

from latewood.ingest.parsing.router import route, supported_suffixes
from latewood.ingest.types import ParseError


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.txt", "text"),
        ("A.TXT", "text"),
        ("notes.md", "markdown"),
        ("page.htm", "html"),
        ("book.pdf", "pdf"),
        ("letter.docx", "docx"),
        ("talk.pptx", "pptx"),
        ("sums.xlsx", "xlsx"),
        ("rows.csv", "csv"),
        ("data.json", "json"),
        ("lines.jsonl", "jsonl"),
        ("mail.eml", "eml"),
        ("main.rs", "code"),
        ("feed.xml", "xml"),
        ("schema.xsd", "code"),
        ("letter.rtf", "rtf"),
        ("letter.odt", "odf"),
        ("talk.odp", "odf"),
        ("sums.ods", "odf"),
        ("book.epub", "epub"),
        ("guide.rst", "rst"),
        ("notes.org", "org"),
        ("mail.msg", "msg"),
        ("study.ipynb", "notebook"),
        ("server.log", "log"),
        ("notes.md.gz", "markdown"),
        ("A.TXT.GZ", "text"),
        ("Makefile", "code"),
        ("Dockerfile", "code"),
        ("folder.d/README.md", "markdown"),
    ],
)
def test_the_suffix_chooses_the_reader(name, kind):
    assert route(name, b"") == kind


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"%PDF-1.7\n%\xe2\xe3", "pdf"),
        (b"\n <!DOCTYPE html><html>", "html"),
        (b"<!-- made by hand -->\n<HTML lang=en>", "html"),
        ("reine Textdatei, größer".encode(), "text"),
        ("abgeschnitten ü".encode()[:-1], "text"),
        ("utf-16".encode("utf-16"), "text"),
    ],
)
def test_a_file_without_a_suffix_is_known_by_its_first_bytes(head, kind):
    assert route("README", head) == kind


@pytest.mark.parametrize(
    "name", ["photo.png", "backup.zip", "tool.exe", "image.tar.gz", "a.txt.gz.gz", "a.tgz", "\udcff.\udcfe"]
)
def test_a_kind_without_a_reader_is_skipped(name):
    with pytest.raises(ParseError) as caught:
        route(name, b"")
    assert (caught.value.code, caught.value.skipped) == ("unsupported_kind", True)
    caught.value.message.encode()


@pytest.mark.parametrize("name", ["old.doc", "old.xls", "old.ppt"])
def test_legacy_office_files_are_skipped_with_the_way_out(name):
    with pytest.raises(ParseError, match="LibreOffice") as caught:
        route(name, b"\xd0\xcf\x11\xe0")
    assert (caught.value.code, caught.value.skipped) == ("unsupported_kind", True)


def test_what_gzip_packed_is_known_by_its_own_first_bytes():
    assert route("README.gz", gzip.compress(b"<html><p>x")) == "html"
    with pytest.raises(ParseError, match="suffix"):
        route("README.gz", gzip.compress(b"\x7fELF\x00\x00"))


def test_another_archive_is_skipped_with_the_way_out():
    with pytest.raises(ParseError, match=r"A \.zip is read .* unpack it into such a folder"):
        route("a.7z", b"")


def test_a_binary_without_a_suffix_is_skipped():
    with pytest.raises(ParseError) as caught:
        route("core", b"\x7fELF\x02\x01\x01\x00\x00\x00\x00")
    assert (caught.value.code, caught.value.skipped) == ("unsupported_kind", True)


def test_the_supported_suffixes_all_have_a_reader():
    assert {".txt", ".md", ".pdf", ".docx", ".eml", ".py"} <= set(supported_suffixes())
    assert all(route("x" + suffix, b"") for suffix in supported_suffixes())
