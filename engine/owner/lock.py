"""The owner's lock on a data folder, and the paths of its socket.

The owner holds a kernel file lock. It takes the lock before the engine touches the folder, and the store's
worker process inherits it, so the lock is free only when both are gone. Nothing needs cleaning after a crash:
the kernel drops the lock, and the next owner replaces the socket.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import socket
import stat
from pathlib import Path

from latewood.engine import disk

SHORT = Path("/tmp")  # the same for every process, whatever its TMPDIR


class DataError(Exception):
    """The data directory is missing, cannot be written, or is held by someone who does not answer."""


def try_lock(data: Path) -> int | None:
    """Take the owner's lock: a file descriptor that can be inherited, or None when another holds it.

    Raises:
        DataError: the directory cannot be made, or neither written nor read.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = _lock_file(data)
    except OSError as error:
        raise DataError(
            f"cannot use the data directory {data}: {error.strerror}; set LATEWOOD_DATA"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            return None
        raise DataError(f"cannot lock {data / 'owner.lock'}: {error.strerror}") from error
    # The number only informs people. It cannot be written into a read-only file or on a full disk.
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
    return handle


def _lock_file(data: Path) -> int:
    """Open what is locked: the file of that name; in a read-only folder that has none, the folder itself."""
    path = data / "owner.lock"
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in disk.REFUSALS or not data.is_dir() or disk.writable(data):
            raise
    return os.open(path if path.exists() else data, os.O_RDONLY | os.O_CLOEXEC)


def socket_path(data: Path) -> Path:
    """Return where this owner listens: in the data directory, else in a folder of its own."""
    beside = _beside(data)
    usable = disk.writable(data) or not data.exists()
    return beside if beside is not None and usable else _apart(data)


def _beside(data: Path) -> Path | None:
    """Return the socket's path in the data directory; None where that is too long for a socket."""
    path = data.resolve() / "owner.sock"
    return path if len(os.fsencode(path)) < 100 else None


def _apart(data: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:16]
    return SHORT / f"latewood-{os.getuid()}-{digest}" / "owner.sock"


def owner_sockets(data: Path) -> list[Path]:
    """Return where the owner may listen: it may have write access where this process has none.

    Raises:
        DataError: see `private_socket`.
    """
    beside = _beside(data)
    own = private_socket(data)
    return [own] if beside is None or beside == own else [beside, own]


def private_socket(data: Path) -> Path:
    """`socket_path`, where nobody else can have put a socket of theirs.

    Raises:
        DataError: the folder of the socket cannot be made, or is open to others.
    """
    path = socket_path(data)
    if path == _beside(data):
        return path
    folder = path.parent
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise DataError(
            f"cannot make {folder} for the owner's socket: {error.strerror}; "
            f"a data directory with a shorter path than {data} needs none"
        ) from error
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or mode != 0o700:
        raise DataError(
            f"{folder}, the place of the owner's socket, belongs to user {found.st_uid} with mode {mode:o}; "
            f"it must be a folder of user {os.getuid()} with mode 700: remove it, "
            f"or use a data directory with a shorter path than {data}"
        )
    return path


def listen(path: Path) -> socket.socket:
    """A Unix socket that only its user may open.

    Raises:
        DataError: it cannot be made.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(128)
    except OSError as error:
        listener.close()
        reason = error.strerror or error  # a path that is too long has no error number
        raise DataError(
            f"cannot listen on the owner's socket {path}: {reason}; set LATEWOOD_DATA to another directory"
        ) from error
    return listener
