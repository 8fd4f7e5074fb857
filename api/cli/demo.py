"""The sample folder that ships with the project, and three questions about it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from latewood.api.cli import render
from latewood.api.cli.common import follow_ingest
from latewood.client.client import Client
from latewood.ingest.sources.diff import file_uri


@contextlib.contextmanager
def documents() -> Iterator[Path]:
    """The folder of sample documents, on disk."""
    with as_file(files("latewood.api").joinpath("samples/documents")) as folder:
        yield folder


def questions() -> list[str]:
    """Three questions worth asking about them."""
    text = files("latewood.api").joinpath("samples/demo.json").read_text(encoding="utf-8")
    return [entry["question"] for entry in json.loads(text)]


def play(client: Client, collection: str) -> dict[str, Any]:
    """Ingest the sample folder, ask the questions: the ingest's counts and three passages for each."""
    with documents() as folder:
        state = follow_ingest(client, {"source": file_uri(folder), "collection": collection})
    answers = [
        {"question": question, **client.search(question, collection=collection, limit=3, explain=True)}
        for question in questions()
    ]
    return {"ingest": render.ingest_total([state]), "answers": answers}
