"""Asking a Qdrant server: one client, bounded retries, and its errors as the search package's.

Every call here may be repeated: writes name the revision they replace or write the same point again. What a
node may answer while it is dying — nothing, half a body, an error of its own, fewer answers than questions —
is asked again and then raised; none of it is ever taken for an answer.
"""

from __future__ import annotations

import json
import random
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import grpc
import httpx
from pydantic import ValidationError
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from latewood.search.stores.server.options import ServerOptions
from latewood.search.types import DiskFullError, SearchError, StoreError, StoreUnavailableError

T = TypeVar("T")
Update = models.UpdateResult
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0

_FULL = ("no space left", "out of disk", "disk is full")
_REFUSED = {401, 403}
_AGAIN = {408, 425, 429}
_GARBLED = (ValidationError, json.JSONDecodeError, UnicodeDecodeError, AssertionError)
_GRPC_REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
_GRPC_WRONG = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.ALREADY_EXISTS,
}


class NoSuchCollectionError(StoreUnavailableError):
    """The server has no collection of this name (any more)."""


class PartialAnswerError(Exception):
    """Less came back than was asked for; asked again, it may be whole."""


def connect(options: ServerOptions) -> QdrantClient:
    """A client; nothing is asked of the server yet.

    Raises:
        StoreUnavailableError: the certificate file cannot be read.
    """
    more: dict[str, Any] = {}
    if options.certificate is not None:
        try:
            root = options.certificate.read_bytes()
        except OSError as error:
            raise StoreUnavailableError(
                f"the certificate {options.certificate} cannot be read: {error.strerror}; "
                "set STORE_CERTIFICATE to the file of the authority that signed the server's"
            ) from error
        more = {"verify": str(options.certificate), "grpc_options": {"root_certificates": root}}
    with warnings.catch_warnings():  # of a key over plain HTTP: `latewood doctor` says so
        warnings.simplefilter("ignore", UserWarning)
        return QdrantClient(
            url=options.url,
            api_key=options.api_key or None,
            prefer_grpc=options.grpc,
            grpc_port=options.grpc_port,
            timeout=options.timeout,
            check_compatibility=False,  # a thread of its own that warns; `latewood doctor` asks instead
            **more,
        )


class Calls:
    """One client, shared by every store on its server. Safe to use from many threads.

    Attributes:
        process: an id that tells who writes here from who writes elsewhere.
        ordering, consistency: of writes to replicas and of reads from them, as the client has them.
    """

    def __init__(
        self, client: QdrantClient, options: ServerOptions, pause: Callable[[float], object] = time.sleep
    ) -> None:
        self.client = client
        self.options = options
        self.process = str(uuid.uuid4())
        self._pause = pause
        self.ordering = models.WriteOrdering(options.ordering)
        self.consistency: models.ReadConsistency = (
            int(options.consistency)
            if options.consistency.isdecimal()
            else models.ReadConsistencyType(options.consistency)
        )
        self._where = _place(options.url)

    def ask(self, doing: str, question: Callable[[QdrantClient], T]) -> T:
        """The answer; asked again after a failure that may pass.

        Raises:
            NoSuchCollectionError: there is no such collection.
            DiskFullError: the server's disk is full.
            StoreUnavailableError: the server cannot be reached, fails, is too slow or refuses the key.
            StoreError: it takes what was asked for wrong, which asking again will not change.
        """
        attempts = self.options.retries + 1
        for attempt in range(1, attempts + 1):
            try:
                return question(self.client)
            except (ApiException, QdrantException, grpc.RpcError, PartialAnswerError) as error:
                failure = error
            except (AssertionError, RuntimeError, ValueError) as error:
                failure = error  # the client's own word for an answer without a result, or a wrong call
            self._raise_if_final(doing, failure)
            if attempt < attempts:
                self._pause(_pause(attempt, failure))
        often = f", {attempts} times in a row" if attempts > 1 else ""
        raise StoreUnavailableError(
            f"the Qdrant server at {self._where} {_told(failure, self.options.timeout)}{often} "
            f"while {doing}; what was acknowledged is safe; see that it runs, then try again"
        ) from failure

    def write(self, doing: str, question: Callable[[QdrantClient], Update | list[Update]]) -> None:
        """As `ask`, for an update: done only when the server says that it is applied."""

        def asked(client: QdrantClient) -> None:
            answer = question(client)
            results = answer if isinstance(answer, list) else [answer]
            if not results or any(one.status != models.UpdateStatus.COMPLETED for one in results):
                raise PartialAnswerError("took a write and did not apply it")

        self.ask(doing, asked)

    def _raise_if_final(self, doing: str, error: Exception) -> None:
        if isinstance(error, SearchError):
            raise error
        told = _text(error)
        if any(word in told.lower() for word in _FULL):
            raise DiskFullError(
                f"the disk of the Qdrant server at {self._where} is full, it said while {doing}; "
                "free some space there and try again"
            ) from error
        status = _status(error)
        if status == "missing":
            raise NoSuchCollectionError(
                f"the Qdrant server at {self._where} has no such collection any more, while {doing}; "
                "it was deleted or rebuilt by another process; ask again"
            ) from error
        if status == "refused":
            raise StoreUnavailableError(
                f"the Qdrant server at {self._where} refuses the key; set STORE_API_KEY to one that may "
                "read and write"
            ) from error
        if status == "wrong":
            raise StoreError(f"the Qdrant server at {self._where} refused {doing}: {told:.400}") from error


