"""The further formats: structure, metadata, and what is odd about each."""

from __future__ import annotations

import gzip
import io
import json
import random
import zipfile

import pytest

from latewood.ingest.parsing.parse import parse_bytes
from latewood.ingest.types import ElementKind, Parsed, ParseError

ABOUT = {"author": "Ann Müller", "created": "2024-01-02"}


def read(fixtures, name: str) -> Parsed:
    return parse_bytes((fixtures / name).read_bytes(), name)


def of(parsed: Parsed, kind: ElementKind) -> list[str]:
    return [parsed.text[one.start : one.end] for one in parsed.elements if one.kind is kind]


def headings(parsed: Parsed) -> list[tuple[int, str]]:
    return [
        (one.depth, parsed.text[one.start : one.end])
        for one in parsed.elements
        if one.kind is ElementKind.TITLE
    ]


def repacked(data: bytes, **changed: str | bytes) -> bytes:
    """A zip archive with some members' bytes replaced; names with `__` for `/` and `_dot_` for a dot."""
    new = {name.replace("__", "/").replace("_dot_", "."): value for name, value in changed.items()}
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in old.namelist():
            archive.writestr(name, new.get(name, old.read(name)))
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "kind", "title", "metadata"),
    [
        ("mill.rtf", "rtf", "The Mill", {**ABOUT, "keywords": ["oak", "ash"]}),
        (
            "mill.odt",
            "odt",
            "The Mill",
            {**ABOUT, "created": "2024-01-02T03:04:05", "keywords": ["oak"], "language": "de"},
        ),
        ("mill.epub", "epub", "The Mill", {**ABOUT, "keywords": ["oak"], "language": "en"}),
        ("mill.rst", "rst", "The Mill", ABOUT),
        ("mill.org", "org", "The Mill", {**ABOUT, "language": "en"}),
        ("mill.xml", "xml", "The Mill", {**ABOUT, "language": "en"}),
        ("feed.xml", "xml", "The Mill", {"author": "Ann", "language": "en"}),
        ("mill.ipynb", "ipynb", "The Mill", {"author": "Ann Müller"}),
        ("mill.log", "log", "mill", {}),
        ("mill.md.gz", "markdown", "The Mill", {}),
    ],
)
def test_title_author_date_and_language_come_from_the_file(name, kind, title, metadata, fixtures):
    parsed = read(fixtures, name)
    assert (parsed.kind, parsed.title, dict(parsed.metadata)) == (kind, title, metadata)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mill.rtf", [(1, "Grinding"), (2, "Prices")]),
        ("mill.odt", [(1, "Grinding"), (2, "Prices")]),
        ("mill.epub", [(1, "Grinding"), (2, "Prices")]),
        ("mill.rst", [(1, "The Mill"), (2, "Grinding")]),
        ("mill.org", [(1, "The Mill"), (1, "Grinding"), (2, "Prices")]),
        ("mill.xml", [(1, "The Mill"), (2, "Grinding"), (3, "Prices")]),
        ("feed.xml", [(1, "The Mill"), (2, "Grinding"), (2, "Prices")]),
    ],
)
def test_headings_have_their_depth(name, expected, fixtures):
    assert headings(read(fixtures, name)) == expected


@pytest.mark.parametrize(
    "name",
    [
        "mill.rtf",
        "mill.odt",
        "mill.ods",
        "mill.epub",
        "mill.rst",
        "mill.org",
        "mill.xml",
        "mill.ipynb",
        "mill.tsv",
    ],
)
def test_a_table_is_rows_with_its_header(name, fixtures):
    (table,) = [one for one in read(fixtures, name).elements if one.kind is ElementKind.TABLE]
    assert table.header == "Grain | Price"


@pytest.mark.parametrize(
    "name", ["mill.rtf", "mill.odt", "mill.epub", "mill.rst", "mill.org", "mill.xml", "mill.ipynb"]
)
def test_code_is_code(name, fixtures):
    assert of(read(fixtures, name), ElementKind.CODE)[0 if name != "mill.rst" else -1].startswith("x = 1")


def test_slides_have_page_numbers(fixtures):
    parsed = read(fixtures, "mill.odp")
    assert [one.page for one in parsed.elements] == [1, 1, 1, 2]
    assert parsed.kind == "odp"


