from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latewood.ingest.sources.diff import (
    GRAIN_NS,
    ScannedFile,
    ScanResult,
    SourceError,
    check_overlap,
    check_root,
    diff,
    file_uri,
    folder_uri,
    path_of,
    scan,
)
from latewood.ingest.sources.inventory import Known
from latewood.search.types import Failure, FileStamp

PARSER = "1"
S = "file:///s/"
HOUR = 3_600_000_000_000
QUIET = FileStamp(size=3, mtime_ns=HOUR, ctime_ns=HOUR, inode=7, scanned_ns=2 * HOUR)


def names(found: ScanResult) -> list[str]:
    return [Path(file.path).name for file in found.files]


def codes(found: ScanResult) -> dict[str, str]:
    return {finding.uri.rsplit("/", 1)[1]: finding.code for finding in (*found.skipped, *found.failed)}


def write(path: Path, text: str = "text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# --- names


@pytest.mark.parametrize(
    ("name", "encoded"),
    [("a b", "a%20b"), ("🌲", "%F0%9F%8C%B2"), ("50%#?", "50%25%23%3F"), ("é~-._", "%C3%A9~-._")],
)
def test_a_uri_is_percent_encoded(tmp_path: Path, name: str, encoded: str) -> None:
    base = f"file://{os.path.realpath(tmp_path)}/"
    assert folder_uri(tmp_path / name) == f"{base}{encoded}/"
    assert file_uri(tmp_path / name) == f"{base}{encoded}"


@given(
    st.binary(min_size=1, max_size=20).filter(
        lambda name: not set(name) & {0, 47} and name not in (b".", b"..")
    )
)
def test_any_file_name_comes_back_from_its_uri(name: bytes) -> None:
    path = "/no-such-folder/" + os.fsdecode(name)
    assert file_uri(path).isascii()
    assert path_of(file_uri(path)) == path
    assert path_of(folder_uri(path)) == path


def test_the_uri_of_the_root_folder_has_three_slashes() -> None:
    assert folder_uri("/") == "file:///"
    assert path_of("file:///") == "/"


def test_a_source_is_named_by_the_folder_behind_its_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert folder_uri(tmp_path / "link") == folder_uri(tmp_path / "real")


def test_a_single_file_is_a_source_named_by_its_own_uri(tmp_path: Path) -> None:
    path = write(tmp_path / "one.txt")
    assert folder_uri(path) == file_uri(path)
    assert [file.uri for file in scan(path).files] == [file_uri(path)]


def test_a_name_that_the_system_cannot_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as error:
        folder_uri(tmp_path / ("x" * 300))
    assert error.value.code == "source_unreadable"


def test_a_relative_path_names_the_same_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "docs" / "one.txt")
    monkeypatch.chdir(tmp_path)
    assert folder_uri("docs/../docs/") == folder_uri(tmp_path / "docs")
    assert scan("docs/one.txt").files[0].path == os.path.realpath(path)
    assert scan("docs").files[0].uri == file_uri("docs/one.txt")


@pytest.mark.parametrize("uri", ["https://example.org/a", "upload:a", "file://host/a", "/a"])
def test_a_uri_of_another_kind_has_no_path(uri: str) -> None:
    with pytest.raises(SourceError, match="not a file:/// uri") as error:
        path_of(uri)
    assert error.value.code == "source_invalid"


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_a_path_that_names_nothing_is_refused(path: str) -> None:
    with pytest.raises(SourceError, match="names no folder") as error:
        folder_uri(path)
    assert error.value.code == "source_invalid"


# --- scanning


def test_files_are_found_in_order_with_their_stamps(tmp_path: Path) -> None:
    for name in ("b/z.txt", "b/a.txt", "a.txt", "c c.txt", "🌲/x.txt"):
        write(tmp_path / name)
    found = scan(tmp_path)
    assert [file.uri for file in found.files] == sorted(file.uri for file in found.files)
    assert set(names(found)) == {"a.txt", "c c.txt", "z.txt", "x.txt"}
    assert len(found.files) == 5
    status = (tmp_path / "a.txt").stat()
    stamp = next(file.stamp for file in found.files if file.path == str(tmp_path / "a.txt"))
    assert (stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode) == (
        4,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
    )
    assert (found.skipped, found.failed, found.unreadable) == ((), (), ())


