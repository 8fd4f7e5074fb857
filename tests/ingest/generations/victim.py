"""A process that optimises an index over real stores and is killed with -9 at its N-th call to one.

python victim.py DATA N
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import Any

KIT = Path(__file__).with_name("conftest.py")


def load_kit() -> Any:
    """The helpers of these tests."""
    spec = importlib.util.spec_from_file_location("kit", KIT)
    assert spec is not None
    assert spec.loader is not None
    kit = importlib.util.module_from_spec(spec)
    sys.modules["kit"] = kit
    spec.loader.exec_module(kit)
    return kit


def main() -> None:
    """Optimise, or die of it."""
    data, limit = Path(sys.argv[1]), int(sys.argv[2])
    kit = load_kit()

    class Mortal(kit.Process):  # type: ignore[misc, name-defined]
        def step(self) -> None:
            self.calls += 1
            if self.calls >= limit:
                os.kill(os.getpid(), signal.SIGKILL)

    world = kit.World(data, None, None, real=True, process=Mortal())
    world.rebuild()


if __name__ == "__main__":
    main()
