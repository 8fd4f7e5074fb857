"""What a service tells Prometheus of itself; nothing of what documents or questions say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from latewood.embedder.types import BATCH_ROWS, Load
from latewood.search.results import Timing
from latewood.search.types import SearchError

if TYPE_CHECKING:
    from latewood.engine.library import Service

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts of one process. Safe to call from many threads."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "latewood_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "latewood_request_seconds", "Time to answer.", ["route"], buckets=SECONDS, registry=registry
        )
        self._stages = Histogram(
            "latewood_stage_seconds",
            "Time of a search's stages.",
            ["stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self._errors = Counter(
            "latewood_errors", "Requests refused or failed, by code.", ["code"], registry=registry
        )
        self.in_flight = Gauge("latewood_requests_in_flight", "Requests being answered.", registry=registry)

    def request(self, method: str, route: str, status: int, seconds: float, code: str) -> None:
        """Count one request: its route as the interface names it, its status, and its error's code if any."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if code:
            self._errors.labels(code).inc()

    def search(self, took: Timing) -> None:
        """Count the stages of one search."""
        for stage, spent in (("embed", took.embed), ("search", took.search), ("rerank", took.rerank)):
            if spent is not None:
                self._stages.labels(stage).observe(spent / 1e3)

    def text(self, service: Service, tenant: str | None) -> bytes:
        """Everything, as Prometheus reads it; indexes of one tenant, or of all when it is None."""
        now = CollectorRegistry()
        now.register(_Now(service, tenant))
        return generate_latest(self._registry) + generate_latest(now)


class _Now(Collector):
    """What is looked up when it is asked for."""

    def __init__(self, service: Service, tenant: str | None) -> None:
        self._service = service
        self._tenant = tenant

    def describe(self) -> list[Metric]:
        """Nothing is looked up before it is asked for."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The model's work, the queue of jobs, the open indexes."""
        yield from self._models()
        yield GaugeMetricFamily(
            "latewood_jobs_waiting", "Jobs that wait or run.", value=self._service.jobs.unfinished()
        )
        yield from self._indexes()

    def _models(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily(
            "latewood_model_queue", "Requests that wait for the model.", labels=["model"]
        )
        tokens = CounterMetricFamily("latewood_model_tokens", "Tokens the model has read.", labels=["model"])
        rows = HistogramMetricFamily(
            "latewood_model_batch_rows", "Texts and windows that ran together.", labels=["model"]
        )
        for embedder in self._service.loaded:
            load = getattr(embedder, "load", None)
            if isinstance(load, Load):
                name = [embedder.description.name]
                waiting.add_metric(name, load.waiting)
                tokens.add_metric(name, load.tokens)
                rows.add_metric(name, buckets=_buckets(load), sum_value=load.rows)
        yield from (waiting, tokens, rows)

    def _indexes(self) -> Iterator[Metric]:
        labels = ["tenant", "collection"]
        told = {
            name: GaugeMetricFamily(f"latewood_index_{name}", text, labels=labels)
            for name, text in (
                ("up", "1 while the index answers."),
                ("documents", "Documents."),
                ("chunks", "Passages."),
                ("bytes", "Size on disk."),
            )
        }
        for (tenant, collection), opened in self._service.all_opened().items():
            if self._tenant not in {None, tenant}:
                continue
            try:
                stats = opened.store.stats()
            except SearchError:
                told["up"].add_metric([tenant, collection], 0)
                continue
            values = {"up": 1, "documents": stats.documents, "chunks": stats.chunks, "bytes": stats.bytes}
            for name, value in values.items():
                told[name].add_metric([tenant, collection], value)
        yield from told.values()


def _buckets(load: Load) -> list[tuple[str, float]]:
    """Batches of at most so many rows, cumulative."""
    total, found = 0, []
    for most, batches in zip((*map(str, BATCH_ROWS), "+Inf"), load.batches, strict=True):
        total += batches
        found.append((most, float(total)))
    return found
