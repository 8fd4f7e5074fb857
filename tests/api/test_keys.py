"""Keys: how they are kept, what they open, how often, and that none opens another tenant's door."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from latewood.api.cli.serve import serve_forever
from latewood.api.http.api_keys import SCOPES, KeysError, KeyStore, Wish
from latewood.api.http.app import create_app
from latewood.api.http.authorization import NEEDED
from latewood.api.http.trusted_hosts import doors, keys_needed
from latewood.engine.library import Service
from latewood.engine.settings import Settings, SettingsError, load
from latewood.search.types import QueryError

RIVAL_WORDS = "xylophone"


# --- how they are kept --------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "data")


def test_a_key_is_kept_as_a_hash_in_a_file_of_its_users_own(store: KeyStore, tmp_path: Path) -> None:
    key, secret = store.create(Wish("acme", ("write", "read"), "robot", days=1, rate="5/second"))
    path = tmp_path / "data" / "keys.json"
    text = path.read_text()
    assert secret.rsplit("_", 1)[1][:20] not in text
    assert json.loads(text)["keys"][0]["hash"].startswith("$argon2id$")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (key.tenant, key.scopes, key.name, key.rate) == ("acme", ("read", "write"), "robot", "5/second")
    assert store.all() == [key]
    assert "hash" not in key.public()


def test_only_the_whole_key_is_taken(store: KeyStore) -> None:
    key, secret = store.create(Wish("acme"))
    other = store.create(Wish("rival"))[1]
    assert store.remembered(secret) is None
    assert store.proven(secret) == key
    assert store.remembered(secret) == key
    swapped = secret[: len(f"lw_{key.id}_")] + other[len(f"lw_{key.id}_") :]
    for wrong in (
        "",
        "lw_",
        secret[:-1],
        secret + "x",
        secret.upper(),
        swapped,
        "lw_" + "0" * 12 + secret[15:],
    ):
        assert store.proven(wrong) is None
        assert store.remembered(wrong) is None


def test_a_revoked_key_is_refused_at_once_whoever_revoked_it(store: KeyStore, tmp_path: Path) -> None:
    key, secret = store.create(Wish("acme"))
    assert store.proven(secret) == store.remembered(secret) == key
    assert KeyStore(tmp_path / "data").revoke(key.id)
    assert store.remembered(secret) is None
    assert store.proven(secret) is None
    assert not store.revoke(key.id)


def test_a_key_whose_time_is_over_is_refused(store: KeyStore, tmp_path: Path) -> None:
    key, secret = store.create(Wish("acme", days=1))
    assert store.proven(secret) == key
    path = tmp_path / "data" / "keys.json"
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    path.write_text(path.read_text().replace(key.expires, past))
    assert store.remembered(secret) is None
    assert store.proven(secret) is None
    assert store.all()[0].expired


@pytest.fixture
def no_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proofs fail the test: one takes 19 MiB and some milliseconds."""

    def refuse() -> None:
        raise AssertionError("a key was hashed")

    monkeypatch.setattr("latewood.api.http.api_keys._hasher", refuse)


def wrong(secret: str) -> str:
    """A key of the same id."""
    return secret[:-1] + ("A" if secret[-1] != "A" else "B")


