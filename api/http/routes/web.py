"""The search page at `/` and the documentation at `/docs`: files of the package, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from latewood.engine.errors import ApiError

router = APIRouter(include_in_schema=False)
SCRIPTS = ("talk", "results", "controls", "library", "jobs", "start")
"""Parts of the one script, in order."""

ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
DOCS_PATHS = ("/docs", *(f"/docs/{name}" for name in ASSETS))


@router.get("/")
def page() -> HTMLResponse:
    """The search page."""
    text, policy = _made()
    return HTMLResponse(text, headers={"Content-Security-Policy": policy})


@router.get("/docs")
def docs() -> HTMLResponse:
    """The interactive documentation."""
    script = _read("docs.js")
    policy = (
        f"default-src 'none'; script-src 'self' '{_hash(script)}'; style-src 'self' 'unsafe-inline'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    text = _read("docs.html").replace("{{script}}", script)
    return HTMLResponse(text, headers={"Content-Security-Policy": policy})


@router.get("/docs/{name}")
def asset(name: str) -> Response:
    """A file that the documentation loads.

    Raises:
        ApiError: 404, another name.
    """
    if name not in ASSETS:
        raise ApiError(404, "not_found", f"there is no {name!r}; `/docs` loads {', '.join(ASSETS)}")
    # Checked again with each visit: another version of the package has other files of these names.
    headers = {"Cache-Control": "no-cache"}
    return Response(_read(f"swagger/{name}"), media_type=ASSETS[name], headers=headers)


@cache
def _made() -> tuple[str, str]:
    """The page, and a policy that lets run and show what stands in it and nothing else."""
    style = _read("page.css")
    script = "\n".join(_read(f"{name}.js") for name in SCRIPTS)
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return _read("index.html").replace("{{style}}", style).replace("{{script}}", script), policy


def _read(name: str) -> str:
    return files("latewood.api").joinpath(f"web/{name}").read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
