"""Models described in the settings file."""

from __future__ import annotations

from pathlib import Path

import pytest

from latewood.embedder.types import Task
from latewood.engine.settings import SettingsError, load


def write(folder: Path, text: str) -> None:
    (folder / "latewood.toml").write_text(text)


def test_a_model_of_ones_own_is_described_without_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(
        tmp_path,
        """
fetch = true
[[models]]
name = "acme/encoder"
folder = "/srv/acme"
pooling = "cls"
dimensions = [128, 64]
include_prompt = false
lowercase = true
prompts = { "retrieval.query" = "ask: " }
knows = ["en", "de"]
""",
    )
    source = load().source
    assert source.fetch
    model = source.described["acme/encoder"]
    assert (model.folder, model.pooling, model.max_tokens, model.context) == ("/srv/acme", "cls", 512, 0)
    assert model.dimensions == (128, 64)
    assert (model.include_prompt, model.lowercase) == (False, True)
    assert model.knows == ("en", "de")
    assert model.prompts == {Task.QUERY: "ask: "}


@pytest.mark.parametrize(
    "line",
    [
        'pooling = "max"',
        "context = 2",
        'prompts = { "query" = "x" }',
        "tokens = 3",
        "max_tokens = 0",
        'knows = ["xx"]',
        'pooling = "last"\ncontext = 0.5',
    ],
)
def test_a_description_that_no_encoder_can_have_is_refused_by_name(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, f'[[models]]\nname = "acme/encoder"\n{line}\n')
    with pytest.raises(SettingsError, match="MODELS"):
        load()


def test_without_a_word_nothing_is_described_and_nothing_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = load().source
    assert (dict(source.described), source.fetch) == ({}, False)
