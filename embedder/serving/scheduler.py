"""The one thread that runs a model, and the order in which it serves those who wait."""

from __future__ import annotations

import atexit
import math
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from itertools import accumulate
from queue import SimpleQueue
from time import monotonic
from types import TracebackType

from latewood.embedder.encoder.packing import pack
from latewood.embedder.encoder.rows import Row
from latewood.embedder.serving.memory import ran_out, release
from latewood.embedder.types import BATCH_ROWS, EmbedderError, Floats, Load, StoppedError, Task

# After so many turns for short requests in a row, a long one gets a batch, so that it never starves.
PATIENCE = 8

# Batches after which the budget that memory was too small for is tried again.
RECOVERY = 64

# While short requests keep coming, a long one's batches are this part of the budget, also those that PATIENCE
# gives it: who asks waits for one. Long is what one batch cannot hold, of an ingest or of a reranker.
PART = 4
RECENT_SECONDS = 5.0

# How often a waiting caller's `stop` is asked.
STOP_SECONDS = 0.2

RunBatch = Callable[[Task, Sequence[Row]], Sequence[Floats]]


def never() -> bool:
    """The `stop` of those who wait to the end."""
    return False


class Job:
    """A request on its way through the model.

    Attributes:
        sums: (slots, dim) float32, complete once `wait` returns.
        tokens: length of all rows together.
        done: tokens of the rows that ran.
        short: served before long ones: someone waits for it, and one batch holds it.
        abandoned: nobody waits any more.
        answered: who waits was told.
    """

    def __init__(self, task: Task, rows: Sequence[Row], sums: Floats, budget: int, *, urgent: bool) -> None:
        self.task = task
        self.sums = sums
        self.tokens = sum(len(row.ids) for row in rows)
        self.done = 0
        self.short = urgent and self.tokens <= budget
        self.abandoned = False
        self.answered = False
        self._error: BaseException | None = None
        self._running = threading.Lock()  # a question waits for it: an Event or a Future takes longer to wake
        self._running.acquire()
        self._rows = rows
        self._batches = deque(pack([len(row.ids) for row in rows], budget))

    @property
    def finished(self) -> bool:
        """Whether nothing is left to run."""
        return not self._batches

    def next_batch(self, most: int) -> list[Row]:
        """The rows to run next, of `most` tokens together at most or one alone."""
        indices = self._batches.popleft()
        batch = [self._rows[index] for index in indices]
        ends = accumulate(len(row.ids) for row in batch)
        count = max(1, sum(end <= most for end in ends))
        if count < len(batch):
            self._batches.appendleft(indices[count:])
        return batch[:count]

    def add(self, row: Row, values: Floats) -> None:
        """Add what `row` gave: `values` (pieces, dim) float32."""
        self.sums[row.pieces[:, 2]] += values
        self.done += len(row.ids)

    def wait(
        self, stop: Callable[[], bool] = never, progress: Callable[[float], object] | None = None
    ) -> Floats:
        """Block until the sums are complete. A wait that is interrupted takes the job out of the queue.

        `progress` is called as often as `stop`, with the part of the tokens that ran.

        Raises:
            StoppedError: `stop`, asked several times a second, said True.
        """
        try:
            while not self._running.acquire(timeout=STOP_SECONDS):
                if stop():
                    raise StoppedError("stopped on request before everything was embedded")
                if progress is not None:
                    progress(self.done / self.tokens)
            self._running.release()  # whoever asks again gets the same answer
            if self._error is not None:
                raise self._error
        finally:
            self.abandoned = True
        return self.sums

    def answer(self, error: BaseException | None = None) -> None:
        """Wake who waits, with what went wrong if anything did. The first answer counts."""
        if not self.answered:
            self.answered, self._error = True, error
            self._running.release()


