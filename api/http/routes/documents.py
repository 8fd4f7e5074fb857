"""`/documents`: hand in, list, show, remove."""

from __future__ import annotations

import shutil
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from latewood.api.http.authorization import ServiceOf, TenantOf
from latewood.api.http.schemas.documents import (
    Accepted,
    DocumentDetailOut,
    DocumentOut,
    DocumentsOut,
    ErrorOut,
    TextBody,
)
from latewood.api.http.strict_json import StrictRoute, parse_json
from latewood.engine.errors import ApiError
from latewood.engine.library import Service
from latewood.ingest.jobs import JobError
from latewood.ingest.types import document_id
from latewood.ingest.uploads import Spooled, Upload, discard, name_in
from latewood.search.stores.base import Store
from latewood.search.stores.generations import layout
from latewood.search.types import Manifest, MetadataValue, Passage
from latewood.search.unicode_forms import composed, composed_uri, uri_in_forms

router = APIRouter(
    prefix="/documents", tags=["documents"], responses={"4XX": {"model": ErrorOut}}, route_class=StrictRoute
)
Collection = Annotated[str, Query(description="the collection")]
_BETWEEN = "/"  # parts the moment from the id in a cursor of the newest documents
_READ_TRIES = 20
_READ_PAUSE = 0.02

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": TextBody.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "metadata": {"type": "string", "description": "a JSON object for every file"},
                    },
                    "required": ["files"],
                }
            },
        },
    }
}


@router.post("", status_code=202, openapi_extra=_BODY)
async def add(
    request: Request, service: ServiceOf, tenant: TenantOf, collection: Collection = "default"
) -> Accepted:
    """Hand in files (multipart, field `files`) or a text (JSON).

    On the answer they are on disk; a job ingests them. A text replaces the one of its uri and keeps the title
    and the metadata that are not given; a file replaces title and metadata, too.
    """
    layout.check_names(tenant, collection)
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        async with request.form() as form:
            files = [part for part in form.getlist("files") if isinstance(part, UploadFile)]
            known = {"files", "metadata"}
            if not files or set(form) - known:
                raise ApiError(
                    422,
                    "invalid_request",
                    "a multipart body has the fields files (one or more, each with a file name) and "
                    f"metadata, got {sorted(form)}",
                )
            metadata = _metadata(service, form.get("metadata"))
            uploads = _distinct([_named(tenant, collection, file, metadata) for file in files])
            return await run_in_threadpool(_accept_files, service, uploads, files)
    text = await _text_body(request)
    uri = _upload_uri(service, tenant, collection, text)
    metadata = _checked(service, text.metadata)
    title = text.title.strip()
    given = {"title": bool(title), "metadata": text.metadata is not None}
    keeps = tuple(field for field in given if not given[field])
    upload = Upload(tenant, collection, uri, f"{name_in(uri)}.txt", title, metadata, keeps)
    return await run_in_threadpool(_accept_text, service, upload, text.text)


@router.get("")
def list_documents(
    service: ServiceOf,
    tenant: TenantOf,
    collection: Collection = "default",
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    order: Annotated[
        Literal["id", "newest"], Query(description="`newest`: by moment of ingestion, newest first")
    ] = "id",
) -> DocumentsOut:
    """List documents, one page at a time."""
    store = service.open(tenant, collection).store
    page = _newest(store, cursor, limit) if order == "newest" else _by_id(store, cursor, limit)
    return DocumentsOut(documents=[summary(manifest) for manifest in page.found], next_cursor=page.following)


class _Page(NamedTuple):
    """Manifests of one page, and the cursor of the next one (None: this is the last)."""

    found: list[Manifest]
    following: str | None


def _by_id(store: Store, cursor: str | None, limit: int) -> _Page:
    found: list[Manifest] = []
    after = cursor
    while len(found) < limit:
        page = store.list_manifests(after=after, limit=limit)
        found += [manifest for manifest in page if manifest.live is not None]
        if len(page) < limit:
            return _Page(found[:limit], None if len(found) <= limit else found[limit - 1].id)
        after = page[-1].id
    return _Page(found[:limit], found[limit - 1].id)


