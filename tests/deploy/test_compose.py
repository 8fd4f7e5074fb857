"""docker-compose.yml and the Dockerfile, held to what they promise, without Docker."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import compose_spec
import httpx
import pytest
import typer
import yaml

from latewood.api.cli.main import app
from latewood.engine.settings import PREFIX, Settings

sys.path.append(str(Path(__file__).parents[1] / "qdrant_server"))  # helpers; no test package

from qdrant_http import QdrantHTTP

ROOT = Path(__file__).resolve().parents[2]
KEY = "the key of the test"
PATIENCE = 240
COMMANDS = typer.main.get_command(app).commands
GIVEN = {"QDRANT_API_KEY": KEY}
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def interpolated(text: str, given: dict[str, str]) -> str:
    """`${NAME:-default}` and `${NAME:?message}` as Compose reads them."""

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        if kind == "?":
            return given[name]
        return given.get(name) or rest

    done = re.sub(r"\$\{(\w+):([-?])([^}]*)\}", value, text)
    assert "${" not in done
    return done


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    text = interpolated((ROOT / "docker-compose.yml").read_text(encoding="utf-8"), GIVEN)
    read: dict[str, Any] = yaml.safe_load(text)
    return read


def ours(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The services that run Latewood."""
    return {name: one for name, one in compose["services"].items() if one["image"].startswith("latewood:")}


def test_the_file_is_what_the_compose_specification_says(compose: dict[str, Any]) -> None:
    read = compose_spec.PyCompose.from_json(json.dumps(compose))
    assert set(read.service_names()) == set(compose["services"])
    compose["services"]["api"]["mem_limt"] = "4g"
    with pytest.raises(ValueError, match="mem_limt"):
        compose_spec.PyCompose.from_json(json.dumps(compose))
    del compose["services"]["api"]["mem_limt"]


def test_a_key_of_the_server_must_be_given() -> None:
    with pytest.raises(KeyError, match="QDRANT_API_KEY"):
        interpolated((ROOT / "docker-compose.yml").read_text(encoding="utf-8"), {})


def test_every_service_is_pinned_watched_limited_and_nobodys_root(compose: dict[str, Any]) -> None:
    for name, one in compose["services"].items():
        assert re.search(r":(v?\d+\.\d+|local|gpu)", one["image"]), name
        assert one["healthcheck"]["test"][0] == "CMD", name
        assert re.fullmatch(r"\d+g", one["mem_limit"]), name
        user, group = one["user"].split(":")
        assert int(user) > 0, name
        assert int(group) > 0, name
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        named = {place.split(":")[0] for place in one["volumes"] if not place.startswith((".", "/"))}
        assert named <= set(compose["volumes"]), name
        for other in one.get("depends_on", {}):
            assert "healthcheck" in compose["services"][other], name


def test_profiles_are_those_that_are_promised(compose: dict[str, Any]) -> None:
    services = compose["services"]
    by_profile = {
        profile: {name for name, one in services.items() if profile in one.get("profiles", [])}
        for profile in ("scale", "gpu", "cluster")
    }
    assert by_profile == {
        "scale": {"postgres", "worker"},
        "gpu": {"postgres", "worker-gpu"},
        "cluster": {"qdrant-2", "qdrant-3"},
    }
    assert {name for name, one in services.items() if "profiles" not in one} == {"qdrant", "api", "watcher"}
    assert services["worker-gpu"]["build"]["target"] == "gpu"
    assert services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"


def test_every_command_and_setting_is_the_programs_own(compose: dict[str, Any]) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name, one in ours(compose).items():
        command, *words = one["command"]
        COMMANDS[command].make_context(command, list(words))
        assert set(one["environment"]) <= known, name
        check = one["healthcheck"]["test"]
        if check[1] == "latewood":
            COMMANDS[check[2]].make_context(check[2], check[3:])
    assert set(re.findall(rf"{PREFIX}\w+(?==)", DOCKERFILE)) <= known


def stages() -> dict[str, str]:
    """The Dockerfile's stages by name, each with its lines."""
    parts = re.split(r"^FROM (\S+)(?: AS (\S+))?$", DOCKERFILE, flags=re.M)[1:]
    triples = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    return {name or "last": f"FROM {image}\n{body}" for image, name, body in triples}