@pytest.mark.parametrize("suffix", ["rtf", "odt", "odp", "ods", "epub", "msg", "ipynb", "txt.gz", "gz"])
def test_garbage_of_a_packed_format_is_corrupt(suffix):
    with pytest.raises(ParseError) as caught:
        parse_bytes(b"garbage that is no such file", f"a.{suffix}")
    assert caught.value.code == "corrupt"


@pytest.mark.parametrize("name", ["mill.odt", "mill.ods", "mill.epub", "mill.msg", "mill.md.gz"])
def test_half_of_a_packed_file_is_corrupt(name, fixtures):
    data = (fixtures / name).read_bytes()
    with pytest.raises(ParseError) as caught:
        parse_bytes(data[: len(data) // 2], name)
    assert caught.value.code == "corrupt"


@pytest.mark.parametrize("name", ["mill.rtf", "mill.rst", "mill.org", "mill.xml", "mill.log"])
def test_half_of_a_plain_file_is_read_as_far_as_it_goes(name, fixtures, whole):
    data = (fixtures / name).read_bytes()
    assert whole(parse_bytes(data[: len(data) // 2], name)).text


@pytest.mark.parametrize(
    "name", ["a.rtf", "a.odt", "a.epub", "a.rst", "a.org", "a.xml", "a.msg", "a.ipynb", "a.log", "a.txt.gz"]
)
def test_an_empty_file_is_skipped(name):
    with pytest.raises(ParseError) as caught:
        parse_bytes(b"", name)
    assert (caught.value.code, caught.value.skipped) == ("empty_file", True)


def test_a_file_without_words_has_no_text(fixtures):
    empty = repacked((fixtures / "mill.odt").read_bytes(), content_dot_xml=b"<a xmlns:o='x'/>")
    for data, name, code in (
        (b"{\\rtf1 }", "a.rtf", "no_text"),
        (b'{"cells": []}', "a.ipynb", "no_text"),
        (b"# only a remark\n", "a.org", "no_text"),
        (gzip.compress(b" \n"), "a.txt.gz", "empty_file"),
        (empty, "a.odt", "corrupt"),
    ):
        with pytest.raises(ParseError) as caught:
            parse_bytes(data, name)
        assert caught.value.code == code, name


def test_rtf_that_is_cut_off_says_so():
    parsed = parse_bytes(b"{\\rtf1 words {\\b bold", "a.rtf")
    assert parsed.text == "words bold"
    assert "cut off" in parsed.notes[0]


def test_rtf_nested_a_hundred_thousand_deep_is_read():
    assert parse_bytes(b"{\\rtf1 " + b"{" * 100_000 + b"deep" + b"}" * 100_001, "a.rtf").text == "deep"


def test_binary_data_in_rtf_is_jumped_over():
    assert parse_bytes(b"{\\rtf1 a{\\pict\\bin4 }}}}}b}", "a.rtf").text == "ab"


@pytest.mark.parametrize("repeat", ["1048576", "9" * 4000, "-1", "many"])
def test_repeated_rows_and_cells_do_not_grow_without_bound(repeat, fixtures):
    content = zipfile.ZipFile(fixtures / "mill.ods").read("content.xml").decode()
    content = content.replace(
        "<table:table-row><table:table-cell><text:p>Rye",
        f'<table:table-row table:number-rows-repeated="{repeat}">'
        f'<table:table-cell table:number-columns-repeated="{repeat}"><text:p>Rye',
    )
    data = repacked((fixtures / "mill.ods").read_bytes(), content_dot_xml=content)
    parsed = parse_bytes(data, "a.ods")
    assert "Rye" in parsed.text
    assert len(parsed.text) < 100_000
    assert bool(parsed.notes) == (repeat == "1048576")


def test_a_page_missing_in_a_book_is_named(fixtures):
    assert read(fixtures, "mill.epub").notes == ("the page OEBPS/gone.xhtml is missing in the book",)


def test_a_page_damaged_in_a_book_is_corrupt(fixtures):
    data = bytearray((fixtures / "mill.epub").read_bytes())
    data[data.index(b"OEBPS/one.xhtml") + 30] ^= 0xFF
    with pytest.raises(ParseError) as caught:
        parse_bytes(bytes(data), "a.epub")
    assert caught.value.code == "corrupt"


def test_a_role_that_one_rst_file_defines_does_not_reach_the_next():
    first = b".. role:: mark\n\n.. default-role:: mark\n\n:mark:`x` and `y`\n"
    assert "x and y" in parse_bytes(first, "a.rst").text
    assert parse_bytes(b"see :mark:`x`\n", "b.rst").text == "see :mark:`x`"


def test_rst_too_deep_or_too_long_is_kept_as_written():
    deep = "\n".join(" " * depth + "* item" for depth in range(0, 1200, 2)).encode()
    assert "kept as written" in parse_bytes(deep, "a.rst").notes[0]
    long = b"Words of no end. " * 70_000
    parsed = parse_bytes(long, "a.rst")
    assert "read as plain text" in parsed.notes[0]
    assert parsed.text == long.decode()


@pytest.mark.parametrize("markup", [b"<a><b>words</a>", b"<a>" * 300 + b"words" + b"</a>" * 300, b"words"])
def test_xml_that_is_not_well_formed_is_kept_as_written(markup):
    parsed = parse_bytes(markup, "a.xml")
    assert parsed.text == markup.decode()
    assert "kept as written" in parsed.notes[0]


def test_a_page_named_xml_is_read_as_a_page():
    data = (
        b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body><h1>Mill</h1></body></html>'
    )
    assert parse_bytes(data, "a.xml").kind == "html"


def test_xml_of_empty_elements_alone_reads_as_its_names_and_attributes():
    assert parse_bytes(b"<mill><sack/><stone/></mill>", "a.xml").text == "mill sack stone"
    assert parse_bytes(b'<mill><sack grain="rye"/></mill>', "a.xml").text == "sack: (grain: rye)"


def test_json_without_cells_is_no_notebook():
    for data in (b"{}", b"[1]", b"nothing"):
        with pytest.raises(ParseError) as caught:
            parse_bytes(data, "a.ipynb")
        assert caught.value.code == "corrupt"


def test_an_old_notebook_keeps_its_cells_in_worksheets():
    cells = [{"cell_type": "heading", "level": 2, "source": "Old"}, {"cell_type": "code", "input": ["x = 1"]}]
    parsed = parse_bytes(json.dumps({"worksheets": [{"cells": cells}]}).encode(), "a.ipynb")
    assert parsed.text == "Old\n\nx = 1"
    assert headings(parsed) == [(2, "Old")]


def test_output_without_end_is_cut_and_said_so():
    output = {"output_type": "stream", "text": "x" * 30_000}
    cells = [{"cell_type": "code", "source": "y", "outputs": [output]}]
    parsed = parse_bytes(json.dumps({"cells": cells}).encode(), "a.ipynb")
    assert len(parsed.text) == 20_003
    assert parsed.notes == ("1 outputs were cut to 20000 characters",)


def test_a_packed_body_of_a_message_is_unpacked():
    """The example of [MS-OXRTFCP], section 4.1."""
    from latewood.ingest.parsing.formats.msg import _unpacked

    packed = (
        "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
    )
    assert _unpacked(bytes.fromhex(packed)) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"


def test_attachments_of_a_message_that_are_no_text_are_named(fixtures):
    assert read(fixtures, "mill.msg").notes == ("attachment not read: stone.png",)


@pytest.mark.parametrize(("unpacked", "taken"), [(1 << 20, True), ((1 << 20) + 1, False)])
def test_gzip_is_unpacked_to_so_many_times_its_size_at_most(unpacked, taken):
    packed = gzip.compress(b"0 " * (unpacked // 2) + b"0" * (unpacked % 2), 9)
    assert len(packed) * 200 < unpacked
    if taken:
        assert len(parse_bytes(packed, "a.log.gz").text) > 1_000_000
        return
    with pytest.raises(ParseError, match="200 times its packed size") as caught:
        parse_bytes(packed, "a.log.gz")
    assert caught.value.code == "too_large"


def test_gzip_stops_where_it_would_unpack_to_too_much():
    bomb = gzip.compress(random.Random(1).randbytes(20_000) * 150)
    with pytest.raises(ParseError) as caught:
        parse_bytes(bomb, "a.txt.gz", max_bytes=2_000_000)
    assert caught.value.code == "too_large"
    assert "2000000" in caught.value.message


def test_gzip_with_a_wrong_sum_is_corrupt():
    data = bytearray(gzip.compress(b"words"))
    data[-6] ^= 1
    with pytest.raises(ParseError) as caught:
        parse_bytes(bytes(data), "a.txt.gz")
    assert caught.value.code == "corrupt"