def whole(answers: Sequence[T] | None, asked: int, what: str) -> list[T]:
    """As many answers as questions.

    Raises:
        PartialAnswerError: there are not.
    """
    if answers is None or len(answers) != asked:
        given = 0 if answers is None else len(answers)
        raise PartialAnswerError(f"gave {given} of {asked} {what}")
    return list(answers)


def slices(items: Iterable[T], size: int) -> Iterable[list[T]]:
    """Some at a time."""
    part: list[T] = []
    for one in items:
        part.append(one)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def _status(error: Exception) -> str:
    """`again`, or why asking again is of no use: `missing`, `refused`, `wrong`."""
    if isinstance(error, UnexpectedResponse):
        return _http_status(error.status_code or 500)
    if isinstance(error, grpc.RpcError):
        return _grpc_status(_grpc_code(error))
    if isinstance(error, ResponseHandlingException):
        passing = (httpx.TransportError, httpx.DecodingError, *_GARBLED)
        return "again" if isinstance(error.source, passing) else "wrong"
    if isinstance(error, _GARBLED):
        return "again"
    if isinstance(error, ValueError):  # of the client itself; in its in-memory mode also of the engine
        return "missing" if str(error).endswith("not found") else "wrong"
    return "wrong" if isinstance(error, RuntimeError) else "again"


def _http_status(code: int) -> str:
    if code == 404:
        return "missing"
    if code in _REFUSED:
        return "refused"
    return "again" if code >= 500 or code in _AGAIN else "wrong"


def _grpc_status(code: grpc.StatusCode | None) -> str:
    if code is grpc.StatusCode.NOT_FOUND:
        return "missing"
    if code in _GRPC_REFUSED:
        return "refused"
    return "wrong" if code in _GRPC_WRONG else "again"


def _told(error: Exception, timeout: int) -> str:
    """What became of the last request, as the second half of a sentence."""
    source: object = error.source if isinstance(error, ResponseHandlingException) else error
    if isinstance(source, httpx.ConnectError | httpx.ConnectTimeout):
        return "cannot be reached"
    slow = isinstance(error, grpc.RpcError) and _grpc_code(error) is grpc.StatusCode.DEADLINE_EXCEEDED
    if slow or isinstance(source, httpx.TimeoutException):
        return f"gave no answer within {timeout} s (STORE_TIMEOUT)"
    if isinstance(source, httpx.TransportError):
        return f"broke off ({source})"
    if isinstance(source, _GARBLED):
        return "gave half an answer"
    if isinstance(error, PartialAnswerError):
        return str(error)
    return f"failed ({_text(error):.200})"


def _text(error: Exception) -> str:
    """What an error says, without what was sent: headers hold the key."""
    if isinstance(error, UnexpectedResponse):
        content = error.content[:400].decode("utf-8", "replace")
        return f"{error.status_code} {error.reason_phrase}: {content}"
    if isinstance(error, grpc.RpcError):
        details = getattr(error, "details", lambda: "")()
        return f"{_grpc_code(error)}: {details}"
    return str(error)


def _grpc_code(error: grpc.RpcError) -> grpc.StatusCode | None:
    code = getattr(error, "code", None)
    return code() if callable(code) else None


def _pause(attempt: int, error: Exception) -> float:
    """Seconds until the next try: twice as long each time, or as the server asks; never quite the same."""
    asked = float(error.retry_after_s) if isinstance(error, ResourceExhaustedResponse) else 0.0
    longest: float = max(FIRST_PAUSE * 2 ** (attempt - 1), asked)
    return min(longest, LONGEST_PAUSE) * random.uniform(0.75, 1.25)


def _place(url: str) -> str:
    """Where a server is, without what may be secret in its address."""
    parts = urlsplit(url)
    place = parts.hostname or url
    return f"{place}:{parts.port}" if parts.port else place