def test_no_compiler_is_in_what_runs_and_no_root() -> None:
    found = stages()
    assert list(found) == ["build", "run", "build-gpu", "gpu", "last"]
    assert found["last"].split() == ["FROM", "run"]
    for name in ("run", "gpu"):
        assert not re.search(r"build-essential|gcc|ninja|-devel|python3-dev|pip install", found[name]), name
        assert f"COPY --from={'build' if name == 'run' else 'build-gpu'} /opt/latewood" in found[name]
        assert re.search(r"^USER 10001:10001$", found[name], re.M), name
        assert 'ENTRYPOINT ["latewood"]' in found[name]
    for name in ("build", "build-gpu"):
        assert "build-essential" in found[name]
        assert "--constraint constraints.txt" in found[name]
    assert "whl/cpu" in found["build"]
    assert "[gpu]" in found["build-gpu"]
    setup = (ROOT / "scripts" / "setup_env.py").read_text(encoding="utf-8")
    assert set(re.findall(r"torch==[\d.]+", DOCKERFILE)) == set(re.findall(r"torch==[\d.]+", setup))


class Container:
    """A service of the file as a process: its entry point, command and environment, in this test's places."""

    def __init__(self, service: dict[str, Any], places: dict[str, str], folder: Path) -> None:
        words = json.loads(re.findall(r"^ENTRYPOINT (.*)$", stages()["run"], re.M)[0])
        assert words == ["latewood"]
        self.places = places
        environment = {name: self.here(str(value)) for name, value in service["environment"].items()}
        folder.mkdir()
        self.environment = {
            **os.environ,
            **environment,
            "LATEWOOD_DATA": str(folder / "data"),
            "HF_HUB_OFFLINE": "1",
        }
        self.service = service
        self.process: subprocess.Popen[str] | None = None

    def here(self, word: str) -> str:
        for there, here in self.places.items():
            word = word.replace(there, here)
        return word

    def words(self, words: list[str]) -> list[str]:
        there = [self.here(word) for word in words]
        if there[0] == "python":
            return [sys.executable, *there[1:]]
        return [
            sys.executable,
            "-m",
            "latewood.api.cli.main",
            *(there[1:] if there[0] == "latewood" else there),
        ]

    def run(self, *words: str) -> str:
        done = subprocess.run(
            self.words(["latewood", *words]), env=self.environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    def start(self) -> None:
        self.process = subprocess.Popen(self.words(self.service["command"]), env=self.environment)

    def healthy(self) -> None:
        """Wait until the service's own health check says so."""
        check = self.words(self.service["healthcheck"]["test"][1:])
        deadline = time.monotonic() + PATIENCE
        while subprocess.run(check, env=self.environment, capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, shlex.join(check)
            assert self.process is not None
            assert self.process.poll() is None, self.process.returncode
            time.sleep(0.2)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            assert self.process.wait(PATIENCE) in (0, 130, -15)


@pytest.fixture
def places(tmp_path: Path) -> Iterator[dict[str, str]]:
    """What stands for the network and the volumes of the file."""
    server = QdrantHTTP(api_key=KEY).start()
    documents = tmp_path / "documents"
    documents.mkdir()
    yield {"http://qdrant:6333": server.url, "/documents": str(documents), "8000": str(free_port())}
    server.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_the_commands_of_the_file_run_and_work_together(
    compose: dict[str, Any], places: dict[str, str], tmp_path: Path
) -> None:
    api = Container(compose["services"]["api"], places, tmp_path / "api")
    watcher = Container(compose["services"]["watcher"], places, tmp_path / "watcher")
    (Path(places["/documents"]) / "ferry.txt").write_text("The ferry carries forty cars and a post van.")
    key = json.loads(api.run("keys", "create", "--scopes", "read", "--json"))["key"]
    try:
        api.start()
        watcher.start()
        api.healthy()
        watcher.healthy()
        address = f"http://127.0.0.1:{places['8000']}"
        with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=60) as http:
            deadline = time.monotonic() + PATIENCE
            while True:
                answer = http.post("/search", json={"query": "Who carries cars?"})
                found = answer.json().get("results", [])
                if found:
                    break
                assert time.monotonic() < deadline, answer.text
                time.sleep(0.2)
            assert found[0]["title"] == "ferry"
            assert httpx.post(f"{address}/search", json={"query": "cars"}).status_code == 401
    finally:
        api.stop()
        watcher.stop()
