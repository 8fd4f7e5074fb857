"""Metadata by rules on paths."""

from __future__ import annotations

import pytest

from latewood.ingest.sources.path_templates import TemplateError, from_path, read_templates


@pytest.mark.parametrize(
    ("template", "path", "values"),
    [
        ("{team}/{year}/*", "ops/2024/a.md", {"team": "ops", "year": "2024"}),
        ("{team}/{year:int}/*", "ops/2024/a.md", {"team": "ops", "year": 2024}),
        ("{team}/{year:int}/*", "ops/late/a.md", {}),
        ("{team}/{year}/*", "ops/2024/deep/a.md", {}),
        ("{team}/{year}/*", "a.md", {}),
        ("docs/{product}/{version}/**", "docs/lamp/2.1/a/b/c.pdf", {"product": "lamp", "version": "2.1"}),
        ("docs/{product}/{version}/**", "docs/lamp/2.1/c.pdf", {"product": "lamp", "version": "2.1"}),
        ("docs/{product}/**", "papers/lamp/c.pdf", {}),
        ("**/{kind_of}-{number:int}.pdf", "a/b/invoice-0042.pdf", {"kind_of": "invoice", "number": 42}),
        ("**/{kind_of}-{number:int}.pdf", "invoice-7.pdf", {"kind_of": "invoice", "number": 7}),
        ("{team}/**/{name}.md", "ops/x/y/z.md", {"team": "ops", "name": "z"}),
        ("{team}/**/{name}.md", "ops/z.md", {"team": "ops", "name": "z"}),
        ("a.b/{x}", "aXb/c", {}),
        ("/{x}/", "c", {"x": "c"}),
        ("{x}/*", "Größe/a\n.md", {"x": "Größe"}),
        ("{x}/*", "\udcff/a", {"x": "\ufffd"}),
    ],
)
def test_the_named_parts_of_a_path_are_its_metadata(template: str, path: str, values: dict) -> None:
    found = from_path(path, read_templates([template]))
    assert found == values
    assert [type(value) for value in found.values()] == [type(value) for value in values.values()]


def test_all_templates_that_match_count_and_the_first_wins() -> None:
    templates = read_templates(["{team}/**", "{product}/{team}/**"])
    assert from_path("a/b/c.md", templates) == {"team": "a", "product": "a"}


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("docs/*", "must name parts"),
        ("", "must name parts"),
        ("{a}/{a}", "each name once"),
        ("{a/*", "does not close"),
        ("a}/{b}", "does not close"),
        ("{}/x", "does not close"),
        ("{a b}/x", "is no name"),
        ("{a:float}/x", "is no name"),
        ("{source}/x", "a key the index fills itself"),
    ],
)
def test_a_template_that_cannot_be_read_says_why(template: str, reason: str) -> None:
    with pytest.raises(TemplateError, match=reason):
        read_templates([template])
