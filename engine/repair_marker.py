"""The mark of a repair under way, a file in the generation's folder.

A repair that is killed leaves an index whose counts agree with themselves while most of it is still missing:
the mark keeps everyone from answering out of it.
"""

from __future__ import annotations

import os
from pathlib import Path

from latewood.search.types import StoreDamagedError

_NAME = "mending"


def begin(generation: Path) -> None:
    """Set the mark; it survives a power cut."""
    (generation / _NAME).touch()
    folder = os.open(generation, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def end(generation: Path) -> None:
    """Take the mark away: the repair went through to its end."""
    (generation / _NAME).unlink(missing_ok=True)


def check(generation: Path) -> None:
    """Refuse an index whose repair did not come to its end.

    Raises:
        StoreDamagedError: it is marked.
    """
    if (generation / _NAME).exists():
        raise StoreDamagedError(
            f"the repair of the index in {generation} did not come to its end; run `latewood verify --repair`"
        )
