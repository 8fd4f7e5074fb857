"""The embedded store keeps its callers from what befalls its worker: killed, stuck, its index damaged."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import qdrant_edge as edge

import latewood.search.stores.edge.store as edge_module
from latewood.embedder.types import Vectors
from latewood.search.stores.edge.process import WorkerProcess
from latewood.search.stores.edge.shard import counts_only_chunks
from latewood.search.stores.edge.store import EdgeStore
from latewood.search.types import (
    Comparison,
    IndexConfig,
    Manifest,
    ManifestWrite,
    StoreDamagedError,
    StoreUnavailableError,
)

PATIENCE = 5.0  # seconds; a call that is not stuck must be faster on the slowest machine


def test_callers_of_a_worker_that_is_killed_again_and_again_get_an_answer_or_an_error(open_edge, kit):
    store = open_edge()
    passages = kit.commit(store, "a", [f"oak {number}" for number in range(30)])
    listed = store.search(kit.legs("oak 3"))
    manifest = store.get_manifests([kit.document("a").id])[0]
    stop = threading.Event()
    questions = [
        (store.count, 30),
        (lambda: store.search(kit.legs("oak 3")), listed),
        (lambda: store.chunks_of(manifest.id), passages),
        (lambda: store.put_manifests([ManifestWrite(manifest.id, manifest.revision, manifest)]), [True]),
        (lambda: store.put_chunks(passages, kit.vectors(passages)), None),
    ]
    answered = threading.Semaphore(0)

    def ask(number: int) -> list[object]:
        """Wrong answers."""
        wrong: list[object] = []
        question, right = questions[number]
        while not stop.is_set():
            try:
                given = question()
            except StoreUnavailableError:
                continue
            answered.release()
            if given != right:
                wrong.append(given)
        return wrong

    with ThreadPoolExecutor(len(questions)) as pool:
        asked = [pool.submit(ask, number) for number in range(len(questions))]
        try:
            for number in range(8):
                for _ in range(number):  # the next kill falls a little later into the new worker's life
                    assert answered.acquire(timeout=60)
                pid = store.worker_pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
        finally:
            stop.set()
        assert [one.result(timeout=120) for one in asked] == [[]] * len(questions)
    assert store.chunks_of(manifest.id) == passages


def test_a_stuck_worker_is_replaced_and_the_call_answered(open_edge, kit):
    store = open_edge(call_seconds=PATIENCE)
    kit.commit(store, "a", ["oak one", "oak two"])
    stuck = store.worker_pid
    os.kill(stuck, signal.SIGSTOP)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(store.count) for _ in range(2)]
        # More than the socket takes: the sender waits for the worker too, not only the receiver.
        large = pool.submit(store.get_manifests, ["0" * 36] * 100_000)
        assert [one.result(timeout=120) for one in waiting] == [2, 2]
        assert large.result(timeout=120) == []
    assert store.worker_pid != stuck


def test_a_worker_that_is_stuck_each_time_is_an_error_not_a_wait(open_edge, kit, monkeypatch):
    class Sticking(WorkerProcess):
        def ask(self, method, arguments):
            if method == "count":
                os.kill(self.pid, signal.SIGSTOP)
            return super().ask(method, arguments)

    monkeypatch.setattr(edge_module, "WorkerProcess", Sticking)
    store = open_edge(call_seconds=1.0)
    with pytest.raises(StoreUnavailableError, match=r"no answer for 1 s .* 2 times in count .* try again"):
        store.count()
    assert store.list_chunks() == []


def test_a_question_has_a_deadline_of_its_own(open_edge, kit, monkeypatch):
    class Sticking(WorkerProcess):
        def ask(self, method, arguments):
            if method == "search":
                os.kill(self.pid, signal.SIGSTOP)
            return super().ask(method, arguments)

    monkeypatch.setattr(edge_module, "WorkerProcess", Sticking)
    store = open_edge(question_seconds=1.0)
    with pytest.raises(StoreUnavailableError, match=r"no answer for 1 s .* 2 times in search .* try again"):
        store.search(kit.legs("oak"))
    assert store.list_chunks() == []


def test_a_question_behind_a_write_that_hangs_is_refused_and_the_write_goes_on(open_edge, kit, monkeypatch):
    begun, going_on = threading.Event(), threading.Event()

    class Hanging(WorkerProcess):
        def ask(self, method, arguments):
            if method == "put_chunks":
                begun.set()
                assert going_on.wait(timeout=120)
            return super().ask(method, arguments)

    monkeypatch.setattr(edge_module, "WorkerProcess", Hanging)
    store = open_edge(question_seconds=1.0)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(kit.commit, store, "a", ["oak one", "oak two"])
        assert begun.wait(timeout=120)
        try:
            with pytest.raises(
                StoreUnavailableError, match=r"busy for 1 s; try again, or raise QUESTION_SECONDS"
            ):
                store.search(kit.legs("oak"))
        finally:
            going_on.set()
        passages = writing.result(timeout=120)
    assert store.chunks_of(kit.document("a").id) == passages


def test_a_worker_that_aborts_each_time_means_damage(open_edge, kit, monkeypatch):
    class Aborting(WorkerProcess):
        def ask(self, method, arguments):
            if method == "search":
                os.kill(self.pid, signal.SIGABRT)
            return super().ask(method, arguments)

    monkeypatch.setattr(edge_module, "WorkerProcess", Aborting)
    store = open_edge()
    with pytest.raises(StoreDamagedError, match=r"SIGABRT.* 2 times in search .*latewood verify --repair"):
        store.search(kit.legs("oak"))


def test_a_worker_that_cannot_be_started_is_an_error_that_says_so(open_edge, monkeypatch):
    store = open_edge()
    os.kill(store.worker_pid, signal.SIGKILL)
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(StoreUnavailableError, match=r"no worker process .* could be started: .*/nowhere"):
        store.count()
    monkeypatch.undo()
    assert store.count() == 0


def test_a_damaged_index_can_be_opened_unchecked_and_the_damage_stays_noted(open_edge, index_folder, kit):
    store = open_edge()
    passages = kit.commit(store, "a", ["oak", "elm", "ash"])
    store.close()
    note = index_folder / "index" / "clean.json"
    note.write_text('{"points": 9}')
    with pytest.raises(StoreDamagedError, match="holds 4 points but was closed with 9"):
        open_edge()
    store = open_edge(unchecked=True)
    assert store.chunks_of(kit.document("a").id) == passages
    store.close()
    assert json.loads(note.read_text()) == {"points": 9}  # looking mends nothing
    store = open_edge(unchecked=True)
    store.remove_chunks([passages[0].chunk.id])
    store.close()
    with pytest.raises(StoreDamagedError, match=r"1 document\(s\) .* short of 1 chunk\(s\)"):
        open_edge()
    store = open_edge(unchecked=True)
    assert store.chunks_of(kit.document("a").id) == passages[1:]
    kit.write(store, passages[:1])
    store.close()
    assert open_edge().chunks_of(kit.document("a").id) == passages


def test_what_is_told_of_a_document_changes_in_one_step(open_edge, kit):
    store = open_edge()
    kit.commit(store, "a", [f"oak {number}" for number in range(300)])
    manifest = store.get_manifests([kit.document("a").id])[0]
    stop = threading.Event()

    def read() -> set[int]:
        seen = set()
        while not stop.is_set():
            seen.add(len({one.document.title for one in store.chunks_of(manifest.id)}))
        return seen

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for number in range(10):
                told = replace(manifest.document, title=f"title {number}")
                store.put_info(manifest.id, manifest.live, told)
                if number == 5:
                    os.kill(store.worker_pid, signal.SIGKILL)
        finally:
            stop.set()
        assert [one.result(timeout=60) for one in readers] == [{1}, {1}]
    assert store.chunks_of(manifest.id)[299].document.title == "title 9"


def test_scores_are_exact_after_a_kill_in_the_middle_of_a_flush(open_edge, index_folder, kit):
    """The engine writes sparse vectors first and the ids of their points later."""
    store = open_edge()
    kit.commit(store, "a", [f"oak {'leaf ' * (number % 7)}" for number in range(60)])
    asked = kit.legs("oak leaf")
    exact = store.search(asked)
    live, killed = index_folder / "index", index_folder / "killed"
    subprocess.run(["cp", "-a", "--sparse=always", live, killed], check=True)  # as a kill before it would
    store.flush()
    (written,) = (live / "shard" / "segments").glob("*/vector_storage-bm25")
    stale = killed / written.relative_to(live)
    shutil.rmtree(stale)
    subprocess.run(["cp", "-a", "--sparse=always", written, stale], check=True)
    bare = index_folder / "bare"
    subprocess.run(["cp", "-a", "--sparse=always", killed, bare], check=True)
    shard = edge.EdgeShard.load(str(bare / "shard"))
    assert not counts_only_chunks(shard), "the engine counts them by itself now: nothing to mend any more"
    shard.close()
    assert open_edge("killed").search(asked) == exact
    assert not (killed / "swept").exists()


def test_statistics_are_the_engines_own_again_once_optimised(open_edge, index_folder, kit):
    store = open_edge()
    kit.commit(store, "a", [f"oak {'leaf ' * (number % 7)}" for number in range(60)])
    fresh = store.search(kit.legs("oak leaf"))[1]
    kit.commit(store, "b", ["oak"] * 3)  # few: an engine by its defaults would not mind them
    (gone,) = store.get_manifests([kit.document("b").id])
    store.sweep([gone.live])
    store.put_manifests([ManifestWrite(gone.id, gone.revision, None)])
    mark = index_folder / "index" / "swept"
    assert mark.exists()
    store.optimise()
    assert not mark.exists()
    after = store.search(kit.legs("oak leaf"))[1]
    assert [one.id for one in after] == [one.id for one in fresh]
    assert [one.score for one in after] == pytest.approx([one.score for one in fresh], rel=1e-6)
    store.close()
    assert open_edge().search(kit.legs("oak leaf"))[1] == after


@pytest.mark.soak
def test_scores_stay_when_built_indexes_are_written_to(index_folder, kit):
    """Large enough for the engine to build an index: then a rewrite moves a point and leaves a trace."""
    store = EdgeStore(index_folder, IndexConfig((1024,), {}))
    passages = kit.passages(
        kit.document("a"), "v", [f"oak {'leaf ' * (one % 7)}{one}" for one in range(6000)]
    )
    rows = np.random.default_rng(0).standard_normal((6000, 1024)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    store.put_chunks(passages, Vectors(rows, kit.vectors(passages).sparse))
    done = Manifest(passages[0].document, "r", live="v", chunks=6000)
    store.put_manifests([ManifestWrite(done.id, None, done)])
    leg = kit.legs("oak leaf 77")[1]
    (fresh,) = store.search([leg])
    store.optimise()
    assert len(list((index_folder / "shard" / "segments").iterdir())) > 1  # built, and one to be written to
    steps = [
        lambda: None,
        lambda: store.put_info(done.id, "v", replace(done.document, title="new")),
        store.optimise,
        lambda: store.put_chunks(*store.read_chunks(done.id, first=100, limit=200)),
        store.optimise,
    ]
    for step in steps:
        step()
        (after,) = store.search([leg])
        assert [one.id for one in after] == [one.id for one in fresh]
        assert [one.score for one in after] == pytest.approx([one.score for one in fresh], rel=1e-6)
    assert store.count(Comparison("eq", "title", "new")) == 6000
    assert not (index_folder / "swept").exists()
    store.close()
