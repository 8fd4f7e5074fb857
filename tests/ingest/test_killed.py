"""The owner is killed at every step and at random moments; what a reader sees then is whole.

A step is a message to the store's worker process, and those killed are processes; only at the end every call
is gone through in memory, which takes no time.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "killing"))  # helpers of this file; no test package

from killing_nursery import Nursery, running
from killing_owner import BEFORE, BOTH, SELF, SENT, WORKER
from killing_place import RING, Place, Step, hold_and_finish
from killing_turns import Stopped, StoppedAt
from killing_world import CONFIG, put, run_sync

from latewood.search.stores.edge import process as edge_process
from latewood.search.stores.memory import MemoryStore

BLOWS = [(SELF, BEFORE), (SELF, SENT), (BOTH, SENT), (WORKER, BEFORE), (WORKER, SENT)]
"""After an answer is before the next message, so only these."""


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """In memory where the machine has room: an index on a disk waits for it a dozen times."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2 * 2**30
    with tempfile.TemporaryDirectory(dir=memory if roomy else None, prefix="latewood-kill-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def nursery(scratch: Path) -> Iterator[Nursery]:
    with running(scratch) as one, pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge_process, "subprocess", one.subprocess_module())
        yield one


@dataclass(frozen=True)
class Undisturbed:
    """An ingest that nobody kills: messages to the worker, and seconds from the open index to the end."""

    messages: int
    seconds: float


@pytest.fixture(scope="module")
def place(nursery: Nursery, scratch: Path) -> Place:
    return Place(nursery, Path(tempfile.mkdtemp(dir=scratch)))


@pytest.fixture(scope="module")
def undisturbed(place: Place) -> dict[str, Undisturbed]:
    """One trip around the ring without a kill."""
    found = {}
    for step in RING:
        place.prepare(step)
        process, told = place.start()
        told.until("open")
        started = time.monotonic()
        assert place.nursery.wait(process) == 0
        seconds = time.monotonic() - started
        found[step.name] = Undisturbed(told.messages(), seconds)
        place.check(step)
    return found


def kill_at(place: Place, step: Step, blow: tuple[str, str], message: int) -> None:
    """Kill at one message of one transition, then hold the index against both states and finish."""
    place.prepare(step)
    who, when = blow
    process, told = place.start(at=message, who=who, when=when)
    status = place.nursery.wait(process)
    messages = told.messages()
    # A message more or less: whether a touched file's time is another one depends on the second.
    expected = 0 if who == WORKER or 0 < messages < message else -signal.SIGKILL
    assert status == expected, f"{step.name} at {message} of {messages}: {status}"
    place.check(step)


def kill_by_chance(place: Place, step: Step, who: str, seconds: float) -> None:
    """Kill from outside, so long after the index was opened."""
    place.prepare(step)
    process, told = place.start()
    worker = told.until("open")
    time.sleep(seconds)
    if place.nursery.status(process) is None:
        for pid in {WORKER: [worker], SELF: [process], BOTH: [worker, process]}[who]:
            with suppress(ProcessLookupError):  # at the very end the worker goes before its owner
                os.kill(pid, signal.SIGKILL)
    status = place.nursery.wait(process)
    assert status in {0, -signal.SIGKILL}
    assert status == 0 or who != WORKER, "a killed worker is replaced, and the ingest goes on"
    told.messages()
    place.check(step)


def chances(seed: int, moments: int) -> list[tuple[str, float]]:
    """Whom, and when, as a share of the undisturbed run; a few are just past its end."""
    chance = random.Random(seed)
    return [(chance.choice([SELF, SELF, BOTH, WORKER]), chance.uniform(0, 1.05)) for _ in range(moments)]


def around(place: Place, undisturbed: dict[str, Undisturbed], moments: Sequence[tuple[str, float]]) -> None:
    for number, (who, share) in enumerate(moments):
        step = RING[number % len(RING)]
        kill_by_chance(place, step, who, share * undisturbed[step.name].seconds)


def test_an_owner_killed_at_a_step_leaves_each_document_old_or_new_and_the_next_run_finishes(
    place: Place, undisturbed: dict[str, Undisturbed]
) -> None:
    """A sample of what the soak enumerates: every transition and every blow, spread over the messages."""
    for trip in range(5):
        for number, step in enumerate(RING):
            messages = undisturbed[step.name].messages
            share = ((trip * len(RING) + number) * 0.618) % 1.0
            kill_at(place, step, BLOWS[(trip + number) % len(BLOWS)], 1 + int(share * messages))


def test_an_owner_killed_at_20_random_moments_leaves_each_document_old_or_new(
    place: Place, undisturbed: dict[str, Undisturbed]
) -> None:
    around(place, undisturbed, chances(20, 20))


def test_the_nursery_outlives_those_who_are_killed_while_they_ask_it(nursery: Nursery) -> None:
    for asked in (b"", json.dumps({"do": "status", "pid": 1}).encode()):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as killed:
            killed.connect(nursery.path)
            if asked:
                killed.send(asked)
    assert nursery.status(1) is None


@pytest.mark.soak
def test_an_owner_killed_at_every_step_leaves_each_document_old_or_new(
    place: Place, undisturbed: dict[str, Undisturbed]
) -> None:
    longest = max(one.messages for one in undisturbed.values())
    for message in range(1, longest + 1):
        for blow in BLOWS:
            for step in RING:
                if message <= undisturbed[step.name].messages:
                    kill_at(place, step, blow, message)
                else:
                    place.pass_through(step)


@pytest.mark.soak
def test_an_owner_killed_at_200_random_moments_leaves_each_document_old_or_new(
    place: Place, undisturbed: dict[str, Undisturbed]
) -> None:
    around(place, undisturbed, chances(200, 200))


# --- every call of the store, in memory --------------------------------------------------------------------


@pytest.mark.parametrize("step", RING, ids=lambda step: step.name)
def test_an_ingest_stopped_before_any_call_of_the_store_leaves_each_document_old_or_new(
    tmp_path: Path, step: Step
) -> None:
    folder, fresh = tmp_path / "docs", {}
    calls = 1
    while stopped_at(calls, step, folder, fresh):
        calls += 1
    assert calls > 10


def stopped_at(call: int, step: Step, folder: Path, fresh: dict[str, MemoryStore]) -> bool:
    """Whether a process killed before this call had not come to its end."""
    store = MemoryStore(CONFIG)
    put(folder, step.old)
    run_sync(lambda: store, folder)
    put(folder, step.new)
    try:
        run_sync(lambda: StoppedAt(store, call), folder)
    except Stopped:
        hold_and_finish(store, step, folder, fresh)
        return True
    return False
