from __future__ import annotations

import datetime
import io
import sys
import zipfile

import docx
import pptx
import pytest
from docx.oxml import parse_xml
from pptx.util import Inches

from latewood.ingest.parsing.parse import parse_bytes
from latewood.ingest.parsing.sandbox.pool import ParserPool
from latewood.ingest.types import Parsed, ParseError

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
TEXT_BOX = (
    f'<w:p xmlns:w="{WORD}" xmlns:v="urn:schemas-microsoft-com:vml"><w:r><w:pict><v:shape><v:textbox>'
    "<w:txbxContent><w:p><w:r><w:t>Inside the box</w:t></w:r></w:p></w:txbxContent>"
    "</v:textbox></v:shape></w:pict></w:r></w:p>"
)


def saved(document) -> bytes:
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def pieces(parsed: Parsed) -> list[tuple[str, int, str]]:
    return [(str(e.kind), e.depth, parsed.text[e.start : e.end]) for e in parsed.elements]


def test_only_headings_by_style_are_headings():
    document = docx.Document()
    document.add_heading("第一章", 1)
    document.add_paragraph("短い段落")
    document.add_paragraph("Short Line In Capitals")
    document.add_heading("Below", 3)
    parsed = parse_bytes(saved(document), "d.docx")
    assert pieces(parsed) == [
        ("title", 1, "第一章"),
        ("paragraph", 0, "短い段落"),
        ("paragraph", 0, "Short Line In Capitals"),
        ("title", 3, "Below"),
    ]
    assert parsed.title == "第一章"


def test_list_items_that_follow_each_other_are_one_list():
    document = docx.Document()
    for item in ("ash", "elm"):
        document.add_paragraph(item, style="List Bullet")
    assert pieces(parse_bytes(saved(document), "d.docx")) == [("list", 0, "- ash\n- elm")]


def test_tables_become_rows_with_their_header():
    document = docx.Document()
    table = document.add_table(2, 2)
    for row, cells in zip(table.rows, (("Tree", "Height"), ("ash", "30 m")), strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    parsed = parse_bytes(saved(document), "d.docx")
    (element,) = parsed.elements
    assert (str(element.kind), parsed.text, element.header) == (
        "table",
        "Tree | Height\nash | 30 m",
        "Tree | Height",
    )


def test_text_boxes_headers_and_the_stated_title_are_not_lost():
    document = docx.Document()
    document.core_properties.title = "Forestry"
    document.sections[0].header.paragraphs[0].text = "Running head"
    document.add_paragraph("Body of the letter.")
    document.element.body.insert(1, parse_xml(TEXT_BOX))
    parsed = parse_bytes(saved(document), "d.docx")
    assert parsed.title == "Forestry"
    for words in ("Running head", "Body of the letter.", "Inside the box"):
        assert parsed.text.count(words) == 1


def test_slides_keep_their_number_title_table_and_notes():
    deck = pptx.Presentation()
    for number in (1, 2):
        slide = deck.slides.add_slide(deck.slide_layouts[5])
        slide.shapes.title.text = f"Slide {number}"
        box = slide.shapes.add_textbox(Inches(1), Inches(2), Inches(3), Inches(1))
        box.text_frame.text = f"Text {number}"
        table = slide.shapes.add_table(2, 2, Inches(1), Inches(4), Inches(3), Inches(1)).table
        for row, cells in enumerate((("k", "v"), ("a", "b"))):
            for column, text in enumerate(cells):
                table.cell(row, column).text = text
        slide.notes_slide.notes_text_frame.text = f"Say {number}"
    parsed = parse_bytes(saved(deck), "deck.pptx")
    shown = [(e.page, str(e.kind), parsed.text[e.start : e.end]) for e in parsed.elements]
    assert shown == [
        (number, kind, text)
        for number in (1, 2)
        for kind, text in (
            ("title", f"Slide {number}"),
            ("paragraph", f"Text {number}"),
            ("table", "k | v\na | b"),
            ("paragraph", f"Say {number}"),
        )
    ]
    assert parsed.title == "Slide 1"


def test_text_off_the_slide_is_kept():
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[6])
    box = slide.shapes.add_textbox(Inches(-3), Inches(-3), Inches(2), Inches(1))
    box.text_frame.text = "Parked aside"
    assert parse_bytes(saved(deck), "deck.pptx").text == "Parked aside"


def test_a_bomb_is_refused_before_it_unpacks(tmp_path):
    source = zipfile.ZipFile(io.BytesIO(saved(docx.Document())))
    path = tmp_path / "bomb.docx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for entry in source.namelist():
            if entry != "word/document.xml":
                bomb.writestr(entry, source.read(entry))
        with bomb.open("word/document.xml", "w") as document:
            for _ in range(101):
                document.write(b"A" * 1024**2)
    with ParserPool(1) as pool, pytest.raises(ParseError, match=r"101 MiB.*limits are 100") as caught:
        pool.parse(str(path))
    assert caught.value.code == "too_large"


@pytest.mark.parametrize("name", ["a.docx", "a.pptx", "a.xlsx"])
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"just text", "corrupt"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "encrypted"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"WordDocument", "corrupt"),
    ],
)
def test_other_content_under_an_office_name_has_a_code(name, data, code):
    with pytest.raises(ParseError) as caught:
        parse_bytes(data, name)
    assert caught.value.code == code


@pytest.mark.parametrize("name", ["a.docx", "a.pptx", "a.xlsx"])
def test_a_zip_archive_that_is_no_office_file_is_corrupt(name):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(ParseError) as caught:
        parse_bytes(file.getvalue(), name)
    assert caught.value.code == "corrupt"


@pytest.mark.parametrize("kind", ["docx", "pptx"])
def test_without_unstructured_the_message_is_the_install_command(kind, fixtures, monkeypatch):
    monkeypatch.setitem(sys.modules, f"unstructured.partition.{kind}", None)
    with pytest.raises(ParseError, match=r"pip install 'latewood\[formats\]'") as caught:
        parse_bytes((fixtures / f"good.{kind}").read_bytes(), f"good.{kind}")
    assert caught.value.code == "needs_extra"


def test_what_a_word_file_says_of_itself_is_metadata_but_not_what_a_template_says():
    document = docx.Document()
    document.add_paragraph("Rye and oats.")
    assert dict(parse_bytes(saved(document), "a.docx").metadata) == {}
    stated = document.core_properties
    stated.author, stated.language, stated.keywords = "Ann Müller", "en-GB", "rye; oats"
    stated.created = datetime.datetime(2024, 1, 2, 3, 4, 5)
    assert dict(parse_bytes(saved(document), "a.docx").metadata) == {
        "author": "Ann Müller",
        "created": "2024-01-02T03:04:05Z",
        "keywords": ["rye", "oats"],
        "language": "en",
    }