def test_a_wrong_key_costs_no_hash(store: KeyStore, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    _, secret = store.create(Wish("acme"))
    request.getfixturevalue("no_hashing")
    for one in (KeyStore(tmp_path / "data"), store):
        assert one.proven(wrong(secret)) is None
        assert one.proven("lw_" + "0" * 12 + secret[15:]) is None
        with pytest.raises(AssertionError, match="hashed"):
            one.proven(secret)


def test_a_key_of_an_earlier_version_is_completed_when_it_is_proven(
    store: KeyStore, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    made, secret = store.create(Wish("acme"))
    other, other_secret = store.create(Wish("rival"))
    path = tmp_path / "data" / "keys.json"
    shape = json.loads(path.read_text())
    for one in shape["keys"]:
        del one["check"]
    path.write_text(json.dumps(shape))
    assert store.proven(wrong(secret)) is None
    assert [key.check for key in store.all()] == ["", ""]
    found = store.proven(secret)
    assert found is not None
    assert (found.id, found.hash) == (made.id, made.hash)
    assert {key.id: key.check for key in store.all()} == {made.id: made.check, other.id: ""}
    assert store.proven(other_secret) is not None
    request.getfixturevalue("no_hashing")
    assert KeyStore(tmp_path / "data").proven(wrong(secret)) is None
    assert store.remembered(secret) is not None


def test_a_key_is_good_where_its_file_cannot_be_written(
    store: KeyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made, secret = store.create(Wish("acme"))
    path = tmp_path / "data" / "keys.json"
    path.write_text(path.read_text().replace(made.check, ""))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("latewood.api.http.api_keys.layout.write_file", full)
    assert store.proven(secret) is not None
    assert f"could not save the check of key {made.id}" in caplog.text


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"format": 2, "keys": []}', '{"format": 1, "keys": [{}]}', '{"format": 1, "keys": 3}'],
)
def test_a_file_that_cannot_be_read_opens_nothing(store: KeyStore, tmp_path: Path, text: str) -> None:
    _, secret = store.create(Wish("acme"))
    (tmp_path / "data" / "keys.json").write_text(text)
    with pytest.raises(KeysError, match=r"keys.json cannot be read"):
        store.proven(secret)
    with pytest.raises(KeysError):
        store.create(Wish("acme"))


def test_keys_made_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: KeyStore(tmp_path).create(Wish("acme"))[0].id, range(8)))
    assert {key.id for key in KeyStore(tmp_path).all()} == set(made)


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"scopes": ()}, "are none"),
        ({"scopes": ("read", "fly")}, "scopes fly; give any of read, write, admin"),
        ({"days": 0}, "days is 0"),
        ({"days": 36_501}, "at most 36500"),
        ({"days": float("nan")}, "days is nan"),
        ({"rate": "often"}, "must look like 60/minute"),
        ({"rate": "0/minute"}, "must look like"),
        ({"name": "x" * 101}, "at most 100"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(wish: dict[str, Any], words: str) -> None:
    with pytest.raises(KeysError, match=words):
        Wish("acme", **wish)
    with pytest.raises(QueryError):
        Wish("../x")


# --- what they open -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(open_service: Callable[..., Service]) -> Service:
    return open_service(host="0.0.0.0", rate="none")


@pytest.fixture(scope="module")
def asking(guarded: Service) -> TestClient:
    return TestClient(create_app(guarded), raise_server_exceptions=False)


@pytest.fixture(scope="module")
def keys(guarded: Service) -> Callable[..., dict[str, str]]:
    """Makes keys, as the header to send."""

    def make(tenant: str, *scopes: str, **wish: Any) -> dict[str, str]:
        secret = KeyStore(guarded.data).create(Wish(tenant, scopes or ("read",), **wish))[1]
        return {"Authorization": f"Bearer {secret}"}

    return make


def routes(http: TestClient) -> list[tuple[str, str]]:
    """Every route, those outside the schema too."""
    found = set()
    for route in http.app.routes:
        found |= {(method, route.path) for method in getattr(route, "methods", None) or ()}
    schema = http.app.openapi()["paths"]
    found |= {(method.upper(), path) for path, methods in schema.items() for method in methods}
    return sorted(found - {("HEAD", path) for _, path in found})


OPEN = {("GET", path) for path in ("/", "/healthz", "/readyz", "/docs", "/openapi.json", "/metrics")}


def test_without_a_key_nothing_but_the_pages_and_the_health_is_answered(asking: TestClient) -> None:
    seen = routes(asking)
    assert ("POST", "/search") in seen
    for method, path in seen:
        answer = asking.request(method, path.replace("{", "").replace("}", ""))
        if (method, path) in OPEN and path != "/metrics":
            assert answer.status_code in {200, 503}, path
        else:
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized"), path
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.headers["X-Request-ID"] == answer.json()["error"]["request_id"]


@pytest.mark.parametrize("shown", ["Bearer lw_x", "Bearer none", "Basic abc", "Bearer", "lw_x"])
def test_a_wrong_key_is_refused(asking: TestClient, shown: str) -> None:
    answer = asking.get("/documents", headers={"Authorization": shown})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
    assert "latewood keys create" in answer.json()["error"]["message"]


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_opens_its_routes_and_those_of_the_scopes_before(
    asking: TestClient, keys: Any, scope: str
) -> None:
    header, there = keys("acme", scope), routes(asking)
    for (method, path), needed in NEEDED.items():
        if (method, path) not in there:
            continue
        answer = asking.request(method, path.replace("{", "").replace("}", ""), headers=header)
        refused = answer.status_code == 403
        assert refused == (SCOPES.index(scope) < SCOPES.index(needed)), (method, path, answer.text)
        if refused:
            assert answer.json()["error"]["code"] == "scope_missing"
            assert f"{needed!r} is needed" in answer.json()["error"]["message"]
    if scope != "admin":
        for method, path in (("DELETE", "/collections/none"), ("POST", "/jobs"), ("POST", "/verify")):
            assert asking.request(method, path, headers=header).status_code == 403


def test_every_route_of_the_interface_has_said_which_scope_it_needs(asking: TestClient) -> None:
    schema = {
        (method.upper(), path)
        for path, methods in asking.app.openapi()["paths"].items()
        for method in methods
    }
    admin = {
        ("DELETE", "/collections/{name}"),
        ("POST", "/jobs"),
        ("POST", "/verify"),
        ("POST", "/backup"),
        ("GET", "/metrics"),
    }
    stated = {(method, path.replace(":path}", "}")) for method, path in NEEDED}
    assert schema - stated <= admin
    assert stated - schema == set()


def test_on_loopback_none_is_needed_and_a_good_one_chooses_the_tenant(
    service: Service, http: TestClient, hand_in: Any
) -> None:
    """Packages of others send some key in any case: what is none of ours is as good as none."""
    key, secret = KeyStore(service.data).create(Wish("acme"))
    hand_in(http, "Of the default tenant.")
    for shown in ({}, {"Authorization": "Bearer none"}):
        assert http.get("/collections", headers=shown).json() == {"collections": ["default"]}
    header = {"Authorization": f"Bearer {secret}"}
    assert http.get("/collections", headers=header).json() == {"collections": []}
    KeyStore(service.data).revoke(key.id)
    assert http.get("/collections", headers=header).status_code == 401


# --- no key opens another tenant's door ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def rivals(asking: TestClient, keys: Any, finish: Any) -> dict[str, Any]:
    """A tenant with documents, a job and a failed one; and another's keys, of every scope."""
    rival = keys("rival", "admin")
    http = TestClient(asking.app, headers=rival, raise_server_exceptions=False)
    jobs = []
    for collection in ("default", "private"):
        body = {
            "text": f"The {RIVAL_WORDS} of the rival stands by the door.",
            "uri": f"upload:{RIVAL_WORDS}",
            "title": f"{RIVAL_WORDS} notes",
            "metadata": {RIVAL_WORDS: RIVAL_WORDS},
        }
        handed = http.post("/documents", params={"collection": collection}, json=body)
        jobs.append(handed.json()["job_id"])
        assert finish(http, jobs[-1])["status"] == "completed"
    documents = [one["id"] for one in http.get("/documents").json()["documents"]]
    assert documents
    assert RIVAL_WORDS in http.post("/search", json={"query": RIVAL_WORDS}).text
    own = TestClient(asking.app, headers=keys("acme", "admin"), raise_server_exceptions=False)
    handed = own.post("/documents", json={"text": "A text of acme's own.", "uri": "upload:own"})
    assert finish(own, handed.json()["job_id"])["status"] == "completed"
    return {"http": own, "rival": http, "ids": [*jobs, *documents]}


def everything(http: TestClient) -> Any:
    """All that a tenant can see of its own."""
    listed = [http.get("/documents", params={"collection": name}).json() for name in ("default", "private")]
    return listed, http.get("/collections").json(), len(http.get("/jobs").json()["jobs"])


BODIES = [
    {"query": "what stands by the door"},
    {"query": "what stands by the door", "collection": "private", "mode": "bm25"},
    {"query": "notes", "filters": {"type": "ne", "key": "uri", "value": "x"}},
    {"text": "Mine.", "uri": "upload:mine"},
    {"metadata": {"a": 1}},
    {"name": "private"},
    {"collection": "private"},
    {"input": "x"},
]


@settings(max_examples=60)
@given(data=st.data())
def test_no_key_sees_or_changes_anything_of_another_tenant(rivals: dict[str, Any], data: Any) -> None:
    """Every route, with the other's ids, collections and name wherever they fit."""
    http: TestClient = rivals["http"]
    before = everything(rivals["rival"])
    method, path = data.draw(st.sampled_from(routes(http)))
    collection = data.draw(st.sampled_from(["default", "private"]))
    for name, value in (
        ("id", data.draw(st.sampled_from(rivals["ids"]))),
        ("name", collection),
        ("collection", collection),
    ):
        path = path.replace(f"{{{name}}}", value)
    asked: dict[str, Any] = {"headers": {"X-Latewood-Tenant": "rival"}}
    if method in {"POST", "PATCH", "PUT"}:
        asked["json"] = data.draw(st.sampled_from(BODIES))
    if path == "/facets" or data.draw(st.booleans()):
        asked["params"] = {"collection": collection} | ({"key": "title"} if path == "/facets" else {})
    answer = http.request(method, path, **asked)
    assert RIVAL_WORDS not in answer.text
    assert answer.status_code < 500 or path == "/readyz"
    assert everything(rivals["rival"]) == before


# --- how often ----------------------------------------------------------------------------------------------


def test_a_key_may_ask_as_often_as_its_rate_says(asking: TestClient, keys: Any) -> None:
    slow, other = keys("acme", rate="3/hour"), keys("acme")
    codes = [asking.get("/collections", headers=slow).status_code for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]
    refused = asking.get("/collections", headers=slow)
    assert refused.json()["error"]["code"] == "rate_limited"
    assert "this key may ask 3/hour" in refused.json()["error"]["message"]
    assert 3000 < int(refused.headers["Retry-After"]) <= 3600
    assert asking.get("/collections", headers=other).status_code == 200


def test_a_key_without_a_rate_has_the_services(open_service: Callable[..., Service]) -> None:
    service = open_service(rate="2/hour")
    _, secret = KeyStore(service.data).create(Wish("acme"))
    http = TestClient(create_app(service), headers={"Authorization": f"Bearer {secret}"})
    assert [http.get("/collections").status_code for _ in range(3)] == [200, 200, 429]
    assert http.get("/collections", headers={"Authorization": "Bearer none"}).status_code == 200


def test_who_guesses_is_told_to_wait_and_good_keys_are_let_in(guarded: Service, keys: Any) -> None:
    """Proven lately, or never before."""
    http = TestClient(create_app(guarded), raise_server_exceptions=False)
    good, fresh = keys("acme"), keys("acme")
    assert http.get("/collections", headers=good).status_code == 200
    guess = {"Authorization": wrong(good["Authorization"])}
    codes = [http.get("/collections", headers=guess).status_code for _ in range(32)]
    assert codes == [401] * 30 + [429] * 2
    assert http.get("/collections", headers=good).status_code == 200
    assert http.get("/collections", headers=fresh).status_code == 200


@pytest.mark.parametrize(("proxies", "last"), [((), 429), (("127.0.0.0/8",), 401)])
def test_forwarded_addresses_are_believed_of_known_proxies_only(
    guarded: Service, serve: Any, proxies: tuple[str, ...], last: int
) -> None:
    with serve(create_app(guarded), proxies=proxies) as url:
        for number in range(31):
            headers = {"Authorization": "Bearer lw_x", "X-Forwarded-For": f"203.0.113.{number}"}
            answer = httpx.get(f"{url}/collections", headers=headers)
    assert answer.status_code == last


def test_guesses_from_one_network_of_ipv6_count_together(guarded: Service) -> None:
    app = create_app(guarded)
    codes = []
    for number in range(31):
        http = TestClient(app, client=(f"2001:db8::{number:x}", 50_000))
        codes.append(http.get("/collections", headers={"Authorization": "Bearer lw_x"}).status_code)
    assert codes == [401] * 30 + [429]
    elsewhere = TestClient(app, client=("2001:db8:0:1::1", 50_000))
    assert elsewhere.get("/collections", headers={"Authorization": "Bearer lw_x"}).status_code == 401


def test_keys_that_cannot_be_checked_open_nothing(open_service: Callable[..., Service], keys: Any) -> None:
    service = open_service(host="0.0.0.0")
    _, secret = KeyStore(service.data).create(Wish("acme"))
    (service.data / "keys.json").write_text("{")
    http = TestClient(create_app(service), raise_server_exceptions=False)
    answer = http.get("/collections", headers={"Authorization": f"Bearer {secret}"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "keys_unreadable")


# --- none to forget -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "opened",
    [{"host": "0.0.0.0"}, {"host": "192.0.2.1"}, {"host": "::"}, {"hosts": ("search.example",)}],
)
def test_others_are_not_served_without_a_key(tmp_path: Path, opened: dict[str, Any]) -> None:
    chosen = Settings(data=tmp_path, port=0, **opened)
    assert keys_needed(chosen)
    with pytest.raises(SettingsError, match="latewood keys create"):
        serve_forever(chosen, lambda url: None)
    key, _ = KeyStore(tmp_path).create(Wish("acme", days=1))
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    path = tmp_path / "keys.json"
    path.write_text(path.read_text().replace(key.expires, past))
    with pytest.raises(SettingsError, match="latewood keys create"):
        serve_forever(chosen, lambda url: None)


@pytest.mark.parametrize(
    ("chosen", "good", "bad"),
    [
        ({"host": "127.0.0.1"}, ["localhost", "127.0.0.1:80"], ["search.example", "10.0.0.7"]),
        ({"host": "0.0.0.0"}, ["10.0.0.7:8000", "[2001:db8::1]", "localhost"], ["search.example"]),
        (
            {"hosts": ("search.example",)},
            ["search.example", "localhost"],
            ["evil.example", "10.0.0.7"],
        ),
    ],
)
def test_only_names_of_the_service_are_answered(
    shared: Service, chosen: dict[str, Any], good: list[str], bad: list[str]
) -> None:
    http = TestClient(doors(create_app(shared), Settings(**chosen)), raise_server_exceptions=False)
    assert [http.get("/healthz", headers={"Host": host}).status_code for host in good] == [200] * len(good)
    for host in bad:
        answer = http.get("/healthz", headers={"Host": host})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden_host")


def test_pages_of_other_sites_are_let_in_only_when_they_are_named(
    open_service: Callable[..., Service], shared_http: TestClient
) -> None:
    ask = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST", "Host": "localhost"}
    closed = shared_http.options("/search", headers=ask)
    assert not [name for name in closed.headers if name.startswith("access-control")]
    service = open_service(origins="https://app.example")
    http = TestClient(doors(create_app(service), service.settings), raise_server_exceptions=False)
    opened = http.options("/search", headers=ask)
    assert opened.headers["access-control-allow-origin"] == "https://app.example"
    other = http.options("/search", headers={**ask, "Origin": "https://evil.example"})
    assert other.status_code == 403


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rate", "fast"),
        ("rate", "1/year"),
        ("origins", "app.example"),
        ("origins", "https://a/b"),
        ("origins", "*"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name.upper()):
        load(**{name: value})


# --- the command --------------------------------------------------------------------------------------------


def test_the_command_makes_lists_and_revokes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> tuple[int, Any]:
        code = command("keys", *words, "--json", "--data", str(tmp_path))
        return code, json.loads(capsys.readouterr().out)

    code, made = run("create", "--tenant", "acme", "--scopes", "read,write", "--name", "bot", "--days", "2")
    assert (code, made["tenant"], made["scopes"], made["name"]) == (0, "acme", ["read", "write"], "bot")
    found = KeyStore(tmp_path).proven(made["key"])
    assert found is not None
    code, listed = run("list")
    assert (code, [one["id"] for one in listed["keys"]]) == (0, [made["id"]])
    assert "hash" not in listed["keys"][0]
    assert run("revoke", made["id"], "nobody") == (1, {"revoked": 1})
    assert run("list") == (0, {"keys": []})
    assert run("revoke")[0] == 2
    assert run("create", "--scopes", "fly")[0] == 2


def command(*words: str) -> int:
    """Run a command in this process; its exit code."""
    from latewood.api.cli.main import app

    try:
        return int(app([*words], standalone_mode=False) or 0)
    except SystemExit as left:
        return int(left.code or 0)
