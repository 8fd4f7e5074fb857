"""A tiny random checkpoint in Jina v3's real layout, for every test that loads a model."""

from __future__ import annotations

import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"

from hypothesis import settings

from benchmarks.checkpoints import build_jina

# Taken out of the environment: the settings refuse a name that they do not know.
JINA_WEIGHTS = os.environ.pop("LATEWOOD_JINA", "")
settings.register_profile("latewood", deadline=None)  # never assert a time
settings.load_profile("latewood")


@pytest.fixture(scope="session")
def jina_weights():
    """The folder of the real Jina v3, where LATEWOOD_JINA names it."""
    if not JINA_WEIGHTS:
        pytest.skip("LATEWOOD_JINA names no folder with the weights of jinaai/jina-embeddings-v3-hf")
    return JINA_WEIGHTS


@pytest.fixture(scope="session")
def jina_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny-jina"
    build_jina(folder)
    return folder
