"""From a file's name and first bytes to the reader that fits, or why there is none."""

from __future__ import annotations

import re
import zlib
from pathlib import PurePath

from latewood.ingest.parsing.encoding import looks_like_text
from latewood.ingest.types import ParseError

HEAD_BYTES = 8192
NAMED = (
    ".txt .md .html .pdf .docx .pptx .xlsx .csv .tsv .json .jsonl .eml .msg .rtf .odt .odp .ods .epub .rst "
    ".org .xml .ipynb .log"
)
"""The suffixes that messages and the README name; source code and rarer spellings are read besides."""

_CODE = (
    "py pyi js mjs cjs ts tsx jsx java c h cpp hpp cc cxx hh hxx cs go rs rb php sh bash zsh fish ps1 bat "
    "sql kt kts swift scala lua r jl pl pm hs ml mli ex exs erl clj dart groovy gradle vim el lisp scm asm s "
    "toml yaml yml ini cfg conf properties css scss less vue svelte proto graphql tf cmake mk xsd xsl"
)
_BY_SUFFIX: dict[str, str] = {
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "docx",
    ".pptx": "pptx",
    ".xlsx": "xlsx",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".eml": "eml",
    ".msg": "msg",
    ".rtf": "rtf",
    ".odt": "odf",
    ".odp": "odf",
    ".ods": "odf",
    ".epub": "epub",
    ".rst": "rst",
    ".org": "org",
    ".xml": "xml",
    ".rss": "xml",
    ".atom": "xml",
    ".dbk": "xml",
    ".tei": "xml",
    ".ipynb": "notebook",
    ".log": "log",
    **{f".{suffix}": "code" for suffix in _CODE.split()},
}
_CODE_NAMES = ("makefile", "gnumakefile", "dockerfile", "containerfile", "jenkinsfile", "rakefile")
_BY_NAME = dict.fromkeys(_CODE_NAMES, "code")
_LEGACY = {".doc": ".docx", ".xls": ".xlsx", ".ppt": ".pptx"}
_PACKED = frozenset((".zip", ".gz", ".tgz", ".tar", ".7z", ".rar", ".bz2", ".xz", ".zst"))
_HTML = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.I | re.S)


def supported_suffixes() -> tuple[str, ...]:
    """Every suffix that has a reader, sorted, lower case, with the dot."""
    return tuple(sorted(_BY_SUFFIX))


def route(name: str, head: bytes) -> str:
    """The kind of reader for a file.

    Args:
        name: the file's name or path; only its last part counts.
        head: its first bytes (up to `HEAD_BYTES`), looked at only where the name has no suffix. A `.gz` file
            is what is packed in it: `notes.md.gz` is Markdown.

    Raises:
        ParseError: skipped, `unsupported_kind`; the message names the remedy where there is one.
    """
    if is_gzip(name):
        return route(unpacked_name(name), unpacked_head(head))
    path = PurePath(name)
    suffix = path.suffix.lower()
    kind = _BY_SUFFIX.get(suffix) or _BY_NAME.get(path.name.lower())
    if kind:
        return kind
    if suffix in _LEGACY:
        raise ParseError(
            "unsupported_kind",
            f"{suffix} is a legacy Office format; convert it to {_LEGACY[suffix]} with LibreOffice: "
            f"soffice --headless --convert-to {_LEGACY[suffix][1:]} FILE",
            skipped=True,
        )
    if suffix in _PACKED:
        raise ParseError(
            "unsupported_kind",
            f"{suffix} archives are not read here. A .zip is read where it lies in an ingested folder, "
            "not as an upload and not in another archive: unpack it into such a folder, or hand in its files "
            "one by one",
            skipped=True,
        )
    if suffix:
        raise ParseError(
            "unsupported_kind",
            f"no reader for {_printable(suffix)} files; convert the file to one of: {NAMED}",
            skipped=True,
        )
    return _sniff(head)


def is_gzip(name: str) -> bool:
    """Whether the name says that the file is one packed by gzip; what is packed twice is not unpacked."""
    return name.lower().endswith(".gz") and not unpacked_name(name).lower().endswith((".gz", ".tgz"))


def unpacked_name(name: str) -> str:
    """`notes.md.gz` -> `notes.md`."""
    return name[: -len(".gz")]


def unpacked_head(head: bytes) -> bytes:
    """The first bytes of what is packed; none where they are damaged."""
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""


def _sniff(head: bytes) -> str:
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if _HTML.match(head.removeprefix(b"\xef\xbb\xbf")):
        return "html"
    if looks_like_text(head):
        return "text"
    raise ParseError(
        "unsupported_kind",
        "a file without a suffix whose first bytes are neither text, HTML nor PDF; give it a suffix",
        skipped=True,
    )


def _printable(suffix: str) -> str:
    return suffix.encode("utf-8", "replace").decode()
