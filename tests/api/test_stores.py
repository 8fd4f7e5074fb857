from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from latewood.engine import stores
from latewood.search.stores.edge.store import EdgeStore
from latewood.search.stores.memory import MemoryStore
from latewood.search.types import IndexConfig

CONFIG = IndexConfig((8,), {"model": "words"})


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a niceness of their own on Linux only")
def test_the_process_of_a_store_that_is_built_aside_gives_way(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path, CONFIG)
    own = Path("/proc/self/autogroup")
    before = own.read_text(encoding="ascii") if own.exists() else ""
    try:
        stores.be_nice(store)
        process = Path(f"/proc/{store.worker_pid}")
        threads = [int(task.name) for task in (process / "task").iterdir()]
        assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads} == {stores.NICE}
        group = process / "autogroup"
        if group.exists():
            assert group.read_text(encoding="ascii").split()[-1] == str(stores.NICE)
            assert own.read_text(encoding="ascii") == before
        assert store.stats().documents == 0
    finally:
        store.close()


def test_a_store_without_a_process_or_whose_process_ended_is_left_as_it_is(tmp_path: Path) -> None:
    stores.be_nice(MemoryStore(CONFIG))
    store = EdgeStore(tmp_path, CONFIG)
    store.close()
    stores.be_nice(store)
