"""The dense leg's plan as the settings have it, for an index of these sizes of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from latewood.engine.settings import Settings
from latewood.ingest.report import Report
from latewood.search.index_config import FLAT, HNSW, DensePlan, read_stages
from latewood.search.stores.base import Store
from latewood.search.types import FingerprintError, IndexConfig


def plan_of(settings: Settings, dimensions: Sequence[int]) -> DensePlan:
    """What an index, or a generation of one, is made with now.

    Raises:
        FingerprintError: `PLAN` has stages that the index does not store.
    """
    plan = DensePlan(
        stages=() if settings.plan in (HNSW, FLAT) else read_stages(settings.plan),
        graph=settings.plan != FLAT,
        dtype=settings.vector_dtype,
        quantization=settings.quantization,
        on_disk=settings.on_disk,
        m=settings.hnsw_m,
        ef_construct=settings.hnsw_ef_construct,
        oversampling=settings.oversampling,
        ef=settings.hnsw_ef,
    )
    try:
        plan.sizes(dimensions)
    except ValueError as error:
        raise FingerprintError(
            f"PLAN is set to {settings.plan}: {error}; set PLAN to {HNSW}, or DIMENSIONS so that they are, "
            "before an index is made or `latewood migrate` makes it anew"
        ) from error
    return plan


def asking(settings: Settings) -> DensePlan:
    """How any index is asked, however it was built."""
    return DensePlan(oversampling=settings.oversampling, ef=settings.hnsw_ef)


def set_plan(settings: Settings, config: IndexConfig) -> str:
    """What the next generation of an index is built by, where that is another plan; or why it cannot be."""
    try:
        plan = plan_of(settings, config.dimensions)
    except FingerprintError as error:
        return str(error)
    return "" if plan == config.plan else str(plan)


def rebuilt(live: Store, before: IndexConfig, report: Report) -> dict[str, Any]:
    """What a rebuild came to, for its job."""
    return {
        "model": live.config.fingerprint.get("model", ""),
        "previous": before.fingerprint.get("model", ""),
        "dimensions": list(live.config.dimensions),
        "plan": str(live.config.plan),
        "changed": not live.config.same_vectors(before),
        "moved": report.finished,
        "documents": report.documents,
        "chunks": report.chunks,
        "seconds": round(report.seconds, 3),
    }
