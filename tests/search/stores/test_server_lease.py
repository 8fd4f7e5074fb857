"""Who may write to a collection on a server; two clients of one engine stand for two processes."""

from __future__ import annotations

import threading

import pytest
from qdrant_memory import LockedClient

from latewood.ingest.index import commit
from latewood.search.stores.generations.write_barrier import BusyError
from latewood.search.stores.server import schema, writer_lease
from latewood.search.stores.server.client import Calls
from latewood.search.stores.server.options import ServerOptions
from latewood.search.stores.server.store import ServerStore
from latewood.search.stores.server.writer_lease import Clocks, Lease
from latewood.search.types import Manifest, ManifestWrite, StoreUnavailableError


@pytest.fixture
def engine(kit):
    client = LockedClient()
    schema.make(calls_of(client), "shared", kit.config)
    return client


def calls_of(client):
    return Calls(client, ServerOptions("http://memory"), pause=lambda seconds: None)


@pytest.fixture
def process(engine):
    """Opens the collection as another process would."""
    opened = []

    def start():
        opened.append(ServerStore(calls_of(engine), "shared"))
        return opened[-1]

    yield start
    for store in opened:
        store.close()


def announce(store, kit, name):
    document = kit.document(name)
    flying = Manifest(document, f"{name}-p", pending=(f"v-{name}",))
    assert store.put_manifests([ManifestWrite(document.id, None, flying)]) == [True]
    kit.write(store, kit.passages(document, f"v-{name}", [f"oak of {name}"]))
    return flying


def test_what_a_live_writer_has_in_flight_is_left_alone_and_what_a_dead_one_left_is_swept(
    process, kit, monkeypatch
):
    first, second = process(), process()
    ours, theirs = announce(first, kit, "a"), announce(second, kit, "b")
    assert {one.id for one in first.in_flight()} == {ours.id, theirs.id}
    assert first.abandoned() == [ours]
    assert second.abandoned() == [theirs]
    third = process()
    assert third.abandoned() == []
    assert commit.recover(third) == 0
    later = writer_lease.time.time() + writer_lease.SECONDS + 1
    monkeypatch.setattr(third._lease, "_clocks", Clocks(wall=lambda: later))
    assert commit.recover(third) == 2
    assert third.in_flight() == []
    assert third.stats().hidden == 0
    done = Manifest(kit.document("a"), "a-live", live="v-a", chunks=1)
    assert first.put_manifests([ManifestWrite(ours.id, ours.revision, done)]) == [False]


def test_a_closed_store_leaves_no_note_and_its_leavings_are_anyones(process, kit):
    first, second = process(), process()
    announce(first, kit, "a")
    assert second.abandoned() == []
    first.close()
    assert commit.recover(second) == 1


def test_who_rebuilds_keeps_other_writers_out_and_readers_in(process, kit):
    first, second = process(), process()
    kit.commit(second, "a", ["oak leaf"])
    kit.versions.clear()
    second.close()
    second = process()
    with first.alone(patience=1):
        assert len(second.search(kit.legs("oak"))[0]) == 1
        with pytest.raises(StoreUnavailableError, match=r"is being rebuilt by .* process"):
            announce(second, kit, "b")
        kit.commit(first, "c", ["elm leaf"])
        with pytest.raises(BusyError, match="is being rebuilt by"), second.alone(patience=0):
            pass
    announce(second, kit, "b")


def test_a_rebuild_waits_for_writers_and_gives_up_in_time(process, kit):
    first, second = process(), process()
    flying = announce(second, kit, "a")
    with pytest.raises(BusyError, match=r"1 other process\(es\) write to shared"), first.alone(patience=0.2):
        pass
    threading.Timer(0.2, second.close).start()
    with first.alone(patience=30):
        assert first.abandoned() == [flying]


def test_a_replaced_collection_takes_no_more_writes_until_it_answers_again(process, kit):
    first, second = process(), process()
    with first.alone(patience=1, keep=lambda: True):
        pass
    with pytest.raises(StoreUnavailableError, match="is being rebuilt"):
        announce(second, kit, "a")
    first.open_up()
    announce(second, kit, "a")


def test_a_writer_that_was_stopped_for_too_long_begins_again(engine):
    now = [100.0]
    lease = Lease(calls_of(engine), "shared", lambda: True, Clocks(steady=lambda: now[0]))
    lease.hold()
    now[0] += writer_lease.SECONDS / 2 + 1
    lease.hold()
    now[0] += writer_lease.SECONDS + 1
    with pytest.raises(StoreUnavailableError, match="was stopped for longer than 120 s"):
        lease.hold()
    lease.hold()
    lease.close()


def test_an_idle_writer_takes_its_note_away_and_a_busy_one_keeps_it(engine, monkeypatch):
    monkeypatch.setattr(writer_lease, "IDLE", 0.05)
    busy = [True]
    lease = Lease(calls_of(engine), "shared", lambda: busy[0])
    other = Lease(calls_of(engine), "shared", lambda: False)
    lease.hold()
    for _ in range(3):
        threading.Event().wait(0.06)
        assert len(other.alive()) == 1
    busy[0] = False
    for _ in range(200):
        if not other.alive():
            break
        threading.Event().wait(0.05)
    assert other.alive() == set()
    busy[0] = True  # else it might be away again before it is looked for
    lease.hold()
    assert len(other.alive()) == 1
    lease.close()
    other.close()
