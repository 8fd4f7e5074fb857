"""Sources that are no files of this machine: a memory of fsspec's, and a real web server."""

from __future__ import annotations

import http.server
import io
import json
import logging
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

import fsspec
import pytest

from latewood.ingest.parsing.sandbox.pool import ParserPool
from latewood.ingest.pipeline import Index
from latewood.ingest.report import Report
from latewood.ingest.sources.patterns import Selection
from latewood.ingest.sources.remote import RemoteSource, check_uri, stamp_of
from latewood.ingest.sources.uris import SourceError
from latewood.ingest.sync import SyncOptions, Work, sync


@pytest.fixture(scope="module")
def pool() -> Iterator[ParserPool]:
    with ParserPool(2) as made:
        yield made


class Server(http.server.SimpleHTTPRequestHandler):
    """Python's own, which notes what is asked; it tells times, unless it is quiet."""

    asked: ClassVar[list[str]] = []
    refuse: ClassVar[set[str]] = set()
    moved: ClassVar[dict[str, str]] = {}
    secret = ""
    quiet = False

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        if self.path in self.moved:
            self.move()
        else:
            super().do_HEAD()

    def move(self) -> None:
        self.send_response(302)
        self.send_header("Location", self.moved[self.path])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.asked.append(unquote(self.path))
        if self.path in self.moved:
            self.move()
        elif self.path in self.refuse:
            self.send_error(503)
        elif self.secret and self.headers.get("Authorization") != self.secret:
            self.send_error(401)
        else:
            super().do_GET()

    def send_header(self, keyword: str, value: str) -> None:
        if keyword == "Last-Modified" and self.quiet:
            return
        super().send_header(keyword, value)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Path, type[Server]]]:
    """A web server's address, the folder it serves, and its handler."""
    root = tmp_path / "www"
    root.mkdir()
    handler = type("Own", (Server,), {"asked": [], "refuse": set(), "moved": {}})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", root, handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def memory() -> Iterator[Any]:
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()


Ingest = Callable[..., Report]


@pytest.fixture
def ingest(index: Index, pool: ParserPool, tmp_path: Path) -> Ingest:
    def run(root: str, roots: tuple[str, ...] = (), **options: Any) -> Report:
        work = Work(
            pool,
            lambda report: None,
            lambda: False,
            aside=str(tmp_path / "aside"),
            file_bytes=100_000,
            roots=roots,
        )
        report = sync(lambda: index, root, SyncOptions(**options), work)
        assert list((tmp_path / "aside").iterdir()) == []  # what was fetched is gone
        return report

    return run


def counts(report: Report) -> tuple[int, int, int, int]:
    return report.added, report.updated, report.unchanged, report.deleted


def uris(index: Index) -> list[str]:
    return sorted(one.document.uri for one in index.store.list_manifests() if one.live is not None)


def test_a_bucket_is_followed_as_a_folder_is(index: Index, ingest: Ingest, memory: Any) -> None:
    memory.pipe("/docs/a.txt", b"Seals rest on the skerries.")
    memory.pipe("/docs/deep/b c.md", b"# Keeper\n\nThe keeper counts ships.")
    memory.pipe("/other/x.txt", b"Not asked for.")
    assert counts(ingest("memory://docs")) == (2, 0, 0, 0)
    assert uris(index) == ["memory://docs/a.txt", "memory://docs/deep/b%20c.md"]
    assert counts(ingest("memory://docs/")) == (0, 0, 2, 0)
    memory.pipe("/docs/a.txt", b"Seals left the skerries, all of them.")
    memory.rm("/docs/deep/b c.md")
    memory.pipe("/docs/c.txt", b"New.")
    assert counts(ingest("memory://docs")) == (1, 1, 0, 1)


def test_a_web_servers_listing_is_followed_as_a_folder_is(index: Index, ingest: Ingest, web: Any) -> None:
    url, root, server = web
    (root / "docs" / "deep").mkdir(parents=True)
    (root / "docs" / "a.txt").write_text("Seals rest on the skerries.")
    (root / "docs" / "deep" / "größe & maß.txt").write_text("The keeper counts ships.")
    (root / "secret.txt").write_text("Beside the folder.")
    source = f"{url}/docs/"
    assert counts(ingest(source)) == (2, 0, 0, 0)
    assert uris(index) == [f"{source}a.txt", f"{source}deep/gr%C3%B6%C3%9Fe%20%26%20ma%C3%9F.txt"]
    server.asked.clear()
    assert counts(ingest(source, selection=Selection(exclude=("nothing",)))) == (0, 0, 2, 0)
    (root / "docs" / "a.txt").write_text("Seals left.")
    assert counts(ingest(source)) == (0, 1, 1, 0)
    assert not any("secret" in path for path in server.asked)


