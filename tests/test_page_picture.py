"""The README's picture: the page over a real service with the sample collection."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")

pytest.importorskip("playwright.sync_api", reason="the picture is taken through playwright")
pytestmark = pytest.mark.skipif(
    not any(shutil.which(one) for one in CHROMIUM), reason="no chromium is installed"
)


def width_of(png: bytes) -> int:
    return int.from_bytes(png[16:20], "big")


def test_the_picture_is_taken_from_the_sample_collection(tmp_path):
    """The script fails unless the real service answers the question under both settings."""
    spec = importlib.util.spec_from_file_location("page_picture", ROOT / "scripts" / "page_picture.py")
    page_picture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page_picture)
    page_picture.main(tmp_path / "page.png")
    picture = (tmp_path / "page.png").read_bytes()
    assert width_of(picture) == width_of(page_picture.PICTURE.read_bytes()) == page_picture.SIZE[0]
