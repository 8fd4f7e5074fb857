"""What only the embedded store has to prove: nothing acknowledged is lost, whatever dies."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from latewood.search.stores.edge.store import EdgeStore
from latewood.search.types import (
    DiskFullError,
    Manifest,
    ManifestWrite,
    StoreDamagedError,
    StoreUnavailableError,
)

OWNER = """
import sys, uuid, numpy as np
from pathlib import Path
from latewood.embedder.types import SparseVector, Vectors
from latewood.search.stores.edge.store import EdgeStore
from latewood.search.types import *
store = EdgeStore(Path(sys.argv[1]), IndexConfig((4,), {}), int(sys.argv[2]) if len(sys.argv) > 2 else None)
print("open", store.worker_pid, flush=True)
sparse = SparseVector(np.array([7], np.uint32), np.array([1.0], np.float32))
row = np.array([[1, 0, 0, 0]], np.float32)
number = 0
while True:
    document = DocumentInfo(str(uuid.UUID(int=number + 1)), "u", "s", "t", "txt", "en", "", "")
    chunk = Chunk(document.id, "v", 0, 0, 3, "oak")
    store.put_chunks([Passage(chunk, document)], Vectors(row, (sparse,)))
    done = Manifest(document, "r", live="v" , chunks=1)
    assert store.put_manifests([ManifestWrite(document.id, None, done)]) == [True]
    print(number, flush=True)
    number += 1
"""


def gone(pid: int, seconds: float = 60.0) -> bool:
    """Whether a process is gone, waiting for it; one that nobody collected counts as gone."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def start_owner(folder: Path, *arguments: str, **options) -> tuple[subprocess.Popen[str], int]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder), *arguments], stdout=subprocess.PIPE, text=True, **options
    )
    assert owner.stdout is not None
    return owner, int(owner.stdout.readline().split()[1])


def kill_owner_after(owner: subprocess.Popen[str], writes: int) -> int:
    """Kill -9 after so many acknowledged writes; the number acknowledged in the end."""
    assert owner.stdout is not None
    for _ in range(writes):
        owner.stdout.readline()
    owner.kill()
    rest = owner.stdout.read().split()
    owner.stdout.close()
    owner.wait()
    return writes + len(rest)


def test_a_killed_worker_is_replaced_and_nothing_is_lost(open_edge, kit):
    store = open_edge()
    passages = kit.commit(store, "a", ["oak one", "oak two"])
    before = store.search(kit.legs("oak"))
    pid = store.worker_pid
    os.kill(pid, signal.SIGKILL)
    assert store.search(kit.legs("oak")) == before
    assert store.worker_pid != pid
    assert store.chunks_of(kit.document("a").id) == passages


def test_callers_waiting_at_a_worker_that_is_killed_are_answered(open_edge, kit):
    store = open_edge()
    kit.commit(store, "a", [f"oak {number}" for number in range(30)])
    stop = threading.Event()

    def ask(_: int) -> set[int]:
        seen = set()
        while not stop.is_set():
            seen.add(store.count())
        return seen

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, number) for number in range(4)]
        try:
            for _ in range(2):
                time.sleep(0.1)
                os.kill(store.worker_pid, signal.SIGKILL)
                assert store.count() == 30
        finally:
            stop.set()
        assert set().union(*(one.result() for one in asked)) == {30}


def test_a_conditional_write_repeated_after_a_lost_answer_is_taken_once(open_edge, kit):
    store = open_edge()
    manifest = Manifest(kit.document("a"), "r1")
    write = ManifestWrite(manifest.id, None, manifest)
    assert store.put_manifests([write]) == [True]
    os.kill(store.worker_pid, signal.SIGKILL)
    assert store.put_manifests([write]) == [True]
    assert store.list_manifests() == [manifest]


def test_an_owner_killed_after_an_acknowledgement_loses_nothing(index_folder):
    owner, worker = start_owner(index_folder)
    acknowledged = kill_owner_after(owner, 25)
    assert gone(worker)
    store = EdgeStore(index_folder, _owner_config())
    listed = store.list_manifests()
    assert acknowledged <= len(listed) <= acknowledged + 1
    assert acknowledged <= store.count() <= acknowledged + 1
    store.close()


