"""The record file is a second copy: whatever befalls it, the index opens, answers, and the rest is kept."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
from contextlib import closing

import pytest

from latewood.search.types import Manifest, Record


def records_of(kit, count: int) -> list[Record]:
    made = []
    for number in range(count):
        (passage,) = kit.passages(kit.document(f"r{number}"), "v", [os.urandom(3000).hex()])
        made.append(Record(Manifest(passage.document, "r", live="v", chunks=1), (passage.chunk,)))
    return sorted(made, key=lambda one: one.document_id)


@pytest.fixture
def records(kit) -> list[Record]:
    return records_of(kit, 60)


@pytest.fixture
def written(open_edge, kit, records):
    """A closed index with a document and many records."""
    store = open_edge()
    kit.commit(store, "a", ["oak", "elm"])
    for one in records:
        store.put_records([one])
    store.close()
    return records


@pytest.fixture
def file(index_folder):
    return index_folder / "index" / "records.sqlite"


def assert_answers(store, kit) -> None:
    assert [one.chunk.text for one in store.chunks_of(kit.document("a").id)] == ["oak", "elm"]
    assert len(store.search(kit.legs("oak"))[1]) == 1


def test_records_outlive_a_kill_and_a_close(open_edge, kit):
    store = open_edge()
    made = records_of(kit, 3)
    ids = [one.document_id for one in made]
    store.put_records(made)
    os.kill(store.worker_pid, signal.SIGKILL)
    assert store.get_records(ids) == made
    store.put_records(made)
    store.close()
    assert open_edge().get_records(ids) == made


def test_an_index_without_a_record_file_has_no_records(open_edge, file, written):
    file.unlink()
    store = open_edge()
    assert (store.list_records(), store.get_records([written[0].document_id])) == ([], [])
    store.sweep(["v"])
    assert not file.exists()
    store.put_records(written[:1])
    assert store.get_records([written[0].document_id]) == written[:1]


@pytest.mark.parametrize("column", ["chunks", "manifest", "checksum"])
def test_a_damaged_row_is_listed_but_not_given_until_it_is_written_again(
    open_edge, kit, file, written, column, caplog
):
    hurt = written[7]
    with closing(sqlite3.connect(file)) as database, database:
        (value,) = database.execute(
            f"SELECT CAST({column} AS BLOB) FROM records WHERE document_id = ?", (hurt.document_id,)
        ).fetchone()
        flipped = bytearray(value)
        flipped[len(value) // 2] ^= 0x80
        kind = "CAST(? AS TEXT)" if column == "manifest" else "?"
        database.execute(
            f"UPDATE records SET {column} = {kind} WHERE document_id = ?", (bytes(flipped), hurt.document_id)
        )
    store = open_edge()
    assert_answers(store, kit)
    ids = [one.document_id for one in written]
    with caplog.at_level(logging.ERROR):
        assert store.get_records(ids) == [one for one in written if one is not hurt]
    assert f"version v of document {hurt.document_id}" in caplog.text
    assert "latewood verify --repair" in caplog.text
    assert [one for one, _ in store.list_records()] == ids
    store.put_info(hurt.document_id, "v", hurt.manifest.document)
    assert store.get_records([hurt.document_id]) == []  # rewriting a part does not hide the damage
    store.put_records([hurt])
    assert store.get_records(ids) == written


@pytest.mark.parametrize(
    ("damage", "first"),
    [("header", "read"), ("middle", "read"), ("end", "put"), ("junk", "put"), ("empty", "read")],
)
def test_a_damaged_file_is_set_aside_and_what_is_whole_is_kept(
    open_edge, kit, file, written, damage, first, capfd
):
    content = bytearray(file.read_bytes())
    size = len(content)
    assert size > 60 * 3000
    if damage == "header":
        content[:100] = os.urandom(100)
    elif damage == "middle":
        content[size // 2 : size // 2 + 8192] = os.urandom(8192)
    elif damage == "end":
        del content[size // 2 :]
    elif damage == "junk":
        content[:] = b"this is no database, " * 1000
    else:
        content.clear()
    file.write_bytes(content)
    store = open_edge()
    assert_answers(store, kit)
    ids = [one.document_id for one in written]
    new = records_of(kit, 61)
    (new_one,) = [one for one in new if one.document_id not in ids]
    if first == "put":
        store.put_records([new_one])
    given = store.get_records(ids)
    assert [one for one in written if one in given] == given  # what is given is right
    assert {one.document_id for one in given} <= {one for one, _ in store.list_records()}
    if damage == "middle":
        assert len(given) >= 50
        assert len(given) < 60
    store.put_records([*written, new_one])
    assert store.get_records([*ids, new_one.document_id]) == [*written, new_one]
    assert len(store.list_records()) == 61
    assert_answers(store, kit)
    store.close()
    if damage in ("header", "junk"):
        assert (file.parent / "records.damaged.sqlite").exists()
        assert "is damaged" in capfd.readouterr().err
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