class _Answering:
    """Whatever goes wrong in a turn is raised where the jobs are waited for."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is not None:
            for job in self._jobs:
                job.answer(error)
        return isinstance(error, Exception)


class Owner:
    """One thread that owns a model; requests queue for it.

    Short requests go first, and those that wait for the same task run together; a long one gets its turns
    batch by batch, smaller ones while short ones keep coming, so a query waits for one batch of an ingest,
    never for the whole of it. A batch that memory has no room for is halved, and the next ones are smaller
    for a while.
    """

    def __init__(self, run_batch: RunBatch, budget: int) -> None:
        self._run_batch = run_batch
        self._full_budget = self._budget = budget
        self._short: deque[Job] = deque()
        self._long: deque[Job] = deque()
        self._short_turns = 0
        self._asked = -math.inf  # when the latest short request came, by time.monotonic
        self._tokens = self._rows = 0
        self._batches = [0] * (len(BATCH_ROWS) + 1)
        self._closed = False
        self._ending = False
        self._guard = threading.RLock()
        # Wakes the thread once the guard is free; a condition would wake it before.
        self._news: SimpleQueue[None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="embedder", daemon=True)
        self._thread.start()
        # A process that ended while torch computes here would be aborted.
        atexit.register(self._end)

    def submit(self, job: Job) -> None:
        """Queue a job.

        Raises:
            EmbedderError: the embedder is closed.
        """
        if job.finished:
            job.answer()
            return
        with self._guard:
            if self._closed:
                raise EmbedderError("the embedder is closed: load it again to embed more")
            if job.short:
                self._asked = monotonic()
            (self._short if job.short else self._long).append(job)
        if self._news.empty():  # what waits there wakes the thread for this job, too
            self._news.put(None)

    @property
    def load(self) -> Load:
        """What has run, and what waits."""
        with self._guard:
            waiting = sum(not job.abandoned for job in (*self._short, *self._long))
        return Load(waiting, self._tokens, self._rows, tuple(self._batches))

    def close(self) -> None:
        """Finish every job that was accepted, refuse later ones, end the thread. Safe to call twice."""
        with self._guard:
            self._closed = True
        self._news.put(None)
        self._thread.join()
        atexit.unregister(self._end)

    def _end(self) -> None:
        """The process ends: the batch that runs is the last one."""
        self._ending = True
        self.close()

    def _serve(self) -> None:
        try:
            while turn := self._take():
                with _Answering(turn):
                    self._run(turn)
                self._settle(turn)
        finally:
            # Empty unless the process ends: then nobody may wait for ever.
            with self._guard:
                self._closed = True
                for job in (*self._short, *self._long):
                    job.answer(EmbedderError("the thread that runs the model has ended"))

    def _take(self) -> list[Job]:
        """Jobs to serve next, all of one task; none when closed and everything is done."""
        while not self._ending:
            with self._guard:
                self._short = deque(job for job in self._short if not job.abandoned)
                self._long = deque(job for job in self._long if not job.abandoned)
                if self._short or self._long:
                    return self._take_short() if self._short_is_next() else [self._long.popleft()]
                if self._closed:
                    break
            self._news.get()
        return []

    def _short_is_next(self) -> bool:
        if self._short and self._long:
            self._short_turns = (self._short_turns + 1) % (PATIENCE + 1)
            return self._short_turns != 0
        return bool(self._short)

    def _take_short(self) -> list[Job]:
        turn = [self._short.popleft()]
        tokens = turn[0].tokens
        while self._short and self._short[0].task == turn[0].task:
            tokens += self._short[0].tokens
            if tokens > self._budget:
                break
            turn.append(self._short.popleft())
        return turn

    def _run(self, turn: Sequence[Job]) -> None:
        shared = not turn[0].short and monotonic() - self._asked < RECENT_SECONDS
        most = self._full_budget // PART if shared else self._full_budget
        waiting = [(job, row) for job in turn for row in job.next_batch(most)]
        batches = deque(pack([len(row.ids) for _, row in waiting], self._budget))
        while batches:
            batch = batches.popleft()
            values = self._values(turn[0].task, [waiting[index][1] for index in batch])
            if values is None:
                half = len(batch) // 2
                batches.extendleft((batch[half:], batch[:half]))
                continue
            for index, value in zip(batch, values, strict=True):
                job, row = waiting[index]
                job.add(row, value)

    def _values(self, task: Task, rows: Sequence[Row]) -> Sequence[Floats] | None:
        """What a batch gives; None when memory has no room for it and it can be halved.

        Raises:
            EmbedderError: there is no room for a single row.
        """
        try:
            values = self._run_batch(task, rows)
        except Exception as error:
            if not ran_out(error):
                raise
            if len(rows) == 1:
                raise EmbedderError(
                    f"out of memory on {len(rows[0].ids)} tokens by themselves ({str(error)[:200]}): set a "
                    "smaller WINDOW, free memory, or use DEVICE cpu"
                ) from error
        else:
            self._budget = min(self._full_budget, self._budget + self._full_budget // RECOVERY)
            self._tokens += sum(len(row.ids) for row in rows)
            self._rows += len(rows)
            self._batches[bisect_left(BATCH_ROWS, len(rows))] += 1
            return values
        # Behind the except clause: what the error held on to is free by now.
        release()
        self._budget = max(1, self._budget // 2)
        return None

    def _settle(self, turn: Sequence[Job]) -> None:
        for job in turn:
            if job.answered:
                continue
            if job.finished:
                job.answer()
                continue
            with self._guard:
                # Behind the others: long jobs share the model batch by batch.
                (self._short if job.short else self._long).append(job)