def test_a_name_that_is_not_utf8_is_found_and_can_be_opened(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.txt"
    Path(os.fsdecode(raw)).write_bytes(b"text")
    (file,) = scan(tmp_path).files
    assert file.uri == folder_uri(tmp_path) + "caf%E9.txt"
    assert Path(path_of(file.uri)).read_bytes() == b"text"
    assert os.fsencode(file.path) == raw


def test_hidden_files_and_folders_are_left_out_without_a_word(tmp_path: Path) -> None:
    write(tmp_path / ".hidden")
    write(tmp_path / ".git" / "config")
    assert scan(tmp_path) == ScanResult()


def test_folders_to_be_left_out_are_not_looked_into(tmp_path: Path) -> None:
    write(tmp_path / "index" / "segment.txt")
    write(tmp_path / "a.txt")
    assert names(scan(tmp_path, left_out=[tmp_path / "index"])) == ["a.txt"]


def test_links_to_files_are_followed_and_links_to_folders_are_not(tmp_path: Path) -> None:
    target = write(tmp_path / "elsewhere" / "target.txt", "twelve chars")
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").symlink_to(target)
    (source / "folder").symlink_to(target.parent)
    (source / "up").symlink_to(source)
    found = scan(source)
    assert [(file.uri, file.stamp.size) for file in found.files] == [(folder_uri(source) + "file", 12)]
    assert codes(found) == {"folder": "symlink_directory", "up": "symlink_directory"}
    assert found.failed == ()


def test_a_link_that_leads_back_to_itself_has_failed(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    write(tmp_path / "c.txt")
    found = scan(tmp_path)
    assert names(found) == ["c.txt"]
    assert [finding.code for finding in found.failed] == ["symlink_loop", "symlink_loop"]
    assert found.unreadable == (folder_uri(tmp_path) + "a", folder_uri(tmp_path) + "b")


def test_a_link_to_nothing_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("gone")
    found = scan(tmp_path)
    assert codes(found) == {"a": "broken_symlink"}
    assert found.failed == ()


def test_pipes_and_sockets_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert codes(scan(tmp_path)) == {"pipe": "not_a_file", "socket": "not_a_file"}


def refuse(monkeypatch: pytest.MonkeyPatch, folder: Path, error: OSError) -> None:
    """Make listing `folder` fail, also for a user whom permissions do not stop."""
    listing = os.scandir

    def scandir(path: str) -> object:
        if path == os.path.realpath(folder):
            raise error
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)


def test_documents_below_a_folder_that_cannot_be_read_are_not_taken_for_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = write(tmp_path / "locked" / "inside.txt")
    beside = write(tmp_path / "beside.txt")
    gone = tmp_path / "locked-not" / "gone.txt"
    known = {file_uri(path): document(file_uri(path)) for path in (inside, beside, gone)}
    refuse(monkeypatch, tmp_path / "locked", PermissionError(13, "Permission denied"))
    found = scan(tmp_path)
    assert names(found) == ["beside.txt"]
    assert [(finding.uri, finding.code) for finding in found.failed] == [
        (folder_uri(tmp_path / "locked"), "permission_denied")
    ]
    plan = diff(folder_uri(tmp_path), found, known, parser_version=PARSER)
    assert [left.uri for left in plan.removed] == [file_uri(gone)]


def test_any_other_failure_to_list_a_folder_is_named_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stale").mkdir()
    refuse(monkeypatch, tmp_path / "stale", OSError(116, "Stale file handle"))
    (failure,) = scan(tmp_path).failed
    assert failure.code == "unreadable"
    assert failure.message.startswith("Stale file handle")


def test_a_folder_that_vanishes_during_the_scan_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "gone" / "a.txt")
    write(tmp_path / "b.txt")
    refuse(monkeypatch, tmp_path / "gone", FileNotFoundError(2, "No such file or directory"))
    found = scan(tmp_path)
    assert names(found) == ["b.txt"]
    assert (found.failed, found.unreadable) == ((), ())


