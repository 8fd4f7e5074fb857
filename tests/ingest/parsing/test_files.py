from __future__ import annotations

import errno
import os

import pytest

from latewood.ingest.parsing import read_file as files
from latewood.ingest.parsing.read_file import read_file
from latewood.ingest.types import ParseError

LIMIT = 1000


def failing(path) -> ParseError:
    with pytest.raises(ParseError) as caught:
        read_file(str(path), str(path), LIMIT)
    return caught.value


def test_a_file_is_read_whole_with_its_stamp(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc")
    data, stamp = read_file(str(path), "a.txt", LIMIT)
    assert data == b"abc"
    assert (stamp.size, stamp.inode) == (3, path.stat().st_ino)


def test_a_missing_file_has_vanished(tmp_path):
    error = failing(tmp_path / "gone.txt")
    assert (error.code, error.transient, error.skipped) == ("vanished", True, False)


def test_a_link_to_itself_is_a_loop(tmp_path):
    loop = tmp_path / "loop.txt"
    loop.symlink_to(loop)
    error = failing(loop)
    assert (error.code, error.transient) == ("symlink_loop", False)


def test_folders_and_pipes_are_skipped(tmp_path):
    folder = tmp_path / "folder.txt"
    folder.mkdir()
    pipe = tmp_path / "pipe.txt"
    os.mkfifo(pipe)
    for path in (folder, pipe):
        error = failing(path)
        assert (error.code, error.skipped) == ("not_a_file", True)


def test_a_file_without_permission_may_be_read_next_time(tmp_path, monkeypatch):
    path = tmp_path / "secret.txt"
    path.write_text("secret")

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files.os, "open", refuse)
    error = failing(path)
    assert (error.code, error.transient, error.skipped) == ("permission_denied", True, False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_read_permission_is_named(tmp_path):
    path = tmp_path / "secret.txt"
    path.write_text("secret")
    path.chmod(0)
    assert failing(path).code == "permission_denied"


def test_a_file_that_changes_once_is_read_again(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    changes = iter([b"newer", None])
    monkeypatch.setattr(files, "_read", _changing(path, changes))
    assert read_file(str(path), "a.txt", LIMIT)[0] == b"newer"


def test_a_file_that_keeps_changing_is_left_for_next_time(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    monkeypatch.setattr(files, "_read", _changing(path, iter([b"newer", b"newest"])))
    error = failing(path)
    assert (error.code, error.transient) == ("changed_while_reading", True)


def _changing(path, changes):
    """Reads, and afterwards writes the next of `changes` into the file."""
    read = files._read

    def reading(descriptor, size):
        data = read(descriptor, size)
        change = next(changes)
        if change is not None:
            path.write_bytes(change)
        return data

    return reading


def test_a_file_that_grows_while_read_is_noticed(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"abcdef")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert len(files._read(descriptor, 3)) == 4
    finally:
        os.close(descriptor)


def test_a_large_file_without_a_reader_is_skipped_not_too_large(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"x" * (LIMIT + 1))
    assert failing(path).code == "unsupported_kind"
    text = tmp_path / "log.txt"
    text.write_bytes(b"x" * (LIMIT + 1))
    assert failing(text).code == "too_large"
