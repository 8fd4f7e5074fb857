from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from latewood.embedder.encoder.rows import Row
from latewood.embedder.serving.memory import ran_out, release, trim
from latewood.embedder.serving.scheduler import PART, PATIENCE, RECOVERY, Job, Owner
from latewood.embedder.types import EmbedderError, Task

STEP = 16  # lengths below are in steps of padding
BUDGET = 10 * STEP


def job(task, *lengths, urgent=False):
    rows = [
        Row(np.zeros(n * STEP, dtype=np.int32), np.array([[0, n * STEP, slot]]))
        for slot, n in enumerate(lengths)
    ]
    return Job(task, rows, np.zeros((len(rows), 1), dtype=np.float32), BUDGET, urgent=urgent)


class Gate:
    """Stands in for the model: notes what runs, and can be held in the middle of a batch."""

    def __init__(self):
        self.batches = []
        self.entered = threading.Event()
        self.open = threading.Event()
        self.open.set()
        self.fail_with = None

    def hold(self):
        self.open.clear()
        self.entered.clear()

    def __call__(self, task, rows):
        self.batches.append((task, len(rows)))
        self.entered.set()
        assert self.open.wait(30)
        if self.fail_with is not None:
            raise self.fail_with
        return [np.full((len(row.pieces), 1), len(row.ids) / STEP, dtype=np.float32) for row in rows]


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def owner(gate):
    owner = Owner(gate, BUDGET)
    yield owner
    gate.open.set()
    owner.close()


def test_every_row_is_summed_in_its_slot(owner):
    asked = job(Task.PASSAGE, 3, 9, 1, 10)
    owner.submit(asked)
    assert asked.wait()[:, 0].tolist() == [3, 9, 1, 10]


def test_a_query_gets_through_while_documents_are_embedded(owner, gate):
    gate.hold()
    documents, query = job(Task.PASSAGE, *[10] * 5), job(Task.QUERY, 4, urgent=True)
    owner.submit(documents)
    assert gate.entered.wait(30)
    owner.submit(query)
    gate.open.set()
    query.wait()
    documents.wait()
    assert [task for task, _ in gate.batches] == [Task.PASSAGE, Task.QUERY, *[Task.PASSAGE] * 4]


def test_waiting_queries_of_one_task_run_together(owner, gate):
    gate.hold()
    first = job(Task.PASSAGE, 10)
    owner.submit(first)
    assert gate.entered.wait(30)
    queries = [job(task, 3, urgent=True) for task in [Task.QUERY] * 4 + [Task.SEPARATION]]
    for query in queries:
        owner.submit(query)
    gate.open.set()
    assert [query.wait()[0, 0] for query in queries] == [3] * 5
    assert gate.batches[1:] == [(Task.QUERY, 3), (Task.QUERY, 1), (Task.SEPARATION, 1)]


def test_documents_are_not_starved_by_queries(owner, gate):
    gate.hold()
    documents = job(Task.PASSAGE, *[10] * 3)
    owner.submit(documents)
    assert gate.entered.wait(30)
    queries = [job(Task.QUERY, 10, urgent=True) for _ in range(3 * PATIENCE)]
    for query in queries:
        owner.submit(query)
    gate.open.set()
    documents.wait()
    for query in queries:
        query.wait()
    turns = [task for task, _ in gate.batches]
    assert turns.index(Task.PASSAGE, 1) == PATIENCE + 1


def test_batches_of_documents_are_small_while_queries_come_and_whole_again_later(owner, gate, monkeypatch):
    monkeypatch.setattr("latewood.embedder.serving.scheduler.RECENT_SECONDS", math.inf)
    documents = job(Task.PASSAGE, *[1] * 20)
    owner.submit(documents)
    documents.wait()
    assert gate.batches == [(Task.PASSAGE, 10)] * 2
    query = job(Task.QUERY, 1, urgent=True)
    owner.submit(query)
    query.wait()
    gate.batches.clear()
    documents = job(Task.PASSAGE, 9, 1, 1, 1, 1)
    owner.submit(documents)
    assert documents.wait()[:, 0].tolist() == [9, 1, 1, 1, 1]
    assert BUDGET // PART // STEP == 2
    assert gate.batches == [(Task.PASSAGE, 1), (Task.PASSAGE, 1), (Task.PASSAGE, 2), (Task.PASSAGE, 1)]
    monkeypatch.setattr("latewood.embedder.serving.scheduler.RECENT_SECONDS", 0.0)
    gate.batches.clear()
    documents = job(Task.PASSAGE, *[1] * 20)
    owner.submit(documents)
    documents.wait()
    assert gate.batches == [(Task.PASSAGE, 10)] * 2


