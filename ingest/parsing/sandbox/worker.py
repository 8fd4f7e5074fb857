"""The process that parses: one request at a time from stdin, replies to what was stdout.

`pool.ParserPool` starts it as
`python -m latewood.ingest.parsing.sandbox.worker MEMORY_BYTES MAX_FILE_BYTES PARENT`.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import resource
import signal
import sys
from typing import BinaryIO

from latewood.ingest.parsing.gzip_zip import most_unpacked
from latewood.ingest.parsing.parse import parse_bytes
from latewood.ingest.parsing.read_file import read_file
from latewood.ingest.parsing.sandbox.protocol import (
    LENGTH,
    ParsedFile,
    Request,
    Unchanged,
    pack_reply,
    unpack,
)
from latewood.ingest.parsing.zip_archive import ArchiveReader
from latewood.ingest.types import ParseError

_PR_SET_PDEATHSIG = 1
_ORPHANED = 3


def answer(request: Request, archives: ArchiveReader, max_file_bytes: int) -> ParsedFile | Unchanged:
    """Read, hash and, unless the hash is the known one, parse a file, or a file in an archive.

    Raises:
        ParseError: why the file cannot become a document.
    """
    if request.member:
        data, stamp = archives.read(request.path, request.member, request.name)
        # A packed file in an archive is packed twice: what counts is its size in the archive.
        most = min(max_file_bytes, most_unpacked(archives.packed_size(request.path, request.member)))
    else:
        data, stamp = read_file(request.path, request.name, max_file_bytes)
        most = max_file_bytes
    content_hash = hashlib.sha256(data).hexdigest()
    if content_hash == request.known_hash:
        return Unchanged(content_hash, stamp)
    return ParsedFile(parse_bytes(data, request.name, most), content_hash, stamp)


def main() -> None:
    """Serve requests until the parent closes the pipe or dies."""
    memory_bytes, max_file_bytes, parent = map(int, sys.argv[1:4])
    _die_with(parent)
    _limit_memory(memory_bytes)
    replies = _take_stdout()
    requests = sys.stdin.buffer
    archives = ArchiveReader(max_file_bytes)
    while (prefix := requests.read(LENGTH.size)) and len(prefix) == LENGTH.size:
        request = unpack(requests.read(LENGTH.unpack(prefix)[0]))
        replies.write(_reply(request, archives, max_file_bytes))
        replies.flush()


def _reply(request: dict[str, str], archives: ArchiveReader, max_file_bytes: int) -> bytes:
    try:
        if "archive" in request:
            return pack_reply(archives.members(request["archive"]))
        return pack_reply(answer(Request(**request), archives, max_file_bytes))
    except ParseError as error:
        return pack_reply(error)
    except MemoryError:
        message = "reading or parsing the file needs more memory than allowed"
        return pack_reply(ParseError("out_of_memory", message))


def _die_with(parent: int) -> None:
    """Have the kernel end this process when its parent ends, even in the middle of a parse (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(_ORPHANED)


def _limit_memory(memory_bytes: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    allowed = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (allowed, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _take_stdout() -> BinaryIO:
    """Keep stdout for replies; whatever a library prints goes to stderr instead."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return replies


if __name__ == "__main__":
    main()