def test_an_unchanged_file_is_not_fetched_again(ingest: Ingest, web: Any) -> None:
    url, root, server = web
    for name in "ab":
        (root / f"{name}.txt").write_text(f"Page {name}.")
        os.utime(root / f"{name}.txt", (1_700_000_000, 1_700_000_000))
    ingest(f"{url}/")
    server.asked.clear()
    assert counts(ingest(f"{url}/")) == (0, 0, 2, 0)
    assert not any(path.endswith(".txt") for path in server.asked)


def test_where_nothing_tells_of_a_change_the_content_decides(ingest: Ingest, web: Any) -> None:
    url, root, server = web
    server.quiet = True
    (root / "a.txt").write_text("Page one.")
    assert counts(ingest(f"{url}/")) == (1, 0, 0, 0)
    assert counts(ingest(f"{url}/")) == (0, 0, 1, 0)
    (root / "a.txt").write_text("Page two.")
    assert counts(ingest(f"{url}/")) == (0, 1, 0, 0)


def test_one_file_may_be_a_source(index: Index, ingest: Ingest, web: Any, memory: Any) -> None:
    url, root, _ = web
    (root / "a.txt").write_text("Seals rest on the skerries.")
    memory.pipe("/docs/b.txt", b"The keeper counts ships.")
    assert counts(ingest(f"{url}/a.txt")) == (1, 0, 0, 0)
    assert counts(ingest("memory://docs/b.txt")) == (1, 0, 0, 0)
    assert {one.document.source for one in index.store.list_manifests()} == {
        f"{url}/a.txt",
        "memory://docs/b.txt",
    }


def test_archives_and_sidecars_lie_in_buckets_too(
    index: Index, ingest: Ingest, memory: Any, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "papers.zip", "w") as archive:
        archive.writestr("inner/one.txt", "Seals rest on the skerries.")
        archive.writestr("two.txt", "The keeper counts ships.")
    memory.put(str(tmp_path / "papers.zip"), "/docs/papers.zip")
    memory.pipe("/docs/a.txt", b"A page.")
    memory.pipe("/docs/a.txt.meta.json", json.dumps({"team": "deck"}).encode())
    assert counts(ingest("memory://docs")) == (3, 0, 0, 0)
    assert uris(index)[1:] == [
        "memory://docs/papers.zip/inner/one.txt",
        "memory://docs/papers.zip/two.txt",
    ]
    assert counts(ingest("memory://docs")) == (0, 0, 3, 0)
    (page,) = [one for one in index.store.list_manifests() if one.document.uri.endswith("a.txt")]
    assert page.document.metadata == {"team": "deck"}
    memory.pipe("/docs/a.txt.meta.json", json.dumps({"team": "bridge"}).encode())
    assert counts(ingest("memory://docs")) == (0, 1, 2, 0)


def test_patterns_and_hidden_names_count_as_in_folders(index: Index, ingest: Ingest, memory: Any) -> None:
    for name in ("a.md", "b.txt", ".hidden.md", "drafts/c.md", ".git/d.md"):
        memory.pipe(f"/docs/{name}", b"A page.")
    ingest("memory://docs", selection=Selection(("*.md",), ("drafts/",)))
    assert uris(index) == ["memory://docs/a.md"]


def test_a_listing_that_breaks_off_removes_nothing(index: Index, ingest: Ingest, web: Any) -> None:
    url, root, server = web
    (root / "deep").mkdir()
    (root / "a.txt").write_text("One.")
    (root / "deep" / "b.txt").write_text("Two.")
    ingest(f"{url}/")
    before = uris(index)
    server.refuse.add("/deep/")
    with pytest.raises(SourceError) as error:
        ingest(f"{url}/")
    assert error.value.code == "source_unreadable"
    assert uris(index) == before


def test_a_file_that_cannot_be_fetched_is_named_and_tried_again(
    index: Index, ingest: Ingest, web: Any
) -> None:
    url, root, server = web
    (root / "a.txt").write_text("One.")
    (root / "b.txt").write_text("Two.")
    server.refuse.add("/b.txt")
    report = ingest(f"{url}/")
    assert [(one.uri, one.code) for one in report.failed] == [(f"{url}/b.txt", "unreadable")]
    server.refuse.clear()
    assert counts(ingest(f"{url}/"))[0] == 1
    assert len(uris(index)) == 2


