"""The search page at `/`: files of the package put into one answer, no build step, no requests elsewhere."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)
SCRIPTS = ("talk", "results", "controls", "library", "jobs", "start")
"""Parts of the one script, in order."""


@router.get("/")
def page() -> HTMLResponse:
    """The search page."""
    text, policy = _made()
    return HTMLResponse(text, headers={"Content-Security-Policy": policy})


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
    return files("api").joinpath(f"web/{name}").read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
