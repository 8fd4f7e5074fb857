"""`latewood doctor`: what is set, what works, what to do about the rest."""

from __future__ import annotations

import importlib.util
import shutil
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from latewood.api.http.api_keys import KeysError, KeyStore
from latewood.api.http.trusted_hosts import is_loopback, keys_needed
from latewood.client.client import Client, LatewoodError, UnreachableError
from latewood.embedder.defaults import default_model
from latewood.embedder.models.registry import JINA_V3
from latewood.embedder.types import EmbedderError
from latewood.engine import disk, permitted, places, stores
from latewood.engine.addresses import EMBEDDED, MEMORY, SQLITE
from latewood.engine.index_plan import asking, plan_of, set_plan
from latewood.engine.owner.lock import DataError, socket_path, try_lock
from latewood.engine.settings import Settings, origins
from latewood.ingest.sources.uris import is_remote
from latewood.search.stores.generations import layout
from latewood.search.types import IndexConfig, SearchError

LOW_DISK = 2 * 2**30
Finding = tuple[str, str]


def examine(settings: Settings, given: Mapping[str, Any], tenant: str, collection: str) -> dict[str, Any]:
    """Findings (check, status ok|warn|error, message) and every setting with its origin."""
    checks: tuple[tuple[str, Callable[[], Finding]], ...] = (
        ("model", lambda: _model(settings, tenant, collection)),
        ("golden", lambda: _golden(settings, tenant, collection)),
        *([("reranker", lambda: _reranker(settings))] if settings.reranker else []),
        ("plan", lambda: _plan(settings, tenant, collection)),
        *([("server", lambda: _server(settings))] if settings.store != EMBEDDED else []),
        ("formats", _formats),
        ("data", lambda: _data(settings)),
        ("queue", lambda: _queue(settings)),
        *([("roots", lambda: _roots(settings))] if settings.roots else []),
        ("disk", lambda: _disk(settings)),
        ("port", lambda: _port(settings)),
        ("keys", lambda: _keys(settings)),
    )
    findings = []
    for name, check in checks:
        status, message = check()
        findings.append({"check": name, "status": status, "message": message})
    values = [
        {"name": origin.name, "value": origin.value, "origin": origin.origin}
        for origin in origins(settings, **given)
    ]
    return {"findings": findings, "settings": values}


def _model(settings: Settings, tenant: str, collection: str) -> Finding:
    from latewood.embedder.serving.engine import load_embedder

    try:
        embedder = load_embedder(
            _model_name(settings, tenant, collection),
            device=settings.device,
            dtype=settings.dtype,
            context=settings.context,
            window=settings.window,
            lead=settings.lead,
            source=settings.source,
        )
    except (EmbedderError, SearchError) as error:
        return "error", str(error)
    try:
        permitted.require(settings, embedder.fingerprint)
        model, recorded = embedder.description, embedder.recorded
        told = ", ".join(f"{key} {value}" for key, value in recorded.items())
        told += f", attention {embedder.attention}"
        if not model.late_chunking:
            told += (
                f"; it pools by {model.pooling}, so there is no late chunking: each passage is embedded alone"
            )
        return (
            "ok",
            f"{model.name} loads and answers ({told}); licence {model.licence}; languages {model.languages}",
        )
    except permitted.NotMeasuredError as error:
        return "error", str(error)
    finally:
        embedder.close()


def _model_name(settings: Settings, tenant: str, collection: str) -> str:
    """Return what `MODEL` names; with `auto`, the collection's own model, or the default one."""
    if settings.model != "auto":
        return settings.model
    config = _config(settings, tenant, collection)
    indexed = "" if config is None else places.model_of(settings.data, config.fingerprint)
    return indexed or default_model()


def _golden(settings: Settings, tenant: str, collection: str) -> Finding:
    """Compare what Jina v3's weights give here with what transformers publishes for them."""
    from latewood.embedder.models import golden
    from latewood.embedder.models.checkpoint import find_checkpoint

    try:
        checkpoint = find_checkpoint(_model_name(settings, tenant, collection), settings.source)
        model = checkpoint.description
        if not model.adapters:
            return "ok", f"not compared: transformers publishes golden values of {JINA_V3.name} only"
        found = golden.compare(checkpoint)
    except (EmbedderError, SearchError) as error:
        return "error", f"not compared: {error}"
    largest = f"largest difference {max(found.differences.values()):.2g} of what is allowed"
    if found.wrong:
        return "error", (
            f"{model.name} in {checkpoint.folder} does not give transformers' published states for "
            f"{', '.join(found.wrong)} ({largest}): copy the folder again from {model.name} at revision "
            f"{model.revision}"
        )
    compared = f"{len(found.differences)} times 27 published states"
    return "ok", f"{model.name} gives transformers' {compared} ({largest}), without and with each adapter"


def _config(settings: Settings, tenant: str, collection: str) -> IndexConfig | None:
    """What the collection was made with; None when there is none."""
    collections = stores.catalog_of(settings, settings.data)
    try:
        if not collections.exists(tenant, collection):
            return None
        home = collections.home(tenant, collection)
        return home.config_of(stores.current(home))
    finally:
        stores.close(collections)