def test_long_jobs_share_the_model_batch_by_batch(owner, gate):
    gate.hold()
    first, second = job(Task.PASSAGE, *[10] * 3), job(Task.TEXT_MATCHING, *[10] * 3)
    owner.submit(first)
    assert gate.entered.wait(30)
    owner.submit(second)
    gate.open.set()
    first.wait()
    second.wait()
    assert [task for task, _ in gate.batches] == [Task.PASSAGE, Task.TEXT_MATCHING] * 3


def test_a_query_longer_than_a_batch_queues_with_the_documents(owner):
    assert job(Task.QUERY, 10, urgent=True).short
    assert not job(Task.QUERY, 10, 1, urgent=True).short


def test_a_failure_is_raised_where_it_is_waited_for_and_the_owner_goes_on(owner, gate):
    gate.fail_with = RuntimeError("broken")
    broken = job(Task.QUERY, 3, urgent=True)
    owner.submit(broken)
    with pytest.raises(RuntimeError, match="broken"):
        broken.wait()
    gate.fail_with = None
    good = job(Task.QUERY, 3, urgent=True)
    owner.submit(good)
    assert good.wait().tolist() == [[3]]


def test_an_abandoned_job_leaves_the_queue(owner, gate):
    gate.hold()
    running, given_up = job(Task.PASSAGE, 10), job(Task.QUERY, 3, urgent=True)
    owner.submit(running)
    assert gate.entered.wait(30)
    owner.submit(given_up)
    given_up.abandoned = True
    gate.open.set()
    running.wait()
    owner.close()
    assert gate.batches == [(Task.PASSAGE, 1)]


def test_closing_finishes_what_was_accepted_and_refuses_what_comes_after(gate):
    owner = Owner(gate, BUDGET)
    gate.hold()
    accepted = job(Task.PASSAGE, 10, 10)
    owner.submit(accepted)
    assert gate.entered.wait(30)
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(owner.close)
        gate.open.set()
        closing.result(30)
    assert accepted.wait()[:, 0].tolist() == [10, 10]
    with pytest.raises(EmbedderError, match="closed"):
        owner.submit(job(Task.QUERY, 3, urgent=True))
    owner.close()


def test_a_job_with_nothing_to_run_is_done_at_once(owner, gate):
    nothing = job(Task.QUERY)
    owner.submit(nothing)
    assert nothing.wait().shape == (0, 1)
    assert gate.batches == []


class Small:
    """A model with room for so many rows at a time."""

    def __init__(self, room, error):
        self.room, self.error, self.ran = room, error, []

    def __call__(self, task, rows):
        self.ran.append(len(rows))
        if len(rows) > self.room:
            raise self.error
        return [np.full((len(row.pieces), 1), len(row.ids) / STEP, dtype=np.float32) for row in rows]


OUT_OF_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["python", "cuda", "cpu"])
def test_a_batch_without_room_is_halved_until_it_fits(error):
    small = Small(3, error)
    owner = Owner(small, BUDGET)
    asked = job(Task.PASSAGE, *[1] * 10)
    try:
        owner.submit(asked)
        assert asked.wait()[:, 0].tolist() == [1] * 10
    finally:
        owner.close()
    assert sum(rows for rows in small.ran if rows <= 3) == 10


def test_after_running_out_of_memory_batches_stay_smaller_for_a_while(monkeypatch):
    small = Small(5, OUT_OF_MEMORY[0])
    owner = Owner(small, BUDGET)
    try:
        for _ in range(6):
            asked = job(Task.PASSAGE, *[1] * 10)
            owner.submit(asked)
            asked.wait()
        assert small.ran.count(10) == 1
        small.room = 10
        for _ in range(3 * RECOVERY):
            asked = job(Task.PASSAGE, *[1] * 10)
            owner.submit(asked)
            asked.wait()
        assert small.ran.count(10) > 1
    finally:
        owner.close()


def test_a_row_that_finds_no_room_by_itself_is_a_clear_error_and_the_owner_goes_on():
    small = Small(0, OUT_OF_MEMORY[1])
    owner = Owner(small, BUDGET)
    try:
        asked = job(Task.PASSAGE, 2, 2)
        owner.submit(asked)
        with pytest.raises(EmbedderError, match=r"out of memory on 32 tokens.*WINDOW"):
            asked.wait()
        small.room = 10
        again = job(Task.PASSAGE, 2)
        owner.submit(again)
        assert again.wait().tolist() == [[2]]
    finally:
        owner.close()


def test_torch_says_that_memory_ran_out_as_it_is_expected_to():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.int8)
    assert ran_out(caught.value)
    assert not ran_out(RuntimeError("shapes do not fit"))


def test_memory_is_given_back_without_harm():
    trim()
    release()
    assert torch.ones(3).sum() == 3
