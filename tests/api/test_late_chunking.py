"""A model that does not pool by the mean has no late chunking: what refuses it, and what says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from latewood.api.cli.doctor import examine
from latewood.api.http.app import create_app
from latewood.engine.library import Service
from latewood.engine.settings import Settings


@pytest.fixture(scope="module")
def first_token(jina_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a random BERT that pools its first token, as sentence-transformers 6 saves it."""
    import torch
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("pooling") / "first-token"
    torch.manual_seed(13)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    words = Tokenizer.from_file(str(jina_folder / "tokenizer.json")).get_vocab_size()
    BertModel(BertConfig(vocab_size=words, **sizes)).save_pretrained(folder)
    shutil.copy(jina_folder / "tokenizer.json", folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "cls"}), encoding="utf-8")
    return str(folder)


def test_late_chunking_is_refused_with_the_remedy(first_token: str, tmp_path: Path) -> None:
    service = Service(Settings(data=tmp_path, model=first_token, jobs="memory"))
    try:
        http = TestClient(create_app(service), raise_server_exceptions=False)
        body = {"input": ["Berlin is", "the capital"]}
        assert http.post("/v1/embeddings", json=body).status_code == 200
        refused = http.post("/v1/embeddings", json={**body, "late_chunking": True})
    finally:
        service.close()
    assert refused.status_code == 422
    assert "pools by 'cls': use context 0 (leave CONTEXT and late_chunking out)" in refused.text


@pytest.mark.parametrize("context", [None, 0.0, 0.5])
def test_doctor_says_that_there_is_none(context: float | None, first_token: str, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, model=first_token, context=context)
    model = next(
        one for one in examine(settings, {}, "default", "default")["findings"] if one["check"] == "model"
    )
    if context:
        assert model["status"] == "error"
        assert "context 0.5 is for models that pool by the mean" in model["message"]
    else:
        assert model["status"] == "ok"
        assert "context 0" in model["message"]
        assert "it pools by cls, so there is no late chunking" in model["message"]