def test_what_is_too_large_is_not_fetched(ingest: Ingest, web: Any) -> None:
    url, root, server = web
    (root / "big.txt").write_bytes(b"x" * 100_001)
    report = ingest(f"{url}/")
    assert [one.code for one in report.failed] == ["too_large"]
    assert "/big.txt" not in server.asked


def test_what_turns_out_to_be_too_large_is_not_fetched_to_its_end(ingest: Ingest, web: Any) -> None:
    url, root, server = web
    (root / "big.txt").write_bytes(b"x" * 90_000)
    served = server.copyfile

    def more(handler: Server, source: Any, output: Any) -> None:
        if handler.path == "/big.txt":  # a length that a HEAD request told differently
            handler.close_connection = True
            source = io.BytesIO(b"x" * 400_000)
        served(handler, source, output)

    def length(handler: Server, keyword: str, value: str) -> None:
        if not (handler.command == "GET" and handler.path == "/big.txt" and keyword == "Content-Length"):
            Server.send_header(handler, keyword, value)

    server.copyfile, server.send_header = more, length
    report = ingest(f"{url}/")
    assert [(one.code, "over 100000 bytes" in one.message) for one in report.failed] == [("too_large", True)]


def test_a_source_that_is_gone_or_suddenly_empty_is_refused(
    index: Index, ingest: Ingest, memory: Any, web: Any
) -> None:
    url, *_ = web
    for missing in ("memory://nowhere", f"{url}/nowhere.txt", "http://127.0.0.1:1/docs/"):
        with pytest.raises(SourceError) as error:
            ingest(missing)
        assert error.value.code in {"source_missing", "source_unreadable"}
    memory.pipe("/docs/a.txt", b"One.")
    ingest("memory://docs")
    memory.rm("/docs/a.txt")
    with pytest.raises(SourceError):
        ingest("memory://docs")
    assert uris(index) == ["memory://docs/a.txt"]
    assert counts(ingest("memory://docs", allow_empty=True)) == (0, 0, 0, 1)


def test_a_dry_run_counts_and_fetches_nothing(index: Index, ingest: Ingest, web: Any) -> None:
    url, root, server = web
    (root / "a.txt").write_text("One.")
    (root / "photo.png").write_bytes(b"\x89PNG")
    report = ingest(f"{url}/", dry_run=True)
    assert (report.added, [one.code for one in report.skipped]) == (1, ["unsupported_kind"])
    assert not any(path.endswith(("txt", "png")) for path in server.asked)
    assert uris(index) == []


@pytest.mark.parametrize(
    "uri",
    [
        "https://me:hunter2@host/docs/",
        "s3://key:hunter2@bucket/docs/",
        "https://host/docs/?X-Amz-Signature=hunter2",
        "https://host/docs/#hunter2",
        "ftp://host/docs",
        "ssh://me:hunter2@host/docs",
        "https://me:hunter2@[host/docs",
        "https://me:hunter2@ho\u2100st/docs",
    ],
)
def test_a_uri_that_may_hold_a_secret_is_refused_without_repeating_it(uri: str) -> None:
    with pytest.raises(SourceError) as error:
        check_uri(uri)
    assert error.value.code == "source_invalid"
    assert "hunter2" not in str(error.value)