def test_a_file_that_vanishes_during_the_scan_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.txt")
    write(tmp_path / "b.txt")
    listing = os.scandir

    class Listing:
        def __init__(self, path: str) -> None:
            with listing(path) as entries:
                self.entries = list(entries)
            (tmp_path / "a.txt").unlink()

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *_: object) -> None:
            return None

    monkeypatch.setattr(os, "scandir", Listing)
    found = scan(tmp_path)
    assert names(found) == ["b.txt"]
    assert (found.skipped, found.failed) == ((), ())


def test_a_missing_root_is_an_error_unless_it_may_be_missing(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist") as error:
        scan(tmp_path / "none")
    assert error.value.code == "source_missing"
    assert scan(tmp_path / "none", missing_ok=True) == ScanResult()


def test_a_root_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, tmp_path, PermissionError(13, "Permission denied"))
    with pytest.raises(SourceError, match="Permission denied") as error:
        scan(tmp_path, missing_ok=True)
    assert error.value.code == "source_unreadable"


def test_a_root_that_is_a_link_to_itself_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(SourceError) as error:
        scan(tmp_path / "loop")
    assert error.value.code == "source_unreadable"


def test_a_root_that_is_a_pipe_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="neither a folder nor a file") as error:
        scan(tmp_path / "pipe")
    assert error.value.code == "source_invalid"


# --- comparing


def document(
    uri: str = "file:///s/a",
    stamp: FileStamp | None = QUIET,
    live: bool = True,
    failure: Failure | None = None,
) -> Known:
    return Known(uri, uri, live, "0" * 64, stamp, failure)


def failure(stamp: FileStamp | None = QUIET, *, parser: str = PARSER, transient: bool = False) -> Failure:
    return Failure("corrupt", "it is broken", "", "0" * 64, stamp, parser, transient)


def verdict(known: Known | None, stamp: FileStamp = QUIET) -> str:
    """The list of the plan that a lone file lands in."""
    file = ScannedFile("file:///s/a", stamp)
    plan = diff(S, ScanResult((file,)), {"file:///s/a": known} if known else {}, parser_version=PARSER)
    (name,) = [name for name in plan.__dataclass_fields__ if getattr(plan, name)]
    assert getattr(plan, name) == (file,)
    return name


LATER = replace(QUIET, scanned_ns=3 * HOUR)
EDITED = replace(LATER, mtime_ns=HOUR + 1, ctime_ns=HOUR + 1)


def test_a_file_without_a_manifest_is_new() -> None:
    assert verdict(None) == "new"


def test_a_file_whose_first_attempt_was_cut_off_is_new() -> None:
    assert verdict(document(live=False, stamp=None), LATER) == "new"


def test_the_same_stamp_means_unchanged() -> None:
    assert verdict(document(), LATER) == "unchanged"


@pytest.mark.parametrize("key", ["size", "mtime_ns", "ctime_ns", "inode"])
def test_any_other_size_time_or_inode_means_changed(key: str) -> None:
    assert verdict(document(), replace(LATER, **{key: 5})) == "changed"


def test_a_live_document_without_a_stamp_is_read_again() -> None:
    assert verdict(document(stamp=None), LATER) == "changed"


@pytest.mark.parametrize(
    ("touched", "expected"),
    [(GRAIN_NS + 1, "unchanged"), (GRAIN_NS, "check"), (0, "check"), (-HOUR, "check")],
)
def test_a_file_changed_within_the_grain_of_the_last_look_is_hashed(touched: int, expected: str) -> None:
    seen = FileStamp(size=3, mtime_ns=HOUR, ctime_ns=5 * HOUR - touched, inode=7, scanned_ns=5 * HOUR)
    assert verdict(document(stamp=seen), replace(seen, scanned_ns=9 * HOUR)) == expected


def test_a_time_set_far_into_the_future_does_not_make_a_file_be_hashed_forever() -> None:
    seen = FileStamp(size=3, mtime_ns=99 * HOUR, ctime_ns=HOUR, inode=7, scanned_ns=5 * HOUR)
    assert verdict(document(stamp=seen), replace(seen, scanned_ns=9 * HOUR)) == "unchanged"