def test_owner_and_worker_killed_together_lose_nothing(index_folder):
    owner, worker = start_owner(index_folder)
    assert owner.stdout is not None
    for _ in range(10):
        owner.stdout.readline()
    os.kill(worker, signal.SIGKILL)
    acknowledged = 10 + kill_owner_after(owner, 0)
    assert gone(worker)
    store = EdgeStore(index_folder, _owner_config())
    assert acknowledged <= len(store.list_manifests()) <= acknowledged + 1
    store.close()


def test_the_owners_lock_is_held_until_the_worker_is_gone(index_folder):
    path = index_folder / "lock"
    ours = os.open(path, os.O_RDWR | os.O_CREAT)
    theirs = os.open(path, os.O_RDWR)
    fcntl.flock(theirs, fcntl.LOCK_EX)
    owner, worker = start_owner(index_folder, str(theirs), pass_fds=[theirs])
    os.close(theirs)
    os.kill(worker, signal.SIGSTOP)
    owner.kill()
    owner.wait()
    owner.stdout.close()
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(ours, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.kill(worker, signal.SIGCONT)
    assert gone(worker)
    fcntl.flock(ours, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(ours)


def test_a_clean_close_notes_the_points_and_a_write_removes_the_note(open_edge, index_folder, kit):
    store = open_edge()
    kit.commit(store, "a", ["oak", "elm"])
    store.close()
    note = index_folder / "index" / "clean.json"
    assert json.loads(note.read_text()) == {"points": 3}
    store = open_edge()
    assert store.count() == 2
    assert note.exists()
    kit.commit(store, "b", ["ash"])
    assert not note.exists()
    store.close()
    assert json.loads(note.read_text()) == {"points": 5}


def test_points_lost_since_a_clean_close_stop_the_open(open_edge, index_folder, kit):
    store = open_edge()
    kit.commit(store, "a", ["oak", "elm"])
    store.close()
    (index_folder / "index" / "clean.json").write_text('{"points": 9}')
    with pytest.raises(StoreDamagedError, match=r"holds 3 points but was closed with 9; .*verify --repair"):
        open_edge()


def test_documents_short_of_chunks_stop_the_open(open_edge, kit):
    store = open_edge()
    for name in "abc":
        kit.commit(store, name, ["oak", "elm", "ash"])
    versions = [store.get_manifests([kit.document(name).id])[0].live for name in "ab"]
    store.sweep(versions)
    store.close()
    with pytest.raises(StoreDamagedError, match=r"2 document\(s\) .* short of 6 chunk\(s\).*verify --repair"):
        open_edge()


def test_files_the_engine_cannot_read_are_damage(open_edge, index_folder, kit):
    store = open_edge()
    kit.commit(store, "a", ["oak"])
    store.close()
    for file in (index_folder / "index" / "shard" / "segments").glob("*/segment.json"):
        file.write_text("")
    with pytest.raises(StoreDamagedError, match="latewood verify --repair"):
        open_edge()


def test_an_index_that_another_process_has_open_is_unavailable(open_edge, index_folder, kit):
    open_edge()
    with pytest.raises(StoreUnavailableError, match="another process has it open"):
        open_edge()


def test_a_half_made_shard_is_made_again(open_edge, index_folder, kit):
    half = index_folder / "index" / "shard.partial" / "segments"
    half.mkdir(parents=True)
    (half / "junk").write_text("half")
    store = open_edge()
    kit.commit(store, "a", ["oak"])
    assert store.count() == 1
    assert not half.exists()


def test_a_write_that_would_fill_the_disk_is_refused(open_edge, kit):
    store = open_edge()
    kit.commit(store, "a", ["oak"])
    store.close()
    store = open_edge(free_space=2**60)
    passages = kit.passages(kit.document("b"), "v", ["elm"])
    with pytest.raises(DiskFullError, match=r"MiB are free at .* must leave .* MiB free"):
        kit.write(store, passages)
    with pytest.raises(DiskFullError):
        store.put_manifests([ManifestWrite(kit.document("b").id, None, Manifest(kit.document("b"), "r"))])
    assert store.count() == 1
    assert store.sweep([store.list_manifests()[0].live]) == 1


def test_statistics_name_their_corpus_from_the_first_removal_on(open_edge, index_folder, kit):
    store = open_edge()
    kit.commit(store, "a", ["oak leaf", "elm leaf", "ash leaf"])
    fresh = store.search(kit.legs("oak leaf"))[1]
    kit.commit(store, "b", ["oak"] * 5)
    assert store.search(kit.legs("oak leaf"))[1][0].score != fresh[0].score
    store.sweep([store.get_manifests([kit.document("b").id])[0].live])
    manifest = store.get_manifests([kit.document("b").id])[0]
    store.put_manifests([ManifestWrite(manifest.id, manifest.revision, None)])
    store.close()
    store = open_edge()
    assert [one.score for one in store.search(kit.legs("oak leaf"))[1]] == pytest.approx(
        [one.score for one in fresh], rel=1e-6
    )


def test_more_chunks_than_fit_a_message_are_all_written(open_edge, kit):
    store = open_edge()
    kit.commit(store, "a", [f"oak {number}" for number in range(600)])
    assert store.count() == 600
    assert len(store.chunks_of(kit.document("a").id)) == 600
    assert store.stats().bytes > 600 * 16 * 4


def test_the_worker_never_loads_torch():
    code = (
        "import sys, latewood.search.stores.edge.worker;"
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False", "False"]


def test_opening_a_store_does_not_run_the_callers_main_module_again(index_folder):
    script = index_folder / "main.py"
    script.write_text(
        "print('ran')\nimport sys\nfrom pathlib import Path\n"
        "from latewood.search.stores.edge.store import EdgeStore\n"
        "from latewood.search.types import IndexConfig\n"
        "EdgeStore(Path(sys.argv[1]), IndexConfig((4,), {})).close()\n"
    )
    # A document in the working folder that is named like a module must not be imported either.
    (index_folder / "qdrant_edge.py").write_text("raise SystemExit('a document was imported')")
    (index_folder / "index").mkdir()
    script = script.rename(index_folder / "index" / "main.py")
    told = subprocess.run(
        [sys.executable, str(script), str(index_folder / "index")],
        capture_output=True,
        text=True,
        check=True,
        cwd=index_folder,
    )
    assert told.stdout == "ran\n"


def _owner_config():
    from latewood.search.types import IndexConfig

    return IndexConfig((4,), {})


def test_languages_are_looked_up_once_until_something_is_written(open_edge, kit, monkeypatch):
    store, asked = open_edge(), []
    ask = store._ask

    def noted(method, arguments):
        asked.append(method)
        return ask(method, arguments)

    monkeypatch.setattr(store, "_ask", noted)
    made = [
        replace(one, chunk=replace(one.chunk, language=language))
        for language in ("de", "en")
        for one in kit.passages(kit.document(language), f"v-{language}", ["4711"])
    ]
    kit.write(store, made[:1])
    store.languages().append("changed by the caller")
    store.count()
    assert store.languages() == ["de"]
    assert asked.count("languages") == 1
    kit.write(store, made[1:])
    assert store.languages() == ["de", "en"]
    assert asked.count("languages") == 2


def test_calls_are_made_in_the_order_in_which_they_were_asked_for(open_edge, monkeypatch):
    store, asked = open_edge(), []
    monkeypatch.setattr(store, "_ask", lambda method, arguments: asked.append(method))
    threads = [
        threading.Thread(target=ask) for ask in (store.flush, store.optimise, store.stats, store.count)
    ]
    with store._lock:
        for waiting, thread in enumerate(threads, start=2):
            thread.start()
            deadline = time.monotonic() + 60
            while len(store._lock._waiting) < waiting:
                assert time.monotonic() < deadline, "the call never came to the lock"
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert asked == ["flush", "optimise", "stats", "count"]
