"""Telling that memory ran out, whatever the device and whoever says so; giving it back."""

from __future__ import annotations

import ctypes
import sys

# How torch's CPU allocator says it; on CUDA it has an exception of its own.
_SAYINGS = ("can't allocate memory", "not enough memory", "out of memory")


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(saying in str(error) for saying in _SAYINGS)


def release() -> None:
    """Give what torch holds in reserve on CUDA back, so that a smaller batch finds room."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def trim() -> None:
    """Give what was freed back to the system: glibc keeps it between what is still in use."""
    if sys.platform == "linux":
        give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if give_back is not None:
            give_back(0)
