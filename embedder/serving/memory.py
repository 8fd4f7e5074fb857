"""Telling that memory ran out, whatever the device and whoever says so; giving it back."""

from __future__ import annotations

import ctypes
import mmap
import sys
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

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


class FilePages:
    """What this process has mapped of files, to let go of piece by piece.

    transformers gives weights as views of their file. While one of them lives the whole file stays mapped,
    and every page of it that was read counts as this process's memory.
    """

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        """See where these lie now; nothing is let go of elsewhere, nor where the system does not say."""
        self._ranges: list[tuple[int, int]] = []
        places = sorted(tensor.data_ptr() for tensor in tensors if tensor.device.type == "cpu")
        maps = Path("/proc/self/maps")
        if places and sys.platform == "linux" and maps.is_file():
            for line in maps.read_text(encoding="utf-8", errors="replace").splitlines():
                place, _, _, _, inode, *_ = line.split(maxsplit=5)
                start, end = (int(one, 16) for one in place.split("-"))
                if inode != "0" and bisect_left(places, start) < bisect_left(places, end):
                    self._ranges.append((start, end))

    def drop(self, tensor: torch.Tensor) -> None:
        """Give back the pages of a tensor that is a view of a file: who reads it again reads the file again.

        What was written to them is lost. Whole pages only: those at its edges may hold part of another
        tensor. Memory of no file stays.
        """
        if tensor.device.type != "cpu" or not tensor.is_contiguous():
            return
        begin = tensor.data_ptr()
        end = begin + tensor.numel() * tensor.element_size()
        if any(start <= begin and end <= stop for start, stop in self._ranges):
            first, last = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
            if first < last:
                ctypes.CDLL(None).madvise(
                    ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.MADV_DONTNEED
                )
