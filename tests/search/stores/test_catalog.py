from __future__ import annotations

import json

import pytest

from latewood.search.stores.generations import layout
from latewood.search.types import (
    FingerprintError,
    IndexConfig,
    QueryError,
    StoreDamagedError,
    StoreUnavailableError,
)

CONFIG = IndexConfig((384, 64), {"model": "minilm", "analyser": "english"})


def test_an_index_is_found_with_what_it_was_made_with(tmp_path):
    generation = layout.create(tmp_path, "acme", "notes", CONFIG)
    assert layout.path_of(tmp_path, "acme", "notes") == generation
    assert generation.parent == tmp_path / "indexes" / "acme" / "notes"
    assert layout.read_config(generation) == CONFIG
    assert layout.exists(tmp_path, "acme", "notes")


def test_collections_are_listed_by_tenant(tmp_path):
    for tenant, collection in (("b", "two"), ("a", "one"), ("b", "one")):
        layout.create(tmp_path, tenant, collection, CONFIG)
    assert layout.list_collections(tmp_path) == [("a", "one"), ("b", "one"), ("b", "two")]
    assert layout.list_collections(tmp_path, "b") == [("b", "one"), ("b", "two")]
    assert layout.list_collections(tmp_path, "c") == []
    assert layout.list_collections(tmp_path / "absent") == []


def test_asking_for_what_is_not_there_creates_nothing(tmp_path):
    assert not layout.exists(tmp_path, "a", "b")
    assert not layout.delete_collection(tmp_path, "a", "b")
    with pytest.raises(StoreUnavailableError, match="no collection 'b' of tenant 'a'"):
        layout.path_of(tmp_path, "a", "b")
    assert list(tmp_path.iterdir()) == []


def test_an_index_is_not_made_twice(tmp_path):
    generation = layout.create(tmp_path, "a", "b", CONFIG)
    with pytest.raises(QueryError, match="is there already"):
        layout.create(tmp_path, "a", "b", CONFIG)
    assert layout.path_of(tmp_path, "a", "b") == generation


def test_what_a_killed_process_left_half_made_is_no_index(tmp_path):
    generation = layout.create(tmp_path, "a", "b", CONFIG)
    (generation.parent / "CURRENT").unlink()  # the state before the last step
    (generation.parent / "CURRENT.partial").write_text("half")
    assert not layout.exists(tmp_path, "a", "b")
    assert layout.list_collections(tmp_path) == []
    again = layout.create(tmp_path, "a", "b", CONFIG)
    assert sorted(one.name for one in again.parent.iterdir()) == sorted(["CURRENT", again.name])


def test_points_without_a_pointer_are_never_cleared_away(tmp_path):
    generation = layout.create(tmp_path, "a", "b", CONFIG)
    (generation / "shard").mkdir()
    (generation.parent / "CURRENT").unlink()
    with pytest.raises(StoreDamagedError, match=f"holds {generation.name} but no CURRENT; write the name"):
        layout.create(tmp_path, "a", "b", CONFIG)
    assert (generation / "shard").is_dir()


def test_a_deleted_index_is_gone_with_what_earlier_deletions_left(tmp_path):
    generation = layout.create(tmp_path, "a", "b", CONFIG)
    left = generation.parent.parent / ".deleted-before"
    left.mkdir()
    assert layout.delete_collection(tmp_path, "a", "b")
    assert layout.list_collections(tmp_path) == []
    assert list((tmp_path / "indexes" / "a").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["", "A", "-a", "_a", "a b", "a/b", "..", ".deleted-x", "ä", "a" * 64, "a\n"]
)
def test_a_name_that_could_leave_its_folder_is_refused(tmp_path, name):
    for tenant, collection in ((name, "ok"), ("ok", name)):
        with pytest.raises(QueryError, match="is not allowed; use 1 to 63"):
            layout.create(tmp_path, tenant, collection, CONFIG)
    with pytest.raises(QueryError, match="tenant name"):
        layout.list_collections(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "dimensions": 3}'])
def test_a_damaged_description_is_named(tmp_path, text):
    generation = layout.create(tmp_path, "a", "b", CONFIG)
    (generation / "index.json").write_text(text)
    with pytest.raises(StoreDamagedError, match=r"index\.json cannot be read"):
        layout.read_config(generation)


def test_a_pointer_to_nothing_is_damage(tmp_path):
    generation = layout.create(tmp_path, "a", "b", CONFIG)
    for name in ("", "gone", "../b"):
        (generation.parent / "CURRENT").write_text(name)
        with pytest.raises(StoreDamagedError, match="where no index is"):
            layout.path_of(tmp_path, "a", "b")


def test_an_index_of_a_newer_program_is_refused(tmp_path):
    generation = layout.create(tmp_path, "a", "b", CONFIG)
    shape = json.loads((generation / "index.json").read_text())
    (generation / "index.json").write_text(json.dumps(shape | {"format": 99}))
    with pytest.raises(StoreUnavailableError, match="format 99; this program reads up to 3"):
        layout.read_config(generation)


def test_an_index_of_an_older_format_says_how_its_numbers_and_dates_lie(tmp_path):
    generation = layout.create(tmp_path, "a", "b", CONFIG)
    assert layout.read_config(generation).apart
    shape = json.loads((generation / "index.json").read_text())
    (generation / "index.json").write_text(json.dumps(shape | {"format": 2}))
    assert not layout.read_config(generation).apart


def test_a_fingerprint_that_differs_says_where_and_what_to_do():
    layout.check_fingerprint(CONFIG, dict(CONFIG.fingerprint))
    with pytest.raises(FingerprintError) as refused:
        layout.check_fingerprint(CONFIG, {"model": "jina", "analyser": "english", "pooling": "mean"})
    message = str(refused.value)
    assert "model: index 'minilm', in use 'jina'" in message
    assert "pooling: index 'nothing', in use 'mean'" in message
    assert "analyser" not in message
    assert "MODEL=minilm" in message
    assert "new collection" in message
