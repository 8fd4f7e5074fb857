from __future__ import annotations

from email.message import EmailMessage

import pytest

from latewood.ingest.parsing.parse import parse_bytes
from latewood.ingest.types import ParseError


def message(subject: str = "Felling") -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"] = subject
    mail["From"] = "Ana Müller <ana@example.com>"
    mail["Date"] = "Mon, 01 Jan 2024 10:00:00 +0100"
    return mail


def test_subject_sender_and_date_are_text_and_metadata():
    mail = message("Größe der Bäume")
    mail.set_content("Dear team,\n\nthe oak is down.\n")
    parsed = parse_bytes(mail.as_bytes(), "m.eml")
    assert parsed.title == "Größe der Bäume"
    assert parsed.text == (
        "Größe der Bäume\n\nFrom: Ana Müller <ana@example.com>\nDate: Mon, 01 Jan 2024 10:00:00 +0100"
        "\n\nDear team,\n\nthe oak is down."
    )
    assert parsed.metadata["date"] == "2024-01-01T10:00:00+01:00"
    assert parsed.metadata["from"] == "Ana Müller <ana@example.com>"


def test_of_two_versions_the_html_one_is_read_once():
    mail = message()
    mail.set_content("Oak, plain.")
    mail.add_alternative("<p>Oak, <b>rich</b>.</p>", subtype="html")
    text = parse_bytes(mail.as_bytes(), "m.eml").text
    assert "Oak, rich." in text
    assert "plain" not in text


def test_an_empty_html_version_gives_way_to_the_plain_one():
    mail = message()
    mail.set_content("Oak, plain.")
    mail.add_alternative("<p> </p>", subtype="html")
    assert "Oak, plain." in parse_bytes(mail.as_bytes(), "m.eml").text


def test_text_attachments_are_read_and_others_are_named():
    mail = message()
    mail.set_content("See below.")
    mail.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="plan.pdf")
    mail.add_attachment("rings: 90".encode("utf-16"), maintype="text", subtype="plain", filename="rings.txt")
    inner = message("Inner letter")
    inner.set_content("Forwarded words.")
    mail.add_attachment(inner)
    parsed = parse_bytes(mail.as_bytes(), "m.eml")
    for words in ("See below.", "rings.txt", "rings: 90", "Inner letter", "Forwarded words."):
        assert words in parsed.text
    assert parsed.notes == ("attachment not read: plan.pdf",)


def test_a_mail_of_one_part_that_is_no_text_keeps_its_headers():
    mail = message()
    mail.set_content(b"\x00\x01", maintype="application", subtype="octet-stream")
    parsed = parse_bytes(mail.as_bytes(), "m.eml")
    assert parsed.title == "Felling"
    assert "attachment not read" in parsed.notes[0]


def test_broken_headers_do_not_stop_the_body():
    data = b"Subject: =?utf-8?q?broken\nDate: yesterday\nFrom: <<>>\n\nbody words\n"
    parsed = parse_bytes(data, "m.eml")
    assert "body words" in parsed.text
    assert "date" not in parsed.metadata


def test_a_file_without_a_header_is_no_mail():
    with pytest.raises(ParseError) as caught:
        parse_bytes(b"\njust words\n", "m.eml")
    assert caught.value.code == "corrupt"
