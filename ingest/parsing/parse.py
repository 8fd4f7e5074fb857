"""One file's bytes to its text and elements: router, reader, and the seam where foreign errors end."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable
from importlib import import_module

from latewood.ingest.parsing.gzip_zip import unpacked
from latewood.ingest.parsing.router import HEAD_BYTES, is_gzip, route, unpacked_name
from latewood.ingest.parsing.text_builder import checked
from latewood.ingest.types import Parsed, ParseError

PARSER_VERSION = "3"
"""Changes whenever the same bytes may give another text, so that failed files are tried again."""

Reader = Callable[[bytes, str], Parsed]

# Readers by name: a child that only ever sees text files imports neither lxml nor unstructured.
_READERS = {
    "text": ("formats.text", "read_text"),
    "markdown": ("formats.text", "read_markdown"),
    "code": ("formats.text", "read_code"),
    "csv": ("formats.spreadsheet", "read_csv"),
    "xlsx": ("formats.spreadsheet", "read_xlsx"),
    "json": ("formats.json_data", "read_json"),
    "jsonl": ("formats.json_data", "read_jsonl"),
    "html": ("formats.html", "read_html"),
    "eml": ("formats.eml", "read_eml"),
    "pdf": ("pdf.reader", "read_pdf"),
    "docx": ("formats.office", "read_docx"),
    "pptx": ("formats.office", "read_pptx"),
    "msg": ("formats.msg", "read_msg"),
    "rtf": ("formats.rtf", "read_rtf"),
    "odf": ("formats.odf", "read_odf"),
    "epub": ("formats.epub", "read_epub"),
    "rst": ("formats.rst", "read_rst"),
    "org": ("formats.org", "read_org"),
    "xml": ("formats.xml", "read_xml"),
    "notebook": ("formats.notebook", "read_notebook"),
    "log": ("formats.text", "read_log"),
}
# What a parser may raise on damaged input. Anything else ends the child, and its caller hears `crashed`.
_FOREIGN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def parse_bytes(data: bytes, name: str, max_bytes: int = 500_000_000) -> Parsed:
    """Parse one file.

    Args:
        data: its bytes, whole.
        name: its name or path; the suffix chooses the reader, and the stem is the title for want of one.
        max_bytes: the most a `.gz` file may unpack to.

    Returns:
        Text that is not empty, under the text rules; elements sorted, inside the text and apart, that
        together cover everything but white space.

    Raises:
        ParseError: one of the codes `empty_file`, `unsupported_kind` (both skipped), `not_text`,
            `no_text`, `encrypted`, `corrupt`, `scanned`, `too_deep`, `too_large`, `needs_extra`,
            `out_of_memory`.
    """
    if not data:
        raise ParseError("empty_file", "the file is empty (0 bytes)", skipped=True)
    kind = route(name, data[:HEAD_BYTES])
    if is_gzip(name):
        data, name = unpacked(data, max_bytes), unpacked_name(name)
    if not data or data.isspace():
        raise ParseError("empty_file", f"the file holds only white space ({len(data)} bytes)", skipped=True)
    try:
        return checked(_reader(kind)(data, name))
    except ParseError:
        raise
    except MemoryError as error:
        raise ParseError(
            "out_of_memory", f"parsing the {kind} file needs more memory than allowed"
        ) from error
    except RecursionError as error:
        raise ParseError("too_deep", f"the {kind} file nests deeper than can be followed") from error
    except ImportError as error:
        raise ParseError(
            "needs_extra", f"reading {kind} files needs an extra: pip install 'latewood[formats]' ({error})"
        ) from error
    except _FOREIGN as error:
        reason = f"{type(error).__name__}: {error}"[:300]
        raise ParseError("corrupt", f"the {kind} file could not be read ({reason})") from error


def _reader(kind: str) -> Reader:
    module, function = _READERS[kind]
    reader: Reader = getattr(import_module(f"latewood.ingest.parsing.{module}"), function)
    return reader