def _server(settings: Settings) -> Finding:
    """Whether the Qdrant server answers, of which version it is, and whether the key is safe on its way."""
    collections = stores.catalog_of(settings, settings.data)
    try:
        version, count = stores.server_version(collections), len(collections.names())
    except SearchError as error:
        return "error", str(error)
    finally:
        stores.close(collections)
    told = f"Qdrant {version} answers; it holds {count} collection(s) of {settings.store_prefix!r}"
    if not version.startswith(stores.VERSIONS):
        return "warn", f"{told}; this version was made for Qdrant {' or '.join(stores.VERSIONS)}x"
    key, parts = settings.store_api_key.get_secret_value(), urlsplit(settings.store)
    if key and parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        return "warn", f"{told}; STORE_API_KEY travels in the clear: use an https:// URL"
    return "ok", told


def _plan(settings: Settings, tenant: str, collection: str) -> Finding:
    try:
        config = _config(settings, tenant, collection)
        if config is None:
            told = f"PLAN {settings.plan}, QUANTIZATION {settings.quantization}"
            return "ok", f"an index would be made with {told}"
        layout.check_dimensions(config, settings.dimensions)
        plan_of(settings, config.dimensions)
    except SearchError as error:
        return "error", str(error)
    config = config.asked_by(asking(settings))
    wanted = set_plan(settings, config)
    if wanted:
        return "warn", f"the index is {config.plan}; `latewood optimise` builds what is set now: {wanted}"
    return "ok", f"the index is as it is set: {config.plan}"


def _reranker(settings: Settings) -> Finding:
    from latewood.embedder.rerank.reranker import load_reranker

    name, source = settings.reranker, settings.source
    try:
        reranker = load_reranker(
            name, device=settings.device, dtype=permitted.reranker_dtype(settings), source=source
        )
    except EmbedderError as error:
        return "error", str(error)
    try:
        model = reranker.description
        return "ok", f"{model.name} loads; licence {model.licence}; languages {model.languages}"
    finally:
        reranker.close()


def _formats() -> Finding:
    if importlib.util.find_spec("unstructured") is None:
        return "warn", "DOCX and PPTX cannot be read; pip install 'latewood[formats]'"
    return "ok", "every format of this version can be read"


def _data(settings: Settings) -> Finding:
    if not settings.data.is_dir():
        return "ok", f"{settings.data} does not exist yet; `latewood ingest` makes it"
    try:
        handle = try_lock(settings.data)
    except DataError as error:
        return "error", str(error)
    if handle is not None:
        import os

        os.close(handle)
        if not disk.writable(settings.data):
            return "warn", f"{settings.data} is read-only: it can be searched, and every write is refused"
        return "ok", f"{settings.data} can be used; nobody holds it"
    try:
        with Client(socket=socket_path(settings.data), timeout=5) as client:
            client.call("GET", "/healthz")
    except (UnreachableError, LatewoodError) as error:
        return "warn", f"{settings.data} is held by a process that does not answer: {error}"
    return "ok", f"{settings.data} is in use; its owner answers"


def _queue(settings: Settings) -> Finding:
    if settings.jobs == MEMORY:
        return "warn", "jobs are kept in memory and end with their process; set JOBS to sqlite"
    if settings.jobs == SQLITE and not (settings.data / "jobs.sqlite").exists():
        return "ok", "no job was given yet; the owner of the data runs them"
    from latewood.engine.jobs.health import look

    return look(settings)


def _roots(settings: Settings) -> Finding:
    gone = [one for one in settings.roots if not is_remote(one) and not Path(one).is_dir()]
    if gone:
        return "error", f"ROOTS names {', '.join(gone)}, which is no folder here; make it, or leave it out"
    return "ok", f"POST /jobs over TCP may ingest from {', '.join(settings.roots)}"


def _disk(settings: Settings) -> Finding:
    place = settings.data.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    text = f"{free / 2**30:.1f} GiB free at {place}"
    return ("ok", text) if free >= LOW_DISK else ("warn", f"{text}; an ingest needs about 2 GiB to spare")


def _keys(settings: Settings) -> Finding:
    try:
        keys = KeyStore(settings.data).all()
    except KeysError as error:
        return "error", str(error)
    good = sum(not key.expired for key in keys)
    told = f"{good} keys can be used, {len(keys) - good} are expired"
    if keys_needed(settings) and not good:
        return "error", "others can reach this service and there is no key; `latewood keys create` makes one"
    return "ok", told if keys_needed(settings) else f"{told}; none is needed on {settings.host}"


def _port(settings: Settings) -> Finding:
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.settimeout(1)
        if settings.port and probe.connect_ex((settings.host, settings.port)) == 0:
            return "warn", f"something listens on {settings.host}:{settings.port} already"
    return "ok", f"{settings.host}:{settings.port} is free"
