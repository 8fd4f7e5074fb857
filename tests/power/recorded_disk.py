"""A disk that records what reaches it, so that a power cut can be replayed at any of its flushes.

    ext4 -> loop device -> one file of a FUSE file system (this program) -> image, log

The kernel sends a write to the file only when a page leaves the page cache, whoever dirtied it: `write`, a
memory map, the journal of ext4. It sends a flush where a program called fsync, fdatasync or msync, and where
ext4 commits its journal. So the log up to a flush is what a disk holds that loses power there.

`python recorded_disk.py FILE IMAGE LOG` serves IMAGE at FILE until FILE is unmounted.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SIZE = 1 << 30
_FLUSH = (1 << 64) - 1
_ENTRY = struct.Struct("<QI")
_REQUEST = struct.Struct("<IIQQIIIHH")
_MOST = 1 << 20
_ATTRIBUTES, _SET, _OPEN, _READ, _WRITE, _STATFS, _CLOSE, _FSYNC, _CLOSED, _INIT = (
    *(3, 4, 14, 15, 16, 17, 18, 20, 25, 26),
)
_UNANSWERED = {2, 36, 42}  # FORGET, INTERRUPT, BATCH_FORGET


def missing() -> str:
    """Why this machine cannot record a disk; empty when it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "mounting a recorded disk needs root on Linux"
    lacking = [name for name in ("mkfs.ext4", "losetup", "mount", "umount") if shutil.which(name) is None]
    lacking += [path for path in ("/dev/fuse", "/dev/loop-control") if not Path(path).exists()]
    return f"a recorded disk needs {', '.join(lacking)}" if lacking else ""


@dataclass(frozen=True)
class Recording:
    """An empty file system's image, and the log of all that was written over it."""

    empty: Path
    log: Path

    def position(self) -> int:
        """Bytes in the log: whatever reached the disk before this call lies below."""
        return self.log.stat().st_size

    def flushes(self) -> list[int]:
        """Positions just behind each flush, in order."""
        return [after for after, offset, _ in self._entries() if offset == _FLUSH]

    def image(self, position: int, path: Path) -> None:
        """Write to `path` what the disk held when the log ended at `position`."""
        _copy(self.empty, path)
        with path.open("r+b") as image:
            for after, offset, data in self._entries():
                if after > position:
                    return
                if offset != _FLUSH:
                    image.seek(offset)
                    image.write(data)

    def _entries(self) -> Iterator[tuple[int, int, bytes]]:
        with self.log.open("rb") as log:
            while len(head := log.read(_ENTRY.size)) == _ENTRY.size:
                offset, size = _ENTRY.unpack(head)
                data = log.read(size)
                yield log.tell(), offset, data


@contextmanager
def recorded(folder: Path, mounted: Path) -> Iterator[Recording]:
    """Mount an empty ext4 at `mounted` and record it, in files of `folder`, until the context ends."""
    recording = Recording(folder / "empty", folder / "log")
    image, served = folder / "image", folder / "served"
    _make_empty(recording.empty)
    _copy(recording.empty, image)
    recording.log.touch()
    served.touch()
    server = subprocess.Popen(
        [sys.executable, __file__, served, image, recording.log], stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n", "the recorder does not start"
        with mount(served, mounted):
            yield recording
    finally:
        _run("umount", "--lazy", str(served))
        server.communicate(timeout=60)


@contextmanager
def mount(image: Path, mounted: Path) -> Iterator[None]:
    """Mount an image, until the context ends; its journal is replayed as after a power cut."""
    device = _run("losetup", "--find", "--show", str(image)).strip()
    try:
        _run("mount", "-t", "ext4", device, str(mounted))
        try:
            yield
        finally:
            _unmount(mounted)
    finally:
        _run("losetup", "--detach", device)


def _make_empty(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(SIZE)
    options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
    _run("mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size=16", "-N", "16384", "-E", options, str(path))


def _copy(source: Path, target: Path) -> None:
    _run("cp", "--sparse=always", str(source), str(target))


def _unmount(mounted: Path) -> None:
    """Unmount, once the last process that had a file open there is gone."""
    for _ in range(200):
        with contextlib.suppress(subprocess.CalledProcessError):
            _run("umount", str(mounted))
            return
        time.sleep(0.05)
    _run("umount", str(mounted))


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class _Server:
    """One file as a file system, in the protocol of /dev/fuse (linux/fuse.h, version 7.31)."""

    def __init__(self, image: Path, log: Path) -> None:
        self._image = os.open(image, os.O_RDWR)
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND)

    def serve(self, device: int) -> None:
        """Answer requests until the file is unmounted."""
        while True:
            try:
                request = os.read(device, _MOST + 4096)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                if error.errno in {errno.EINTR, errno.ENOENT}:
                    continue
                raise
            _, method, unique, *_ = _REQUEST.unpack_from(request)
            if method in _UNANSWERED:
                continue
            code, answer = self._answer(method, request[_REQUEST.size :])
            os.write(device, struct.pack("<IiQ", 16 + len(answer), -code, unique) + answer)

    def _answer(self, method: int, body: bytes) -> tuple[int, bytes]:
        if method == _INIT:
            return 0, struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 1 << 5 | 1 << 22, 16, 12, _MOST, 1, 256, 0, 0)
        if method in {_ATTRIBUTES, _SET}:
            return 0, struct.pack("<QIIQQQQQQIIIIIIIIII", 60, 0, 0, 1, SIZE, SIZE // 512, *_ATTR)
        if method == _OPEN:
            return 0, struct.pack("<QII", 1, 0, 0)
        if method == _STATFS:
            return 0, struct.pack("<QQQQQIIII24x", *(0,) * 5, 4096, 255, 4096, 0)
        if method == _FSYNC:
            self._record(_FLUSH, b"")
        if method in {_FSYNC, _CLOSE, _CLOSED}:
            return 0, b""
        return self._moved(method, body) if method in {_READ, _WRITE} else (errno.ENOSYS, b"")

    def _moved(self, method: int, body: bytes) -> tuple[int, bytes]:
        _, offset, size = struct.unpack_from("<QQI", body)
        if method == _READ:
            return 0, os.pread(self._image, size, offset)
        data = body[40 : 40 + size]
        os.pwrite(self._image, data, offset)
        self._record(offset, data)
        return 0, struct.pack("<II", size, 0)

    def _record(self, offset: int, data: bytes) -> None:
        os.write(self._log, _ENTRY.pack(offset, len(data)) + data)


_ATTR = (*(0, 0, 0), *(0, 0, 0), 0o100600, 1, 0, 0, 0, 4096, 0)
"""`struct fuse_attr` from `atime` on: three times, their nanoseconds, mode, links, owners, block size."""


def _main(served: str, image: str, log: str) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={device},rootmode=100600,user_id=0,group_id=0".encode()
    if libc.mount(b"recorded", os.fsencode(served), b"fuse", 0, options):
        raise OSError(ctypes.get_errno(), f"cannot mount {served}")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    _Server(Path(image), Path(log)).serve(device)


if __name__ == "__main__":
    _main(*sys.argv[1:])
