"""Where an ingest reads from: files of this machine, or copies of what lies elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from latewood.ingest.sources.diff import file_uri, folder_uri
from latewood.ingest.sources.patterns import Selection
from latewood.ingest.sources.remote import RemoteSource
from latewood.ingest.sources.scan import ScannedFile, ScanResult, check_unmoved, scan


class Asked(Protocol):
    """What of an ingest's options matters to a scan."""

    @property
    def allow_empty(self) -> bool:
        """Take a root that is missing for an empty one."""
        ...

    @property
    def selection(self) -> Selection:
        """What of a folder is meant."""
        ...


class Origin(Protocol):
    """A source as an ingest meets it."""

    @property
    def names(self) -> Set[str]:
        """The uris that its documents may name as their source."""
        ...

    def scan(self, options: Asked) -> ScanResult:
        """What it holds now. Raises SourceError."""
        ...

    def source(self, found: ScanResult, known: Set[str]) -> str:
        """The source's uri, given the sources that are known."""
        ...

    def check(self, found: ScanResult) -> None:
        """Before documents are removed: raises SourceError when the source was taken away since its scan."""
        ...

    def at(self, file: ScannedFile) -> AbstractContextManager[str]:
        """A path at which the file can be read meanwhile. Raises ParseError."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class Local:
    """A folder or file of this machine."""

    def __init__(self, root: str, left_out: tuple[str, ...]) -> None:
        self._root = root
        self._left_out = left_out

    @property
    def names(self) -> Set[str]:
        """See `Origin.names`."""
        return {file_uri(self._root), folder_uri(self._root)}

    def scan(self, options: Asked) -> ScanResult:
        """See `Origin.scan`."""
        return scan(
            self._root,
            missing_ok=options.allow_empty,
            left_out=self._left_out,
            selection=options.selection,
        )

    def source(self, found: ScanResult, known: Set[str]) -> str:
        """See `Origin.source`; a file that is gone is still the source it was."""
        file = file_uri(self._root)
        return file if file in known and not Path(self._root).is_dir() else folder_uri(self._root)

    def check(self, found: ScanResult) -> None:
        """See `Origin.check`."""
        check_unmoved(self._root, found)

    @contextmanager
    def at(self, file: ScannedFile) -> Iterator[str]:
        """See `Origin.at`."""
        yield file.path

    def close(self) -> None:
        """Nothing is held."""


class Remote:
    """A bucket or a web server, or what lies below a place there."""

    def __init__(self, source: RemoteSource) -> None:
        self._source = source

    @property
    def names(self) -> Set[str]:
        """See `Origin.names`."""
        bare = self._source.uri.rstrip("/")
        return {bare, f"{bare}/"}

    def scan(self, options: Asked) -> ScanResult:
        """See `Origin.scan`."""
        return self._source.scan(options.selection, missing_ok=options.allow_empty)

    def source(self, found: ScanResult, known: Set[str]) -> str:
        """See `Origin.source`; a file that is gone is still the source it was."""
        uri = self._source.uri
        single = {file.archive or file.uri for file in found.files} == {uri}
        return uri if single or (uri in known and not found.files) else f"{uri.rstrip('/')}/"

    def check(self, found: ScanResult) -> None:
        """A listing that came whole stands; there is nothing that could be unmounted."""

    def at(self, file: ScannedFile) -> AbstractContextManager[str]:
        """See `Origin.at`."""
        return self._source.at(file)

    def close(self) -> None:
        """Remove what was fetched."""
        self._source.close()
