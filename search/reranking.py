"""A cross-encoder that has so long and no longer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from latewood.embedder.types import EmbedderError, Reranker, StoppedError

logger = logging.getLogger(__name__)

BUDGET = "budget"
"""Why an order is not the reranker's: it was not done in time."""

_LOOK_SECONDS = 0.2  # how often the `stop` of who waits to the end is asked
_AT_ONCE = 4  # questions whose passages wait for the one model; more wait for these, as long as they have


class TimedReranker:
    """Scores passages within a number of seconds, or not at all. Safe to share by threads.

    The model is loaded with the first question, which may take longer than that; the loading goes on, and a
    later question finds the model there.
    """

    def __init__(self, name: str, load: Callable[[], Reranker], seconds: float, *, alias: str = "") -> None:
        """Make one.

        Args:
            name: the model's, as answers show it.
            load: called once, with the first question.
            seconds: that a question has, waiting for others' included.
            alias: another name that requests may use.
        """
        self.name = name
        self.names = frozenset((name, alias or name))
        self.seconds = seconds
        self._load = load
        self._loaded: Reranker | None = None
        self._loading = threading.Lock()
        self._closed = False
        self._threads = ThreadPoolExecutor(_AT_ONCE, "rerank")

    def scores(self, query: str, passages: Sequence[str]) -> list[float] | None:
        """How well each passage answers, higher is better; None when it takes too long.

        Raises:
            EmbedderError: the model cannot be loaded, or failed.
        """
        if not passages:
            return []
        late = threading.Event()
        work = self._threads.submit(self._score, query, passages, late)
        done, _ = wait([work], self.seconds)
        if done:
            return work.result()
        late.set()
        work.cancel()
        work.add_done_callback(_tell)
        return None

    def all_scores(self, query: str, passages: Sequence[str], stop: Callable[[], bool]) -> list[float]:
        """How well each passage answers, however long it takes, until `stop` says that nobody waits.

        Raises:
            StoppedError: `stop` said True.
            EmbedderError: the model cannot be loaded, or failed.
        """
        late = threading.Event()
        work = self._threads.submit(self._score, query, passages, late)
        while not wait([work], _LOOK_SECONDS).done:
            if stop():
                late.set()
                work.cancel()
                work.add_done_callback(_tell)
                raise StoppedError("stopped on request before everything was reranked")
        return work.result()

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Return the number of tokens of all texts.

        Raises:
            EmbedderError: the model cannot be loaded.
        """
        return self._model().count_tokens(texts)

    def close(self) -> None:
        """Refuse new questions and let go of the model."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._loading:
            self._closed = True
            if self._loaded is not None:
                self._loaded.close()

    def _score(self, query: str, passages: Sequence[str], late: threading.Event) -> list[float]:
        return [float(score) for score in self._model().score(query, passages, late.is_set)]

    def _model(self) -> Reranker:
        with self._loading:
            if self._closed:
                raise EmbedderError("the reranker is closed with its service; ask the next one")
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded


def _tell(work: Future[list[float]]) -> None:
    """Log what ended work that nobody waits for any more; a model that is missing would stay unsaid."""
    error = None if work.cancelled() else work.exception()
    if error is not None and not isinstance(error, StoppedError):
        logger.warning("a rerank that came too late failed: %s", error)
