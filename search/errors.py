"""Every error the search package raises on purpose."""

from __future__ import annotations


class SearchError(Exception):
    """Base of every error the search package raises on purpose."""


class QueryError(SearchError, ValueError):
    """A request that cannot be answered as asked: the message says what, the value, the limit, the remedy."""


class StoreError(SearchError):
    """The store failed."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached or opened now; nothing was lost."""


class StoreDamagedError(StoreError):
    """What is on disk is not what was acknowledged; the message says what is missing and the remedy."""


class DiskFullError(StoreError):
    """Writing was refused because too little space is free; nothing was lost."""


class StoreReadOnlyError(StoreError):
    """Writing was refused because the index lies in a folder that cannot be written."""


class FingerprintError(StoreError):
    """The index was made with another model or analyser than the one in use."""
