"""Models loaded once."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from latewood.embedder.models.registry import MINILM
from latewood.embedder.serving.engine import load_embedder

sys.path.append(str(Path(__file__).parent))  # helpers; no test package


@pytest.fixture
def jina_copy(jina_folder, tmp_path):
    """A copy that a test may break."""
    return Path(shutil.copytree(jina_folder, tmp_path / "copy"))


@pytest.fixture(scope="session")
def jina(jina_folder):
    embedder = load_embedder(str(jina_folder), device="cpu", dtype="float32")
    yield embedder
    embedder.close()


@pytest.fixture(scope="session")
def minilm():
    embedder = load_embedder(MINILM.name, device="cpu", dtype="float32")
    yield embedder
    embedder.close()