def test_a_change_that_keeps_the_size_right_after_a_scan_is_not_missed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one")
    first = scan(tmp_path).files[0]
    status = path.stat()
    path.write_text("two", encoding="utf-8")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    plan = diff(
        folder_uri(tmp_path),
        scan(tmp_path),
        {first.uri: document(first.uri, first.stamp)},
        parser_version=PARSER,
    )
    assert plan.unchanged == ()
    assert len(plan.check + plan.changed) == 1


@pytest.mark.parametrize("live", [True, False])
def test_bytes_that_failed_for_good_are_not_tried_again(live: bool) -> None:
    old = document(live=live, stamp=replace(QUIET, inode=1), failure=failure())
    assert verdict(old, LATER) == "failed_before"


@pytest.mark.parametrize(("live", "expected"), [(True, "changed"), (False, "new")])
@pytest.mark.parametrize(
    "reason",
    [
        failure(EDITED),
        failure(transient=True),
        failure(parser="0"),
        failure(None),
        failure(replace(QUIET, scanned_ns=HOUR + 1)),
    ],
    ids=["file changed", "transient", "other parser", "never read", "within the grain"],
)
def test_a_failed_file_is_tried_again_for_a_reason(live: bool, expected: str, reason: Failure) -> None:
    old = document(live=live, stamp=replace(QUIET, inode=1), failure=reason)
    assert verdict(old, LATER) == expected


def test_a_failed_file_whose_old_bytes_came_back_is_checked() -> None:
    assert verdict(document(failure=failure(EDITED)), LATER) == "check"


def test_a_file_that_is_gone_is_removed_also_when_it_never_could_be_read() -> None:
    gone, failed = document("file:///s/b"), document("file:///s/c", None, False, failure())
    plan = diff(S, ScanResult(), {"file:///s/c": failed, "file:///s/b": gone}, parser_version=PARSER)
    assert plan.removed == (gone, failed)


def test_a_file_that_cannot_be_looked_at_is_not_removed() -> None:
    found = ScanResult(unreadable=("file:///s/a",))
    assert diff(S, found, {"file:///s/a": document()}, parser_version=PARSER).removed == ()
    longer = {"file:///s/ab": document("file:///s/ab")}
    assert len(diff(S, found, longer, parser_version=PARSER).removed) == 1


def test_a_source_that_lost_all_its_files_is_an_error_unless_it_may_be_empty() -> None:
    known = {"file:///s/a": document(), "file:///s/b": document("file:///s/b", None, False, failure())}
    with pytest.raises(SourceError, match=r"1 documents were ingested .* --allow-empty") as error:
        check_root("file:///s/", ScanResult(), known, allow_empty=False)
    assert error.value.code == "source_empty"
    check_root("file:///s/", ScanResult(), known, allow_empty=True)


def test_a_source_may_be_empty_when_nothing_would_be_removed() -> None:
    check_root("file:///s/", ScanResult(), {}, allow_empty=False)
    unread = ScanResult(unreadable=("file:///s/",))
    check_root("file:///s/", unread, {"file:///s/a": document()}, allow_empty=False)


@pytest.mark.parametrize(
    ("source", "known"),
    [
        ("file:///a/", "file:///a/b/"),
        ("file:///a/b/", "file:///a/"),
        ("file:///a/b.txt", "file:///a/"),
        ("file:///a/", "file:///a/b.txt"),
        ("file:///", "file:///a/"),
    ],
)
def test_sources_that_overlap_are_refused_with_both_names(source: str, known: str) -> None:
    with pytest.raises(SourceError) as error:
        check_overlap(source, {known, "uploads:"})
    assert error.value.code == "source_overlap"
    assert source in str(error.value)
    assert known in str(error.value)


def test_sources_beside_each_other_do_not_overlap() -> None:
    check_overlap("file:///a/", {"file:///a/", "file:///ab/", "file:///b/a/", "file:///a.txt", "uploads:"})


def test_the_data_directory_is_no_source(tmp_path: Path) -> None:
    write(tmp_path / "data" / "uploads" / "a.txt")
    for root in (tmp_path / "data", tmp_path / "data" / "uploads"):
        with pytest.raises(SourceError) as refused:
            scan(root, left_out=[tmp_path / "data"])
        assert refused.value.code == "source_invalid"
