"""How many documents have each value of a key, by the filters' own idea of equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from latewood.search.stores.qdrant.filters import moment_of
from latewood.search.types import MetadataValue, QueryError
from latewood.search.unicode_forms import composed

Scalar = str | int | float | bool
_Identity = tuple[str, Scalar | datetime]
_EXACT = 2**53  # from here on a float may equal several integers, to which a filter still tells it equal


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value, and the number of documents that a filter `eq` on it would leave."""

    value: Scalar
    documents: int


@dataclass(frozen=True, slots=True)
class Facets:
    """The values of a key among the documents that match.

    Attributes:
        documents: those that match, with or without the key.
        values: every value, most documents first, then by value; of a list each entry counts.
    """

    key: str
    documents: int
    values: tuple[FacetValue, ...]


def check_key(key: str) -> None:
    """Hold a key against what documents can be counted by.

    Raises:
        QueryError: a key no document has.
    """
    if key == "page":
        raise QueryError("facets count documents, and 'page' is of a passage; filter by it instead")
    if not key or '"' in key or "\\" in key:
        raise QueryError(
            f"facet key {key!r:.60} is not possible; a key is not empty and has no quotes or backslashes"
        )


def count(key: str, documents: Iterable[MetadataValue | None]) -> Facets:
    """Count values: one entry per document, None for one without the key.

    Of strings that are equal, as spellings of one date are, the first in order is shown.
    """
    number = 0
    shown: dict[_Identity, Scalar] = {}
    counted: Counter[_Identity] = Counter()
    for stored in documents:
        number += 1
        values: Sequence[Scalar] = stored if isinstance(stored, list) else [] if stored is None else [stored]
        own = [(_identity(key, value), value) for value in values]
        counted.update({identity for identity, _ in own})
        for identity, value in own:
            known = shown.setdefault(identity, value)
            if isinstance(value, str) and isinstance(known, str):
                shown[identity] = min(known, value)
    ranked = sorted(counted, key=lambda one: (-counted[one], one[0], shown[one]))
    return Facets(key, number, tuple(FacetValue(shown[one], counted[one]) for one in ranked))


def _identity(key: str, value: Scalar) -> _Identity:
    """Equal for values that a filter takes for equal: 1 and 1.0, but neither with true nor with "1"."""
    if isinstance(value, bool):
        return "boolean", value
    if isinstance(value, str):
        return "string", moment_of(key, value) or composed(value)
    return ("integer", value) if isinstance(value, int) and abs(value) >= _EXACT else ("number", float(value))
