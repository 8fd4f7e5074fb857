"""The queue of jobs: two lanes, each in order, tenants in turn, each job's end its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from latewood.ingest.jobs import Job, JobError, Jobs
from latewood.ingest.orders import INGEST, UPLOAD, Order
from latewood.ingest.report import CLOSING, Problem, Report
from latewood.ingest.sync import SyncOptions


class BoomError(Exception):
    """What a job may raise."""


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    made = Jobs(lambda error: ("boom" if isinstance(error, BoomError) else "internal", str(error)))
    yield made
    made.close()


def submit(jobs: Jobs, run: Callable[..., Report], name: str = "folder", tenant: str = "default") -> Job:
    return jobs.submit(tenant, "default", f"file:///{name}/", run)


def done(job: Job, progress: Any, stop: Any) -> Report:
    return Report(added=1)


def until_stopped(started: threading.Event) -> Callable[..., Report]:
    def run(job: Job, progress: Any, stop: Callable[[], bool]) -> Report:
        started.set()
        while not stop():
            threading.Event().wait(0.005)
        return Report(added=1)

    return run


def ended(jobs: Jobs, job: Job) -> dict[str, Any]:
    """Follow a job to its end."""
    last: dict[str, Any] = {}
    for state in jobs.events(job, every=0):
        last = state or last
    return last


def test_jobs_run_one_at_a_time_in_the_order_they_came(jobs: Jobs) -> None:
    order: list[str] = []
    running: list[str] = []

    def run(job: Job, progress: Any, stop: Any) -> Report:
        running.append(job.source)
        assert len(running) == 1
        threading.Event().wait(0.01)
        order.append(job.source)
        running.pop()
        return Report()

    queued = [submit(jobs, run, str(number)) for number in range(5)]
    states = [ended(jobs, job) for job in queued]
    assert [state["status"] for state in states] == ["completed"] * 5
    assert order == [f"file:///{number}/" for number in range(5)]


def test_a_waiting_job_says_so(jobs: Jobs) -> None:
    gate = threading.Event()
    first = submit(jobs, lambda *_: Report(added=int(gate.wait())))
    second = submit(jobs, done)
    assert second.status == "queued"
    gate.set()
    assert [ended(jobs, one)["counts"]["added"] for one in (first, second)] == [1, 1]


def test_a_failing_job_never_stops_the_next(jobs: Jobs) -> None:
    def fail(job: Job, progress: Callable[[Report], None], stop: Any) -> Report:
        progress(Report(added=3))
        raise BoomError("the disk is full")

    def stumble(*_: object) -> Report:
        raise ZeroDivisionError("nobody foresaw this")

    first, second, third = submit(jobs, fail), submit(jobs, stumble), submit(jobs, done)
    failed = ended(jobs, first)
    assert (failed["status"], failed["error"]) == ("failed", {"code": "boom", "message": "the disk is full"})
    assert failed["counts"]["added"] == 3  # what was done before stays done, and told
    assert ended(jobs, second)["error"]["code"] == "internal"
    assert ended(jobs, third)["status"] == "completed"


def test_a_running_job_is_cancelled_at_its_next_safe_point(jobs: Jobs) -> None:
    started = threading.Event()
    job = submit(jobs, until_stopped(started))
    started.wait()
    jobs.cancel(job)
    state = ended(jobs, job)
    assert (state["status"], state["error"]["code"]) == ("cancelled", "cancelled")
    assert state["counts"]["added"] == 1


def test_a_cancelled_job_that_waits_is_never_run(jobs: Jobs) -> None:
    started = threading.Event()
    first = submit(jobs, until_stopped(started))
    ran: list[str] = []
    second = submit(jobs, lambda job, *_: ran.append(job.id) or Report())
    third = submit(jobs, done)
    jobs.cancel(second)
    jobs.cancel(first)
    assert ended(jobs, second)["status"] == "cancelled"
    assert ended(jobs, third)["status"] == "completed"
    assert ran == []


def test_a_waiting_job_that_is_cancelled_ends_at_once_and_cleans_up(jobs: Jobs) -> None:
    started = threading.Event()
    running = submit(jobs, until_stopped(started))
    told: list[str] = []
    waiting = jobs.submit("default", "default", "x", done, on_cancelled=lambda: told.append("waiting"))
    jobs.cancel(waiting)
    assert (waiting.status, told) == ("cancelled", ["waiting"])
    jobs.cancel(waiting)
    jobs.cancel(running)
    assert ended(jobs, running)["status"] == "cancelled"
    assert told == ["waiting"]


def test_what_waits_when_the_process_closes_is_not_cleaned_up(jobs: Jobs) -> None:
    started = threading.Event()
    submit(jobs, until_stopped(started))
    told: list[str] = []
    waiting = jobs.submit("default", "default", "x", done, on_cancelled=lambda: told.append("waiting"))
    jobs.close()
    assert (waiting.status, told) == ("cancelled", [])


@pytest.mark.parametrize("ending", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_nothing_a_job_raises_ends_the_runner(jobs: Jobs, ending: BaseException) -> None:
    def leave(*_: object) -> Report:
        raise ending

    left, after = submit(jobs, leave), submit(jobs, done)
    state = ended(jobs, left)
    assert (state["status"], state["error"]["code"]) == ("failed", "internal")
    assert type(ending).__name__ in state["error"]["message"]
    assert ended(jobs, after)["status"] == "completed"


def test_a_forgotten_job_is_forgotten_whole(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latewood.ingest.jobs.KEPT", 1)
    started = threading.Event()
    running = submit(jobs, until_stopped(started))
    waiting = [submit(jobs, done) for _ in range(4)]
    for job in (*waiting, running):
        jobs.cancel(job)
    ended(jobs, running)
    last = submit(jobs, done)
    known = {job.id for job in jobs.all("default")}
    assert len(known) == 2
    assert last.id in known
    assert [job.id for job in (*waiting, running) if jobs.cancelled(job)] == [
        job.id for job in (*waiting, running) if job.id in known
    ]


def test_only_the_last_event_lists_what_went_wrong(jobs: Jobs) -> None:
    gate = threading.Event()
    problem = Problem("a.png", "unsupported_kind", "no reader")

    def run(job: Job, progress: Callable[[Report], None], stop: Any) -> Report:
        report = Report(skipped=[problem], failed=[problem, problem])
        progress(report)
        gate.wait()
        return report

    job = submit(jobs, run)
    states: list[dict[str, Any]] = []
    for state in jobs.events(job, every=0):
        assert state is not None
        states.append(state)
        if state.get("problems") == 3:
            gate.set()
    *before, last = states
    assert before[-1]["problems"] == 3
    assert all("skipped" not in state and "errors" not in state for state in before)
    assert (len(last["skipped"]), len(last["errors"])) == (1, 2)
    assert last == job.as_dict()


def test_to_cancel_a_job_that_ended_changes_nothing(jobs: Jobs) -> None:
    job = submit(jobs, done)
    before = ended(jobs, job)
    jobs.cancel(job)
    assert job.as_dict() == before
    assert before["status"] == "completed"


def test_events_begin_with_the_state_now_and_end_with_the_last(jobs: Jobs) -> None:
    steps: queue.SimpleQueue[int] = queue.SimpleQueue()

    def run(job: Job, progress: Callable[[Report], None], stop: Any) -> Report:
        for finished in iter(steps.get, 0):
            progress(Report(finished=finished))
        return Report(finished=9)

    job = submit(jobs, run)
    seen: list[tuple[str, int]] = []
    for state in jobs.events(job, every=0):
        assert state is not None
        seen.append((state["status"], state["counts"]["finished"]))
        if seen[-1] == ("in_progress", 0):
            steps.put(1)
        elif seen[-1] == ("in_progress", 1):
            steps.put(2)
        elif seen[-1] == ("in_progress", 2):
            steps.put(0)
    assert [state for state in seen if state[0] != "queued"] == [
        ("in_progress", 0),
        ("in_progress", 1),
        ("in_progress", 2),
        ("completed", 9),
    ]
    (again,) = jobs.events(job)  # who comes late hears how it ended
    assert again == job.as_dict()


def test_a_quiet_job_is_heard_to_be_alive(jobs: Jobs) -> None:
    gate = threading.Event()
    job = submit(jobs, lambda *_: Report(added=int(gate.wait())))
    heard = 0
    for state in jobs.events(job, every=0, beat=0.01):
        heard += state is None
        if heard == 2:
            gate.set()
    assert heard >= 2
    assert job.status == "completed"


def test_several_may_follow_one_job(jobs: Jobs) -> None:
    gate = threading.Event()
    job = submit(jobs, lambda *_: Report(added=int(gate.wait())))
    heard: list[dict[str, Any]] = []
    followers = [threading.Thread(target=lambda: heard.append(ended(jobs, job))) for _ in range(3)]
    for follower in followers:
        follower.start()
    gate.set()
    for follower in followers:
        follower.join()
    assert [state["status"] for state in heard] == ["completed"] * 3


def test_closing_ends_everything_as_owner_closing(jobs: Jobs) -> None:
    started = threading.Event()
    running = submit(jobs, until_stopped(started))
    waiting = submit(jobs, done)
    started.wait()
    jobs.close()
    for job in (running, waiting):
        assert job.status == "cancelled"
        assert job.error is not None
        assert job.error[0] == CLOSING == "owner_closing"
    with pytest.raises(JobError, match="ask again in a moment") as refused:
        submit(jobs, done)
    assert refused.value.code == CLOSING
    jobs.close()


def test_closing_does_not_rewrite_what_ended_before(jobs: Jobs) -> None:
    job = submit(jobs, done)
    ended(jobs, job)
    jobs.close()
    assert (job.status, job.error) == ("completed", None)


def test_who_submits_while_it_closes_is_refused_or_heard(jobs: Jobs) -> None:
    """No job may be left behind the end of the queue: its followers would wait for ever."""
    accepted: list[Job] = []

    def hurry() -> None:
        try:
            while True:
                accepted.append(submit(jobs, done))
        except JobError:
            pass

    hurrying = [threading.Thread(target=hurry) for _ in range(4)]
    for thread in hurrying:
        thread.start()
    jobs.close()
    for thread in hurrying:
        thread.join()
    assert all(job.status in {"completed", "cancelled"} for job in accepted)


def test_a_job_is_its_tenants_own(jobs: Jobs) -> None:
    mine, theirs = submit(jobs, done, tenant="mine"), submit(jobs, done, tenant="theirs")
    assert jobs.get("mine", mine.id) is mine
    assert jobs.get("mine", theirs.id) is None
    assert jobs.get("mine", "no-such-id") is None
    assert jobs.all("mine") == [mine]
    assert jobs.all("nobody") == []


def test_the_newest_job_comes_first(jobs: Jobs) -> None:
    made = [submit(jobs, done, str(number)) for number in range(3)]
    assert jobs.all("default") == made[::-1]


def test_only_the_latest_ended_jobs_are_remembered(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latewood.ingest.jobs.KEPT", 3)
    gate = threading.Event()
    for number in range(6):
        ended(jobs, submit(jobs, done, str(number)))
    running = submit(jobs, lambda *_: Report(added=int(gate.wait())))
    assert [job.source for job in jobs.all("default")] == [
        running.source,
        "file:///5/",
        "file:///4/",
        "file:///3/",
    ]
    gate.set()


def test_the_public_shape_names_what_went_wrong(jobs: Jobs) -> None:
    report = Report(added=1, skipped=[Problem("a.png", "unsupported_kind", "no reader")])
    report.failed.append(Problem("b.pdf", "encrypted", "needs a password"))
    job = submit(jobs, lambda *_: report)
    state = ended(jobs, job)
    assert (state["skipped"], state["errors"]) == (
        [{"uri": "a.png", "code": "unsupported_kind", "message": "no reader"}],
        [{"uri": "b.pdf", "code": "encrypted", "message": "needs a password"}],
    )
    assert not {"skipped", "failed"} & set(state["counts"])
    assert (state["id"], state["collection"], state["source"]) == (job.id, "default", "file:///folder/")


def test_a_job_with_a_result_of_its_own_shows_it_and_others_have_none(jobs: Jobs) -> None:
    def run(job: Job, progress: Any, stop: Any) -> Report:
        job.result = {"missing": []}
        return Report()

    assert ended(jobs, submit(jobs, run))["result"] == {"missing": []}
    assert "result" not in ended(jobs, submit(jobs, done))


def test_what_a_failed_job_found_before_it_failed_is_shown(jobs: Jobs) -> None:
    def run(job: Job, progress: Any, stop: Any) -> Report:
        job.result = {"missing": [1]}
        raise BoomError("disk on fire")

    state = ended(jobs, submit(jobs, run))
    assert (state["status"], state["result"]) == ("failed", {"missing": [1]})


def order(source: str, *, small: bool = False, dry_run: bool = False, kind: str = INGEST) -> Order:
    options = SyncOptions(dry_run=dry_run)
    return Order(kind, "default", "default", source, options=options, small=small)


def hand_in(jobs: Jobs, given: Order, run: Callable[..., Report], tenant: str = "default") -> Job:
    given = replace(given, tenant=tenant)
    return jobs.submit(tenant, given.collection, given.source, run, order=given)


def gated() -> tuple[threading.Event, threading.Event, Callable[..., Report]]:
    """A job that says when it began and ends when it may."""
    began, gate = threading.Event(), threading.Event()

    def run(job: Job, progress: Any, stop: Callable[[], bool]) -> Report:
        began.set()
        while not stop() and not gate.wait(0.005):
            pass
        return Report()

    return began, gate, run


def test_a_small_job_does_not_wait_for_a_folder(jobs: Jobs) -> None:
    began, gate, run = gated()
    folder = hand_in(jobs, order("file:///docs/"), run)
    began.wait()
    sentence = hand_in(jobs, order("upload:a", small=True, kind=UPLOAD), done)
    assert ended(jobs, sentence)["status"] == "completed"
    assert folder.status == "in_progress"
    gate.set()


def test_small_jobs_of_a_tenant_run_one_at_a_time_in_order_and_tenants_next_to_each_other(jobs: Jobs) -> None:
    began, gate, run = gated()
    first = hand_in(jobs, order("upload:bomb", small=True), run)
    began.wait()
    took: list[str] = []
    rest = [
        hand_in(jobs, order(f"upload:{n}", small=True), lambda job, *_: took.append(job.source) or Report())
        for n in range(5)
    ]
    theirs = hand_in(jobs, order("upload:theirs", small=True), done, tenant="theirs")
    assert ended(jobs, theirs)["status"] == "completed"
    assert [job.status for job in rest] == ["queued"] * 5
    gate.set()
    assert [ended(jobs, job)["status"] for job in (first, *rest)] == ["completed"] * 6
    assert took == [f"upload:{n}" for n in range(5)]


def test_tenants_take_turns_in_the_main_lane(jobs: Jobs) -> None:
    began, gate, run = gated()
    held = hand_in(jobs, order("file:///held/"), run)
    began.wait()
    took: list[str] = []

    def note(job: Job, *_: object) -> Report:
        took.append(f"{job.tenant} {job.source}")
        return Report()

    waiting = [hand_in(jobs, order(str(number)), note, tenant="a") for number in range(3)]
    waiting += [hand_in(jobs, order(str(number)), note, tenant="b") for number in range(2)]
    gate.set()
    for job in (held, *waiting):
        ended(jobs, job)
    assert took == ["a 0", "b 0", "a 1", "b 1", "a 2"]


def test_jobs_of_one_source_never_run_at_the_same_time_and_keep_their_order(jobs: Jobs) -> None:
    began, gate, run = gated()
    large = hand_in(jobs, order("upload:a", kind=UPLOAD), run)
    began.wait()
    newer = hand_in(jobs, order("upload:a", small=True, kind=UPLOAD), done)
    other = hand_in(jobs, order("upload:b", small=True, kind=UPLOAD), done)
    assert ended(jobs, other)["status"] == "completed"  # it does not wait for what waits
    assert newer.status == "queued"
    assert newer.as_dict()["waits_for"] == "the upload of upload:a"
    gate.set()
    assert [ended(jobs, job)["status"] for job in (large, newer)] == ["completed"] * 2


def test_work_on_a_whole_collection_shares_it_with_no_small_job(jobs: Jobs) -> None:
    began, gate, run = gated()
    whole = submit(jobs, run)  # without an order: a verify, a migration
    began.wait()
    here = hand_in(jobs, order("upload:a", small=True), done)
    elsewhere = hand_in(jobs, replace(order("upload:a", small=True), collection="other"), done)
    assert ended(jobs, elsewhere)["status"] == "completed"
    assert here.status == "queued"
    gate.set()
    assert [ended(jobs, job)["status"] for job in (whole, here)] == ["completed"] * 2


def test_a_queued_job_says_what_it_waits_for_and_names_nothing_of_other_tenants(jobs: Jobs) -> None:
    began, gate, run = gated()
    hand_in(jobs, order("file:///docs/", dry_run=True), run)
    began.wait()
    assert hand_in(jobs, order("x"), done).as_dict()["waits_for"] == "the dry run of file:///docs/"
    assert hand_in(jobs, order("x"), done, tenant="b").as_dict()["waits_for"] == "a job of another tenant"
    gate.set()


def test_a_dry_run_is_marked_in_every_shape(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    job = hand_in(jobs, order("file:///docs/", dry_run=True), done)
    states = [state for state in jobs.events(job, every=0) if state is not None]
    assert all(state["dry_run"] is True for state in (*states, job.as_dict()))
    assert hand_in(jobs, order("file:///docs/"), done).as_dict()["dry_run"] is False
    assert f"job {job.id} begins: the dry run of file:///docs/" in caplog.text


def test_a_failed_job_is_logged_as_an_error_and_an_end_with_its_counts(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    def fail(*_: object) -> Report:
        raise BoomError("the disk is full")

    failed, well = hand_in(jobs, order("file:///a/"), fail), hand_in(jobs, order("file:///b/"), done)
    ended(jobs, failed)
    ended(jobs, well)
    jobs.close()
    (error,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert error.getMessage() == f"job {failed.id} failed: the ingest of file:///a/: the disk is full [boom]"
    (end,) = [record for record in caplog.records if "completed" in record.getMessage()]
    assert end.getMessage().startswith(
        f"job {well.id} completed: the ingest of file:///b/: 1 added, 0 updated"
    )
