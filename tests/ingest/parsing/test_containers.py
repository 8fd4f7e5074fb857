from __future__ import annotations

import gzip
import hashlib
import os
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from latewood.ingest.parsing import zip_archive
from latewood.ingest.parsing.sandbox.protocol import Unchanged
from latewood.ingest.parsing.zip_archive import ArchiveReader, Member, is_container
from latewood.ingest.types import ParseError


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "a.zip"


@pytest.fixture
def reader() -> Iterator[ArchiveReader]:
    one = ArchiveReader(1_000_000)
    yield one
    one.close()


def fill(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def names(members: list[Member]) -> list[str]:
    return [one.name for one in members]


def fault(call, *arguments) -> ParseError:
    with pytest.raises(ParseError) as caught:
        call(*arguments)
    assert caught.value.message
    return caught.value


def test_members_are_listed_with_size_and_sum_and_read_whole(path, reader):
    fill(path, {"notes.md": b"# Hi", "inner/page.html": b"<p>x", "inner/": b""})
    assert reader.members(str(path)) == [
        Member("notes.md", 4, zlib.crc32(b"# Hi")),
        Member("inner/page.html", 4, zlib.crc32(b"<p>x")),
    ]
    data, stamp = reader.read(str(path), "inner/page.html", "page.html")
    assert data == b"<p>x"
    assert (stamp.size, stamp.inode) == (path.stat().st_size, path.stat().st_ino)


def test_a_member_may_unpack_to_so_many_times_its_size(path):
    reader = ArchiveReader(10_000_000)
    fill(path, {"bomb.txt": b"0" * 2_000_000, "inner/notes.md": b"# Hi", "log.txt": b"0" * 1_000_000})
    bomb, *others = reader.members(str(path))
    assert (bomb.name, bomb.code, bomb.skipped) == ("bomb.txt", "too_large", False)
    assert "the limit is 200 times its packed size" in bomb.message
    assert [one.code for one in others] == ["", ""]
    assert fault(reader.read, str(path), "bomb.txt", "bomb.txt").code == "too_large"
    reader.close()


def test_a_packed_file_in_an_archive_counts_by_its_size_there(path, pool):
    """Each of the two packings is within the limit, and both together are not."""
    twice = gzip.compress(b"words " * 2_000_000, 9)
    fill(path, {"twice.txt.gz": twice})
    (member,) = pool.list_members(str(path))
    assert member.code == ""
    assert fault(lambda: pool.parse(str(path), member="twice.txt.gz")).code == "too_large"
    once = gzip.compress("".join(f"line {number}\n" for number in range(200_000)).encode())
    fill(path, {"log.txt.gz": once})
    assert pool.parse(str(path), member="log.txt.gz").parsed.text.startswith("line 0\nline 1\n")


def test_a_pool_lists_and_parses_members(path, pool, fixtures):
    docx = (fixtures / "good.docx").read_bytes()
    fill(path, {"a/notes.md": b"# Hi\n\nwords", "b/good.docx": docx, "c.md.gz": b"", "p.png": b"\x89PNG"})
    assert names(pool.list_members(path.as_posix())) == ["a/notes.md", "b/good.docx", "c.md.gz", "p.png"]
    result = pool.parse(str(path), member="a/notes.md")
    assert (result.parsed.title, result.parsed.kind) == ("Hi", "markdown")
    assert result.content_hash == hashlib.sha256(b"# Hi\n\nwords").hexdigest()
    assert result.stamp.same_file_state(pool.parse(str(path), member="b/good.docx").stamp)
    assert isinstance(pool.parse(str(path), result.content_hash, member="a/notes.md"), Unchanged)
    for member, code, skipped in (("c.md.gz", "empty_file", True), ("p.png", "unsupported_kind", True)):
        error = fault(lambda member=member: pool.parse(str(path), member=member))
        assert (error.code, error.skipped) == (code, skipped)


def test_an_archive_that_changes_is_read_anew(path, reader):
    fill(path, {"a.txt": b"old"})
    assert reader.read(str(path), "a.txt", "a.txt")[0] == b"old"
    other = path.with_name("b")
    fill(other, {"a.txt": b"new", "b.txt": b"x"})
    other.replace(path)
    assert names(reader.members(str(path))) == ["a.txt", "b.txt"]
    assert reader.read(str(path), "a.txt", "a.txt")[0] == b"new"
    assert fault(reader.read, str(path), "gone.txt", "gone.txt").code == "vanished"
    path.unlink()
    assert fault(reader.members, str(path)).code == "vanished"


def test_only_the_last_archive_stays_open(tmp_path, reader):
    for number in range(20):
        fill(tmp_path / f"{number}.zip", {"a.txt": b"x"})
        reader.members(str(tmp_path / f"{number}.zip"))
    opened = psutil.Process().open_files()
    assert [Path(one.path).name for one in opened if one.path.startswith(str(tmp_path))] == ["19.zip"]


@pytest.mark.parametrize(
    "name", ["/etc/passwd.txt", "../up.txt", "a/../../up.txt", "C:\\win.txt", "C:/win.txt"]
)
def test_a_name_that_leads_out_is_refused(name, path, reader):
    fill(path, {name: b"x", "fine.txt": b"x"})
    bad, fine = reader.members(str(path))
    assert (bad.code, fine.code) == ("unsafe_name", "")
    assert fault(reader.read, str(path), bad.name, "x.txt").code == "unsafe_name"


def test_names_are_put_in_order_and_the_last_of_equals_counts(path, reader):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fill(path, {"./a//b.txt": b"first", "x\\y.txt": b"1"})
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("a/b.txt", b"second")
    assert names(reader.members(str(path))) == ["x/y.txt", "a/b.txt"]
    assert reader.read(str(path), "a/b.txt", "b.txt")[0] == b"second"


def test_names_in_utf8_that_do_not_say_so_and_old_code_pages_are_read(path, reader):
    fill(path, {"grXXe.txt": b"x", "naXve.txt": b"y"})
    data = path.read_bytes().replace(b"grXXe", "grüe".encode()).replace(b"naXve", b"na\x8bve")
    path.write_bytes(data)
    assert names(reader.members(str(path))) == ["grüe.txt", "naïve.txt"]
    assert reader.read(str(path), "naïve.txt", "x.txt")[0] == b"y"


def test_what_the_system_adds_is_left_out_and_hidden_names_are_listed(path, reader):
    fill(
        path, {"__MACOSX/._a.txt": b"x", ".DS_Store": b"x", "a/.DS_Store": b"x", ".env": b"x", "a.txt": b"x"}
    )
    assert names(reader.members(str(path))) == [".env", "a.txt"]


def test_links_locked_and_nested_members_are_named_with_the_reason(path, reader):
    link = zipfile.ZipInfo("link.txt")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    fill(path, {"inner.zip": b"x", "locked.txt": b"x", "large.txt": bytes(1_000_001)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("odd.txt", b"x", zipfile.ZIP_BZIP2)
    data = bytearray(path.read_bytes())
    for signature, offset, name in ((b"PK\x03\x04", 6, 30), (b"PK\x01\x02", 8, 46)):
        at = data.index(b"locked.txt", data.index(signature)) if name == 30 else data.rindex(b"locked.txt")
        data[at - name + offset] |= 1
    path.write_bytes(data)
    found = {one.name: (one.code, one.skipped, one.encrypted) for one in reader.members(str(path))}
    assert found == {
        "inner.zip": ("unsupported_kind", True, False),
        "locked.txt": ("encrypted", False, True),
        "large.txt": ("too_large", False, False),
        "link.txt": ("not_a_file", True, False),
        "odd.txt": ("unsupported_kind", True, False),
    }
    for name, (code, skipped, _) in found.items():
        error = fault(reader.read, str(path), name, name)
        assert (error.code, error.skipped) == (code, skipped)


def test_more_members_than_the_limit_are_refused(path, reader, monkeypatch):
    monkeypatch.setattr(zip_archive, "MOST_MEMBERS", 3)
    fill(path, {f"{number}.txt": b"x" for number in range(4)})
    error = fault(reader.members, str(path))
    assert (error.code, "4 files" in error.message) == ("too_large", True)
    # A refused archive leaves nothing behind that the next call would take for its list.
    assert fault(reader.read, str(path), "0.txt", "0.txt").code == "too_large"


def test_a_bomb_is_refused_before_it_is_unpacked(path, reader):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(300):
            archive.writestr(f"{number}.txt", bytes(1_000_000))
    error = fault(reader.members, str(path))
    assert (error.code, "300000000" in error.message) == ("too_large", True)


def test_a_member_that_lies_about_its_size_is_stopped_and_corrupt(path, reader):
    fill(path, {"a.txt": bytes(900_000)})
    data = path.read_bytes().replace(struct.pack("<I", 900_000), struct.pack("<I", 10))
    path.write_bytes(data)
    assert fault(reader.read, str(path), "a.txt", "a.txt").code == "corrupt"


def test_damage_is_corrupt_and_the_other_members_are_read(path, reader):
    fill(path, {"a.txt": b"some words", "b.txt": b"others"}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"some words", b"some wyrds"))
    assert fault(reader.read, str(path), "a.txt", "a.txt").code == "corrupt"
    assert reader.read(str(path), "b.txt", "b.txt")[0] == b"others"


@pytest.mark.parametrize("data", [b"", b"no zip at all", b"PK\x03\x04" + bytes(40)])
def test_what_is_no_archive_is_corrupt(data, path, reader):
    path.write_bytes(data)
    assert fault(reader.members, str(path)).code == "corrupt"


def test_half_an_archive_is_corrupt(path, reader):
    fill(path, {"a.txt": b"x" * 1000, "b.txt": b"y" * 1000})
    path.write_bytes(path.read_bytes()[:-40])
    assert fault(reader.members, str(path)).code == "corrupt"


def test_a_folder_or_pipe_is_no_archive(tmp_path, reader):
    os.mkfifo(tmp_path / "p.zip")
    for name in ("", "p.zip"):
        error = fault(reader.members, str(tmp_path / name))
        assert (error.code, error.skipped) == ("not_a_file", True)


def test_an_empty_archive_has_no_members(path, reader):
    with zipfile.ZipFile(path, "w"):
        pass
    assert reader.members(str(path)) == []


def test_a_member_of_a_kind_without_a_reader_is_not_unpacked(path, reader, monkeypatch):
    fill(path, {"a.png": bytes(100_000)})
    pieces = []
    original = zipfile.ZipExtFile.read
    monkeypatch.setattr(zipfile.ZipExtFile, "read", lambda self, n=-1: pieces.append(n) or original(self, n))
    assert fault(reader.read, str(path), "a.png", "a.png").code == "unsupported_kind"
    assert pieces == [8192]


def test_zip_archives_are_known_by_their_name():
    assert [is_container(name) for name in ("a.zip", "A.ZIP", "a.docx", "zip")] == [True, True, False, False]
