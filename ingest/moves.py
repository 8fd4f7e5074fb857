"""Contents that moved from one file to another: in which order to work, so that vectors can be copied.

Sizes decide, they cost nothing; the hash decides later what is really copied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from latewood.ingest.sources.diff import Plan, ScannedFile
from latewood.ingest.sources.inventory import Known
from latewood.ingest.vector_reuse import Twins


def twins_of(others: Mapping[str, str], plan: Plan, known: Mapping[str, Known]) -> Twins:
    """Documents that vectors may be copied from; of several with the same content, one that stays.

    Args:
        others: content hash -> document id, of other sources.
        plan: what is to be done.
        known: the source's documents by uri.
    """
    staying = [known[file.uri] for file in plan.unchanged]
    live = [one for one in known.values() if one.live]
    # A document that was mended from what was left of it has no hash.
    found = {one.content_hash: one.id for one in (*live, *staying) if one.content_hash}
    return Twins(found | {key: one for key, one in others.items() if key}, _leaving(plan, known))


def _leaving(plan: Plan, known: Mapping[str, Known]) -> set[str]:
    """Ids of changed documents that another new or changed file is as large as they were."""
    sizes = Counter(file.stamp.size for file in (*plan.new, *plan.changed))
    found = set()
    for file in plan.changed:
        before = known[file.uri]
        if before.stamp is not None:
            same = file.stamp.size == before.stamp.size
            if sizes[before.stamp.size] > int(same):
                found.add(before.id)
    return found


def perhaps_renamed(plan: Plan) -> set[str]:
    """Ids of removed documents as large as a new or changed file: to be removed after that was taken in."""
    sizes = {file.stamp.size for file in (*plan.new, *plan.changed)}
    return {one.id for one in plan.removed if one.live and one.stamp and one.stamp.size in sizes}


def partners_together(changed: Sequence[ScannedFile], known: Mapping[str, Known]) -> list[ScannedFile]:
    """Changed files in such an order that two whose contents were swapped follow each other."""

    def sizes(file: ScannedFile) -> list[int]:
        before = known[file.uri].stamp
        return sorted([file.stamp.size, file.stamp.size if before is None else before.size])

    return sorted(changed, key=sizes)
