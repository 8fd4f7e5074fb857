"""Create .venv with pinned dependencies. Usage: python3 scripts/setup_env.py runtime|dev.

torch comes first: the caller's own torch when this interpreter has one, else the CPU build (on Linux without
an NVIDIA card the package index's default build would bring gigabytes of CUDA).
"""

from __future__ import annotations

import importlib.util
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
TORCH = "torch==2.13.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
EXTRAS = {"runtime": "formats,offline-model,server", "dev": "formats,offline-model,server,evaluation,dev"}


def pip(*args: str) -> None:
    """Run pip in the new environment; its failure ends the set-up with pip's own words."""
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", *args]
    if subprocess.run(command, check=False).returncode:
        sys.exit(f"setup: `{' '.join(command)}` failed; its message stands above")


def brings_cuda() -> bool:
    """Whether the default index would install CUDA packages along with torch."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        pip("install", "--quiet", "--dry-run", "--ignore-installed", "--report", report.name, TORCH)
        found = json.loads(Path(report.name).read_text())["install"]
    names = {item["metadata"]["name"].lower() for item in found}
    return any(name.startswith(("nvidia-", "cuda-")) for name in names)


def install_torch() -> None:
    """The caller's torch if there is one, the CPU build where no NVIDIA card is, else the default build."""
    own = importlib.util.find_spec("torch")
    if own is not None and own.origin:
        folder = Path(own.origin).resolve().parent.parent
        site = next((VENV / "lib").glob("python3*/site-packages"))
        (site / "torch_of_the_caller.pth").write_text(f"{folder}\n")
        print(f"setup: using the torch in {folder}")
    elif platform.system() == "Linux" and not shutil.which("nvidia-smi") and brings_cuda():
        print(f"setup: no NVIDIA card here, taking the CPU build of {TORCH}")
        pip("install", "--quiet", "--index-url", CPU_INDEX, TORCH)
    else:
        pip("install", "--quiet", TORCH)


def main() -> None:
    """Create or complete the environment."""
    if len(sys.argv) != 2 or sys.argv[1] not in EXTRAS:
        sys.exit(__doc__)
    if not PYTHON.exists():
        print(f"setup: creating {VENV.name} with Python {platform.python_version()}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
    if subprocess.run([str(PYTHON), "-c", "import torch"], check=False, capture_output=True).returncode:
        install_torch()
    print("setup: installing pinned dependencies (a minute or two)")
    pip(
        "install",
        "--quiet",
        "--constraint",
        str(ROOT / "constraints.txt"),
        "--editable",
        f"{ROOT}[{EXTRAS[sys.argv[1]]}]",
    )


if __name__ == "__main__":
    main()
