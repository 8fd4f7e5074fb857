"""The example chatbot, as a program, over the real service and a model server that follows a script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from latewood.api.http.app import LoopbackOnly

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "examples" / "chatbot.py"


class Model:
    """Answers with the next line of its script; a number is a status."""

    def __init__(self) -> None:
        self.script: list[str | int] = []
        self.heard: list[dict[str, Any]] = []
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                model.heard.append({"path": self.path, "key": self.headers["Authorization"], **body})
                line = model.script.pop(0)
                status = line if isinstance(line, int) else 200
                answer = {"choices": [{"message": {"role": "assistant", "content": line}}]}
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


@pytest.fixture
def model() -> Iterator[Model]:
    made = Model()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture(scope="module")
def url(shared_http: TestClient, hand_in: Any, serve: Any) -> Iterator[str]:
    for name, text in (("fuel", "In 2024 the fleet burned 874,000 litres."), ("tea", "The kiosk sells tea.")):
        hand_in(shared_http, text, collection="chat", uri=f"upload:{name}", title=name.title())
    with serve(LoopbackOnly(shared_http.app)) as address:
        yield address


@pytest.fixture
def chat(model: Model, url: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*questions: str, collection: str = "chat") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(PROGRAM), "--model-url", model.url, "--model", "scripted"]
        return subprocess.run(
            [*command, "--latewood-url", url, "--collection", collection],
            input="\n".join(questions),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "MODEL_API_KEY": "m-key", "PYTHONPATH": str(ROOT)},
        )

    return run


def test_an_answer_comes_with_the_places_it_cites_and_no_others(model: Model, chat: Any) -> None:
    model.script = ["The fleet burned 874,000 litres [1][9]. So it was [1].", "Tea [2]."]
    ran = chat("How much fuel did the fleet burn in 2024?", "", "And what does the kiosk sell?")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        "The fleet burned 874,000 litres [1][9]. So it was [1].",
        "  [1] Fuel (upload:fuel)",
        "Tea [2].",
        ran.stdout.splitlines()[-1],
    ]
    first, second = model.heard
    assert (first["path"], first["model"], first["key"]) == (
        "/v1/chat/completions",
        "scripted",
        "Bearer m-key",
    )
    assert (
        "[1] Fuel (upload:fuel)\nIn 2024 the fleet burned 874,000 litres." in first["messages"][0]["content"]
    )
    roles = [message["role"] for message in second["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    assert second["messages"][-1]["content"] == "And what does the kiosk sell?"


def test_what_goes_wrong_is_said_and_the_next_question_is_answered(model: Model, chat: Any) -> None:
    model.script = [500, "Tea [1]."]
    ran = chat("Is it known?", "What does the kiosk sell?")
    assert ran.returncode == 0
    assert "That did not work: Server error '500" in ran.stderr
    assert ran.stdout.startswith("Tea [1].\n  [1] ")
    assert [message["role"] for message in model.heard[1]["messages"]] == ["system", "user"]


def test_a_collection_that_is_not_there_is_said_in_the_services_words(model: Model, chat: Any) -> None:
    ran = chat("Anyone?", collection="nothing")
    assert "no collection 'nothing'" in ran.stderr
    assert model.heard == []


def test_it_is_short_enough_to_copy() -> None:
    assert len(PROGRAM.read_text(encoding="utf-8").splitlines()) < 80