def test_credentials_are_used_and_never_logged(
    ingest: Ingest,
    web: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """From netrc, as curl takes them; then wrong ones, whose refusal must not quote them."""
    url, root, server = web
    (root / "a.txt").write_text("One.")
    server.secret = "Basic bWU6aHVudGVyMg=="  # me:hunter2
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    caplog.set_level(logging.DEBUG)
    assert counts(ingest(f"{url}/")) == (1, 0, 0, 0)
    server.secret = "Basic other"
    with pytest.raises(SourceError) as error:
        ingest(f"{url}/")
    for told in (caplog.text, str(error.value)):
        assert "hunter2" not in told
        assert "bWU6aHVudGVyMg" not in told


@pytest.fixture
def moving(web: Any) -> tuple[str, type[Server]]:
    """A web server whose folder `docs` holds files that have moved: within it, out of it, to another host."""
    url, root, server = web
    (root / "docs" / "deep").mkdir(parents=True)
    (root / "docs" / "a.txt").write_text("Seals rest on the skerries.")
    (root / "docs" / "deep" / "new.txt").write_text("The keeper counts ships.")
    (root / "secret.txt").write_text("Not for everyone.")
    for name in ("within", "out", "away"):
        (root / "docs" / f"{name}.txt").write_text("Never sent: it has moved.")
    server.moved["/docs/within.txt"] = "/docs/deep/new.txt?version=2"
    server.moved["/docs/out.txt"] = f"{url}/docs/%2e%2e/secret.txt?token=hidden"
    server.moved["/docs/away.txt"] = f"{url.replace('127.0.0.1', 'localhost')}/docs/a.txt"
    return url, server


@pytest.mark.parametrize("root", ["{}/docs", "{}/docs/", "{}/docs/out.txt", "{}/do%63s"])
def test_a_redirect_out_of_the_roots_is_not_followed(
    index: Index, ingest: Ingest, moving: Any, root: str
) -> None:
    url, server = moving
    with pytest.raises(
        SourceError, match=r"redirects to http://127\.0\.0\.1:\d+/secret\.txt, outside of"
    ) as refused:
        ingest(f"{url}/docs/out.txt", roots=(root.format(url), "s3://other"))
    assert refused.value.code == "source_not_allowed"
    assert "hidden" not in str(refused.value)
    assert not [path for path in server.asked if "secret" in path]
    assert uris(index) == []


def test_what_has_moved_out_of_the_roots_is_named_and_the_rest_is_read(
    index: Index, ingest: Ingest, moving: Any
) -> None:
    url, server = moving
    report = ingest(f"{url}/docs/", roots=(f"{url}/docs",))
    failed = {one.uri.rsplit("/", 1)[1]: one.code for one in report.failed}
    assert failed == {"out.txt": "source_not_allowed", "away.txt": "source_not_allowed"}
    assert [uri.rsplit("/docs/")[1] for uri in uris(index)] == ["a.txt", "deep/new.txt", "within.txt"]
    assert not [path for path in server.asked if "secret" in path]


def test_what_moves_after_it_was_listed_is_not_followed_either(
    index: Index, ingest: Ingest, moving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server tells a file's size on HEAD, and redirects on GET."""
    url, server = moving
    source = f"{url}/docs/out.txt"
    monkeypatch.setattr(server, "do_HEAD", http.server.SimpleHTTPRequestHandler.do_HEAD)
    report = ingest(source, roots=(f"{url}/docs",))
    assert [(one.uri, one.code) for one in report.failed] == [(source, "source_not_allowed")]
    assert not [path for path in server.asked if "secret" in path]


def test_a_listing_that_has_moved_out_of_the_roots_is_refused(ingest: Ingest, moving: Any) -> None:
    url, server = moving
    server.moved["/docs/deep/"] = f"{url}/"
    with pytest.raises(SourceError) as refused:
        ingest(f"{url}/docs/", roots=(f"{url}/docs",))
    assert refused.value.code == "source_not_allowed"


def test_the_machines_own_user_may_be_led_anywhere(index: Index, ingest: Ingest, moving: Any) -> None:
    """A source outside of every root was not named over TCP."""
    url, _ = moving
    assert ingest(f"{url}/docs/away.txt").added == 1
    assert ingest(f"{url}/docs/out.txt", roots=("/srv/docs", f"{url}/other/")).added == 1


def test_uris_are_percent_encoded_in_one_way() -> None:
    assert check_uri("s3://bucket/a b/ü.txt") == "s3://bucket/a%20b/%C3%BC.txt"
    assert check_uri("s3://bucket/a%20b/%c3%bc.txt") == "s3://bucket/a%20b/%C3%BC.txt"


def test_a_scheme_whose_library_is_not_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(scheme: str, **_: object) -> None:
        raise ImportError

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(SourceError, match=r"pip install 'latewood\[s3\]'"):
        RemoteSource("s3://bucket/docs/", tmp_path, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_stamp_changes_with_size_time_or_tag() -> None:
    base = {"size": 3, "ETag": '"1"', "LastModified": formatdate(1_700_000_000, usegmt=True)}
    stamp = stamp_of(base)
    assert stamp.mtime_ns == 1_700_000_000 * 10**9
    assert stamp.same_file_state(stamp_of(dict(base)))
    for change in ({"size": 4}, {"ETag": '"2"'}, {"LastModified": formatdate(1_700_000_001, usegmt=True)}):
        assert not stamp.same_file_state(stamp_of({**base, **change}))
    assert not stamp_of({"size": 3}).same_file_state(stamp_of({"size": 3}))
