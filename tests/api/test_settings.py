"""Settings: the environment over `latewood.toml` over defaults, and every mistake named."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from latewood.engine.settings import Settings, SettingsError, load, origins

DEFAULTS = {
    "data": Path("latewood-data"),
    "store": "embedded",
    "model": "auto",
    "device": "auto",
    "dtype": "auto",
    "context": None,
    "window": None,
    "dimensions": (),
    "chunk_tokens": 256,
    "jobs": "sqlite",
    "host": "127.0.0.1",
    "port": 8000,
    "query_characters": 8192,
    "limit": 1000,
    "filter_depth": 8,
    "filter_conditions": 64,
    "body_bytes": 10_000_000,
    "upload_bytes": 200_000_000,
    "file_bytes": 500_000_000,
    "metadata_keys": 64,
}
"""As the contract has them."""


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LATEWOOD_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], None]:
    def to_file(text: str) -> None:
        (tmp_path / "latewood.toml").write_text(text)

    return to_file


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = load()
    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS


def test_options_stand_over_the_environment_over_the_file_over_the_default(
    write: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load().port == 8000
    write("port = 8001\nmodel = 'mine'\n")
    assert load().port == 8001
    monkeypatch.setenv("LATEWOOD_PORT", "8002")
    assert load().port == 8002
    assert load(port=8003).port == 8003
    assert load(port=None).port == 8002
    assert load().model == "mine"


def test_every_setting_says_where_it_came_from(
    write: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write("port = 8001\nchunk_tokens = 128\n")
    monkeypatch.setenv("LATEWOOD_PORT", "8002")
    monkeypatch.setenv("LATEWOOD_DIMENSIONS", "256,64")
    given = {"data": tmp_path / "here", "model": None}
    found = {one.name: (one.value, one.origin) for one in origins(load(**given), **given)}
    assert set(found) == {name.upper() for name in Settings.model_fields}
    assert found["PORT"] == ("8002", "LATEWOOD_PORT")
    assert found["CHUNK_TOKENS"] == ("128", "latewood.toml")
    assert found["DIMENSIONS"] == ("(256, 64)", "LATEWOOD_DIMENSIONS")
    assert found["DATA"] == (str(tmp_path / "here"), "option")
    assert found["MODEL"] == ("auto", "default")


@pytest.mark.parametrize("text", ["1024,256", " 1024 , 256 ", "1024,256,"])
def test_dimensions_are_a_list_with_commas(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATEWOOD_DIMENSIONS", text)
    assert load().dimensions == (1024, 256)


def test_dimensions_may_be_a_list_in_the_file(write: Callable[[str], None]) -> None:
    write("dimensions = [512, 64]\n")
    assert load().dimensions == (512, 64)


def test_an_unknown_name_is_refused_with_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATEWOOD_PROT", "1")
    monkeypatch.setenv("LATEWOOD_CHUNKS", "1")
    with pytest.raises(
        SettingsError, match="unknown setting LATEWOOD_CHUNKS, LATEWOOD_PROT; known: "
    ) as error:
        load()
    for name in Settings.model_fields:
        assert f"LATEWOOD_{name.upper()}" in str(error.value)


def test_an_unknown_name_in_the_file_is_refused_with_the_list(write: Callable[[str], None]) -> None:
    write("prot = 1\n")
    with pytest.raises(
        SettingsError, match=r"unknown setting prot in latewood\.toml; known: data, store, store_api_key"
    ):
        load()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PORT", "many", "valid integer"),
        ("PORT", "70000", "less than or equal to 65535"),
        ("PORT", "-1", "greater than or equal to 0"),
        ("PORT", "", "valid integer"),
        ("CHUNK_TOKENS", "0", "greater than or equal to 16"),
        ("CONTEXT", "1.5", "less than or equal to 1"),
        ("CONTEXT", "nan", "less than or equal to 1"),
        ("WINDOW", "1", "greater than or equal to 64"),
        ("DIMENSIONS", "big", "valid integer"),
        ("DEVICE", "tpu", "must be auto, cpu or cuda"),
        ("DTYPE", "int4", "must be auto, float32, bfloat16 or int8"),
        ("STORE", "qdrant", "must be `embedded` or the URL of a Qdrant server"),
        ("STORE", "ftp://localhost", "such as http://localhost:6333"),
        ("STORE", "http://me:secret@localhost", "the key goes to STORE_API_KEY"),
        ("STORE_READ_CONSISTENCY", "0", "must be all, majority, quorum or a number"),
        ("STORE_PREFIX", "a.b", "is not allowed"),
        ("JOBS", "postgres://x", "must be sqlite, memory, or postgresql://"),
        ("LIMIT", "0", "greater than or equal to 1"),
        ("PARSE_SECONDS", "0", "greater than 0"),
        ("PARSE_SECONDS", "inf", "finite number"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(f"LATEWOOD_{name}", value)
    with pytest.raises(SettingsError) as error:
        load()
    assert name in str(error.value)
    assert words in str(error.value)
    assert "secret" not in str(error.value)


def test_every_bad_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATEWOOD_PORT", "x")
    monkeypatch.setenv("LATEWOOD_LIMIT", "y")
    with pytest.raises(SettingsError, match=r"PORT = 'x'.*LIMIT = 'y'"):
        load()


@pytest.mark.parametrize("text", ["port = ", "= 3", "\xff\xfe"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "latewood.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match=r"^latewood\.toml cannot be read: "):
        load()


def test_settings_cannot_be_changed_later() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().port = 1  # type: ignore[misc]


@pytest.mark.parametrize("value", ["10.0.0.5", "10.0.0.0/8, ::1", ""])
def test_proxies_are_addresses_and_networks(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("LATEWOOD_PROXIES", value)
    assert load().proxies == tuple(part.strip() for part in value.split(",") if part)


@pytest.mark.parametrize("value", ["*", "proxy.example", "10.0.0.1/8", "10.0.0.5:80"])
def test_other_proxies_are_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("LATEWOOD_PROXIES", value)
    with pytest.raises(SettingsError, match=r"PROXIES.* must be an address such as"):
        load()
