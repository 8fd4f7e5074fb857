from __future__ import annotations

from dataclasses import replace

import numpy as np

from latewood.embedder.models import golden
from latewood.embedder.models.checkpoint import find_checkpoint
from latewood.embedder.models.golden import BASE, STATES, compare
from latewood.embedder.types import Task


def test_the_published_states_are_27_for_the_base_and_each_task():
    assert set(STATES) == {BASE, *Task}
    assert all(np.shape(rows) == (3, 9) for rows in STATES.values())
    assert len(set(STATES.values())) == len(STATES)


def test_the_real_weights_give_the_published_states(jina_weights):
    found = compare(find_checkpoint(jina_weights))
    assert not found.wrong, found


def test_random_weights_do_not_give_the_published_states(jina_folder):
    found = compare(find_checkpoint(str(jina_folder)))
    assert found.tokens != golden.TOKENS
    assert found.wrong == ("tokens", BASE, *Task)


def test_weights_agree_with_the_states_that_transformers_gives_for_them(jina_folder, monkeypatch):
    states = {name: _by_transformers(jina_folder, name) for name in STATES}
    monkeypatch.setattr(golden, "STATES", states)
    monkeypatch.setattr(golden, "TOKENS", len(golden._input_ids(jina_folder)))
    checkpoint = find_checkpoint(str(jina_folder))
    assert not compare(checkpoint).wrong
    swapped = {
        **checkpoint.description.adapters,
        Task.QUERY: "classification",
        Task.CLASSIFICATION: "retrieval_query",
    }
    wrong = replace(checkpoint, description=replace(checkpoint.description, adapters=swapped))
    assert compare(wrong).wrong == (Task.QUERY, Task.CLASSIFICATION)
    off = [
        [value + (5e-4 if (row, column) == (1, 4) else 0) for column, value in enumerate(values)]
        for row, values in enumerate(states[BASE])
    ]
    monkeypatch.setattr(golden, "STATES", {**states, BASE: off})
    assert compare(checkpoint).wrong == (BASE,)


def test_values_that_are_not_finite_do_not_agree():
    assert golden.Comparison(golden.TOKENS, {BASE: float("nan")}).wrong == (BASE,)


def _by_transformers(folder, name):
    """The steps of transformers' own test, with the tokenizer.json that it reads too."""
    import torch
    from transformers import AutoModel, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    model = AutoModel.from_pretrained(folder, dtype=torch.float32)
    if name != BASE:
        adapter = str(name).replace(".", "_").replace("-", "_")
        model.load_adapter(str(folder), adapter_name=adapter, adapter_kwargs={"subfolder": adapter})
        model.set_adapter(adapter)
    model.eval()
    with torch.no_grad():
        states = model(tokenizer(golden.TEXT, return_tensors="pt", truncation=False)["input_ids"])[0]
    return states[0, golden.ROWS, golden.COLUMNS].tolist()