def _newest(store: Store, cursor: str | None, limit: int) -> _Page:
    moment, _, last = (cursor or "").partition(_BETWEEN)
    rows = store.newest(after=(moment, last) if cursor else None, limit=limit)
    manifests = store.get_manifests([document for _, document in rows])
    return _Page(
        [one for one in manifests if one.live is not None],
        _BETWEEN.join(rows[-1]) if len(rows) == limit else None,
    )


@router.get("/{id}")
def show(
    id: str, service: ServiceOf, tenant: TenantOf, collection: Collection = "default"
) -> DocumentDetailOut:
    """One document with its text."""
    manifest, passages = _whole(service.open(tenant, collection).store, checked_id(id))
    document = manifest.document
    failure = manifest.failure
    return DocumentDetailOut(
        **summary(manifest).model_dump(),
        source=document.source,
        kind=document.kind,
        modified=document.modified,
        ingested=document.ingested,
        notes=list(manifest.notes),
        failure={"code": failure.code, "message": failure.message, "at": failure.at} if failure else None,
        text="".join(passage.chunk.text for passage in passages),
    )


def _whole(store: Store, key: str) -> tuple[Manifest, list[Passage]]:
    """A document's manifest and its chunks, both of one version: they are two questions to the store.

    Raises:
        ApiError: 404, it is not there (any more); 503, it was replaced again at each of the tries.
    """
    for _ in range(_READ_TRIES):
        manifest = existing(store.get_manifests([key]), key)
        passages = store.chunks_of(key)
        versions = {passage.chunk.version for passage in passages}
        if versions <= {manifest.live} and len(passages) == manifest.chunks:
            return manifest, passages
        time.sleep(_READ_PAUSE)
    raise ApiError(
        503,
        "document_changing",
        f"document {key!r} was replaced {_READ_TRIES} times while it was read; ask again",
    )


@router.delete("/{id}", status_code=204)
def delete(id: str, service: ServiceOf, tenant: TenantOf, collection: Collection = "default") -> Response:
    """Remove one document; it stops answering at once. A folder's file comes back with its next ingest.

    On the answer the removal survives a power cut.

    Uploads of it that arrived before and are not ingested yet are dropped too. What does not answer because
    it failed, or because a repair found nothing left of it, can be removed as well: nobody hears of it again.
    """
    index = service.open(tenant, collection).index
    found = index.store.get_manifests([checked_id(id)])
    manifest = found[0] if found and found[0].failure is not None else existing(found, id)
    discard(index, [manifest.id])  # before its uploads: what stops here has lost nothing that was accepted
    service.spool.remove_all(manifest.id)  # what failed or still waits would bring it back
    discard(index, [manifest.id])  # an upload of it may have been taken in meanwhile
    index.store.sync()
    service.spool.sync()
    return Response(status_code=204)


def existing(found: Sequence[Manifest], key: str) -> Manifest:
    """The one manifest that was found, if its document answers.

    Raises:
        ApiError: 404, it does not.
    """
    if not found or found[0].live is None:
        raise ApiError(404, "document_not_found", f"no document {key!r} here; list the documents to see them")
    return found[0]


def checked_id(key: str) -> str:
    """A document's id as it is written everywhere.

    Raises:
        ApiError: 404, nothing can have this id.
    """
    try:
        return str(uuid.UUID(key))
    except ValueError as error:
        raise ApiError(404, "document_not_found", f"no document {key!r} here; ids are UUIDs") from error


def summary(manifest: Manifest) -> DocumentOut:
    """A document as lists show it."""
    document = manifest.document
    return DocumentOut(
        id=document.id,
        uri=document.uri,
        title=document.title,
        chunks=manifest.chunks,
        version=manifest.live or "",
        metadata=dict(document.metadata),
    )


async def _text_body(request: Request) -> TextBody:
    text = _validated(parse_json(await request.body(), "the body"))
    if not text.text.strip():
        raise ApiError(
            422, "empty_text", "text is blank; send at least one character that is not white space"
        )
    return text


