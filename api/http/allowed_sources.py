"""What `POST /jobs` may ingest when it is asked over TCP: what lies in one of `ROOTS`, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from latewood.engine.errors import ApiError
from latewood.ingest.sources.uris import is_remote, path_of, remote_holds


def check_source(roots: Sequence[str], source: str) -> None:
    """Refuse a source outside every root. Links and `..` are followed before a path is compared.

    Links to files inside a root are read as everywhere: who may write there says what is ingested. A web
    server's redirects are held to the roots where they are followed, by `ingest.remote`.

    Raises:
        ApiError: 403 `source_not_allowed`.
        SourceError: a `file:` uri that names no path.
    """
    if any(_holds(root, source) for root in roots):
        return
    allowed = f"one of {', '.join(roots)}" if roots else "nothing: ROOTS is empty"
    raise ApiError(
        403,
        "source_not_allowed",
        f"{source!r} may not be ingested over TCP; allowed is {allowed}. Set ROOTS on the service's machine, "
        "or use `latewood ingest` there",
    )


def _holds(root: str, source: str) -> bool:
    if is_remote(root) != is_remote(source):
        return False
    if is_remote(root):
        return remote_holds(root, source)
    path = path_of(source) if source.startswith("file:") else source
    if not Path(path).is_absolute() or "\0" in path:
        return False
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(_local(root)))


def _local(root: str) -> str:
    return path_of(root) if root.startswith("file:") else root
