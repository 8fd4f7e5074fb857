"""Embedded files are left out of every format's text; short `data:` URIs and prose about them stay."""

from __future__ import annotations

import base64
import json
import random
from email.message import EmailMessage

import pytest

from latewood.ingest.parsing.inline_data import LEAST, without_files
from latewood.ingest.parsing.parse import parse_bytes

PICTURE = base64.b64encode(random.Random(1).randbytes(30_000)).decode()
URI = f"data:image/png;base64,{PICTURE}"
WRAPPED = "data:image/png;base64," + "\n".join(PICTURE[at : at + 76] for at in range(0, len(PICTURE), 76))
HTML = f'<p>Otters swim.</p><img alt="photo" src="{URI}"><p>Beavers build.</p>'


def notebook() -> bytes:
    cells = [
        {
            "cell_type": "markdown",
            "metadata": {},
            "source": [f"Otters swim.\n![photo]({URI})\nBeavers build."],
        }
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


def mail() -> bytes:
    message = EmailMessage()
    message["Subject"], message["From"] = "Photo", "a@example.org"
    message.set_content("See it.")
    message.add_alternative(
        f'<p>Otters swim.</p><img alt="photo" src="{URI}"><p>Beavers build.</p>', subtype="html"
    )
    return message.as_bytes()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.md", f"Otters swim.\n\n![photo]({URI})\n\nBeavers build.\n".encode()),
        ("a.txt", f"Otters swim.\n{URI}\nBeavers build.\n".encode()),
        ("a.html", HTML.encode()),
        ("a.ipynb", notebook()),
        ("a.eml", mail()),
        ("a.json", json.dumps({"text": "Otters swim.", "photo": URI, "more": "Beavers build."}).encode()),
        ("a.py", f'OTTERS = "Otters swim."\nPHOTO = "{URI}"\nBEAVERS = "Beavers build."\n'.encode()),
        ("wrapped.txt", f"Otters swim.\n{WRAPPED}\nBeavers build.\n".encode()),
    ]
    if (
        wrapped := "data:image/png;base64,"
        + "\n".join(PICTURE[at : at + 76] for at in range(0, len(PICTURE), 76))
    )
    else [],
)
def test_an_embedded_picture_is_no_text(name: str, data: bytes) -> None:
    text = parse_bytes(data, name).text
    assert "Beavers build." in text
    assert len(text) < 400
    assert PICTURE[1000:1040] not in text


def test_the_alternative_text_stays() -> None:
    assert "photo" in parse_bytes(f"![photo]({URI})\n\nBeavers build.\n".encode(), "a.md").text


def test_elements_lie_inside_the_text_that_is_left() -> None:
    parsed = parse_bytes(f"# Otters\n\n![photo]({URI})\n\n# Beavers\n\nThey build.\n".encode(), "a.md")
    headings = [
        parsed.text[one.start : one.end].strip("# \n") for one in parsed.elements if one.kind == "title"
    ]
    assert headings == ["Otters", "Beavers"]


@pytest.mark.parametrize(
    "text",
    [
        "A data URI begins with data:image/png;base64, and the encoded bytes follow.",
        "data:text/plain;base64,SGVsbG8sIFdvcmxkIQ==",
        "The data: see the appendix, which has the list of all the values that were measured in a year.",
        "data:,Hello%2C%20World%21",
        f"key = {PICTURE[:500]}",
    ],
)
def test_what_is_no_embedded_file_stays(text: str) -> None:
    assert without_files(text) == (text, 0)


def test_a_uri_from_the_least_length_on_is_left_out() -> None:
    head = "data:image/png;base64,"
    assert without_files(head + PICTURE[: LEAST - 1])[1] == 0
    assert without_files(head + PICTURE[:LEAST]) == ("data:image/png", 1)
