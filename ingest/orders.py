"""What a job of documents is to do, as it is written down until it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from latewood.ingest.sources.patterns import Selection
from latewood.ingest.sync import SyncOptions

INGEST = "ingest"
UPLOAD = "upload"
PLAIN = SyncOptions()


@dataclass(frozen=True, slots=True)
class Order:
    """An ingest of a source, or of one upload.

    Attributes:
        kind: `INGEST` or `UPLOAD`.
        source: what lists show: the uri of the folder or file, or of the upload.
        root: uri that an ingest begins at, which a link in it may tell from `source`.
        options: of an ingest.
        entry: name of an upload's folder in the spool.
        born: seconds since 1970 when it was given, for people.
        number: its place in the order of arrival, from a counter that never goes back; 0: before all others.
        small: whether it goes to the lane of small jobs.
    """

    kind: str
    tenant: str
    collection: str
    source: str
    root: str = ""
    options: SyncOptions = PLAIN
    entry: str = ""
    born: float = 0.0
    number: int = 0
    small: bool = False

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        selection = self.options.selection
        only = self.options.only
        return {
            **asdict(replace(self, options=PLAIN)),
            "options": {
                "dry_run": self.options.dry_run,
                "keep_deleted": self.options.keep_deleted,
                "allow_empty": self.options.allow_empty,
                "include": list(selection.include),
                "exclude": list(selection.exclude),
                "hidden": selection.hidden,
                "only": None if only is None else sorted(only),
            },
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Order:
        """The order that `as_dict` wrote down."""
        said = given["options"]
        options = SyncOptions(
            dry_run=said["dry_run"],
            keep_deleted=said["keep_deleted"],
            allow_empty=said["allow_empty"],
            selection=Selection(tuple(said["include"]), tuple(said["exclude"]), hidden=said["hidden"]),
            only=None if said["only"] is None else frozenset(said["only"]),
        )
        return cls(**{**given, "options": options})

    def same_work(self, other: Order) -> bool:
        """Whether both ask for the same, whenever they were given."""
        return replace(self, born=0.0, number=0) == replace(other, born=0.0, number=0)

    @property
    def key(self) -> str:
        """Orders of one key never run at the same time: two of one source would meet on its documents."""
        return "\x1f".join((self.tenant, self.collection, self.source.rstrip("/")))
