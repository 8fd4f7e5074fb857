from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from latewood.ingest.parsing.sandbox.pool import ParserPool
from latewood.ingest.types import Parsed

FIXTURES = Path(__file__).parents[2] / "fixtures"


@pytest.fixture(scope="session")
def fixtures() -> Path:
    return FIXTURES


@pytest.fixture(scope="session")
def pool() -> Iterator[ParserPool]:
    with ParserPool(1) as shared:
        yield shared


@pytest.fixture(scope="session")
def whole() -> Callable[[Parsed], Parsed]:
    """Asserts what every parser promises and hands the parsed file on."""

    def check(parsed: Parsed) -> Parsed:
        assert parsed.text.strip()
        assert "\r" not in parsed.text
        assert "\x00" not in parsed.text
        parsed.text.encode("utf-8")
        parsed.title.encode("utf-8")
        end = 0
        for element in parsed.elements:
            assert end <= element.start < element.end <= len(parsed.text)
            assert not parsed.text[end : element.start].strip()
            assert parsed.text[element.start : element.end].strip()
            end = element.end
        assert not parsed.text[end:].strip()
        return parsed

    return check