def _metadata(service: Service, given: Any) -> dict[str, MetadataValue]:
    if given in (None, ""):
        return {}
    if not isinstance(given, str):
        raise ApiError(422, "invalid_request", "metadata is a file; send it as a plain field")
    parsed = parse_json(given, "metadata")
    return _checked(service, _validated({"text": "unused", "metadata": parsed}).metadata)


def _validated(shape: Any) -> TextBody:
    try:
        return TextBody.model_validate(shape)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


def _checked(service: Service, given: dict[str, MetadataValue] | None) -> dict[str, MetadataValue]:
    metadata = given or {}
    most = service.settings.metadata_keys
    if len(metadata) > most:
        raise ApiError(
            422, "invalid_metadata", f"{len(metadata)} metadata keys, the limit is {most} (METADATA_KEYS)"
        )
    return metadata


def _upload_uri(service: Service, tenant: str, collection: str, text: TextBody) -> str:
    uri = text.uri or f"upload:{uuid.uuid4()}"
    if uri.startswith("upload:") and len(uri) > len("upload:"):
        return uri
    if service.exists(tenant, collection):
        store = service.open(tenant, collection).store
        if any(found.live for found in store.get_manifests([document_id(tenant, collection, uri)])):
            raise ApiError(
                409,
                "owned_by_source",
                f"{uri!r} belongs to a folder; change the file and ingest the folder again",
            )
    raise ApiError(422, "invalid_uri", f"uri {uri!r} must begin with `upload:` and have a name")


def _named(tenant: str, collection: str, file: UploadFile, metadata: dict[str, MetadataValue]) -> Upload:
    name = composed(Path(file.filename or "").name)
    if name in {"", ".."}:
        message = f"a file is named {file.filename!r}; its name's ending decides how it is read"
        raise ApiError(422, "invalid_request", message)
    return Upload(tenant, collection, f"upload:{quote(name)}", name, "", metadata)


def _distinct(uploads: Sequence[Upload]) -> Sequence[Upload]:
    """Refuse two files that would become one document: which of them stayed would be chance."""
    counted = Counter(upload.name for upload in uploads)
    twice = sorted(name for name, number in counted.items() if number > 1)
    if twice:
        raise ApiError(
            422,
            "invalid_request",
            f"more than one file is named {', '.join(map(repr, twice))}; folders in a name do not count, and "
            "each name becomes one document: rename them",
        )
    return uploads


def _accept_files(service: Service, uploads: Sequence[Upload], files: Sequence[UploadFile]) -> Accepted:
    ids = []
    for upload, file in zip(uploads, files, strict=True):

        def write(path: Path, file: UploadFile = file) -> None:
            with path.open("wb") as out:
                shutil.copyfileobj(file.file, out)

        ids.append(_ingest(service, service.spool.add(_as_known(service, upload), write)))
    return Accepted(job_id=ids[0], job_ids=ids, uris=[upload.uri for upload in uploads])


def _accept_text(service: Service, upload: Upload, text: str) -> Accepted:
    data = text.encode()
    upload = _as_known(service, upload)
    job_id = _ingest(service, service.spool.add(upload, lambda path: _write(path, data)))
    return Accepted(job_id=job_id, job_ids=[job_id], uris=[upload.uri])


def _as_known(service: Service, upload: Upload) -> Upload:
    """Return an upload under the spelling of its uri that has a document, else in NFC.

    Two uploads whose names differ in their normal form alone look the same to anyone: they are one document.
    """
    spellings = uri_in_forms(upload.uri)
    if len(spellings) > 1 and service.exists(upload.tenant, upload.collection):
        store = service.open(upload.tenant, upload.collection).store
        ids = {document_id(upload.tenant, upload.collection, uri): uri for uri in spellings}
        live = [ids[one.id] for one in store.get_manifests(list(ids)) if one.live is not None]
        if live:
            return replace(upload, uri=live[0])
    return replace(upload, uri=composed_uri(upload.uri))


def _ingest(service: Service, spooled: Spooled) -> str:
    """Queue what is on disk; refused means gone, or the next start would take in what was not accepted."""
    try:
        return str(service.ingest_upload(spooled)["id"])
    except (JobError, ApiError):
        service.spool.remove(spooled)
        raise


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
