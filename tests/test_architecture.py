"""Holds the packages to their order, heavy libraries to their rooms, and rooms to a pleasant size."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = (
    "embedder",
    "search",
    "ingest",
    "evaluation",
    "engine",
    "api",
)  # a package imports from those to its left only
PACKAGES = (*ORDER, "client", "latewood")
NAME = "latewood."  # the one name they are installed under
PLACES = {
    "torch": ("embedder/",),
    "transformers": ("embedder/",),
    "peft": ("embedder/",),
    "sentence_transformers": ("embedder/",),
    "qdrant_client": ("search/stores/", "search/analysis/analyzer.py"),
    "qdrant_edge": ("search/stores/", "search/analysis/analyzer.py"),
    "unstructured": ("ingest/parsing/",),
    "fastapi": ("api/", "engine/errors.py", "engine/cancellation.py"),
    "typer": ("api/cli/",),
    "dbos": ("engine/jobs/",),
    "sqlalchemy": ("engine/jobs/",),
    "fsspec": ("ingest/sources/remote.py",),
}
SETTINGS = "engine/settings.py"
PASSED_ON = {"PYTHONPATH"}  # the interpreter's own, handed to child processes
LARGEST_FOLDER = 20
LONGEST_FILE = 700
LONGEST_FUNCTION = 70


def violations(root: Path) -> list[str]:
    """Every breach in the packages below `root`, as `file:line what`."""
    found: list[str] = []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            source = path.read_text(encoding="utf-8")
            tree = ast.parse(source)
            found += [f"{name}:{line} {what}" for line, what in (*_imports(name, tree), *_reads(name, tree))]
            found += [f"{name}:{line} {what}" for line, what in _sizes(source, tree)]
    return found


def _imports(name: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    package = name.split("/", maxsplit=1)[0]
    for line, full in _imported(name, tree):
        top = full.split(".")[0]
        if top in PLACES and not name.startswith(PLACES[top]):
            yield line, f"imports {full}, which belongs in {' and '.join(PLACES[top])}"
        if top in PACKAGES and top != "latewood":
            yield line, f"imports {full}; its installed name is {NAME}{full}"
        module = full.removeprefix(NAME)
        top = module.split(".")[0]
        if module == full or top not in PACKAGES or top == package:
            continue
        if not _may_import(package, top):
            yield line, f"imports {module} against the order of the packages"
        elif (package, top) == ("search", "embedder") and not f"{module}.".startswith("embedder.types."):
            yield line, f"imports {module}: search takes only embedder.types from there"


def _may_import(package: str, other: str) -> bool:
    """Return whether an import is in order. `client` imports no package; `latewood` and `api` use it."""
    if other == "client":
        return package in ("api", "engine", "latewood")
    if package in ("client", "latewood"):
        return False
    return ORDER.index(other) < ORDER.index(package)


def _imported(name: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of every import: `from a import b` counts as `a.b`; constant dynamic ones too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ["latewood", *name.removesuffix(".py").split("/")[: -node.level]] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and _name(node.func) in ("import_module", "__import__"):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield node.lineno, argument.value


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _reads(name: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Reads of single environment variables; setting one, or handing all to a child, is no reading."""
    if name == SETTINGS:
        return
    for node in ast.walk(tree):
        key: ast.expr | None = None
        if isinstance(node, ast.Call) and node.args:
            method = _name(node.func)
            of_environ = isinstance(node.func, ast.Attribute) and _name(node.func.value) == "environ"
            if method == "getenv" or (of_environ and method in ("get", "pop")):
                key = node.args[0]
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            key = node.slice if _name(node.value) == "environ" else None
        elif isinstance(node, ast.Compare) and _name(node.comparators[-1]) == "environ":
            key = node.left
        if key is not None and not (isinstance(key, ast.Constant) and key.value in PASSED_ON):
            yield node.lineno, f"reads the environment; only {SETTINGS} does"


def _sizes(source: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    lines = len(source.splitlines())
    if lines > LONGEST_FILE:
        yield 1, f"has {lines} lines, more than {LONGEST_FILE}"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LONGEST_FUNCTION:
                yield node.lineno, f"{node.name} has {length} lines, more than {LONGEST_FUNCTION}"


def loaded_by(root: Path, modules: list[str], heavy: tuple[str, ...]) -> list[str]:
    """Which of the heavy libraries a fresh interpreter holds after importing these modules."""
    script = (
        f"import importlib, sys; sys.path.insert(0, {str(root)!r})\n"
        f"for module in {modules!r}: importlib.import_module(module)\n"
        f"print(*(name for name in {heavy!r} if name in sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root)
    return run.stdout.split()


def large_folders(root: Path) -> dict[str, int]:
    """Return the folders with more modules than `LARGEST_FOLDER`, with their number."""
    folders = Counter(
        path.parent.relative_to(root).as_posix()
        for package in PACKAGES
        for path in (root / package).rglob("*.py")
        if path.name != "__init__.py"
    )
    return {folder: number for folder, number in folders.items() if number > LARGEST_FOLDER}


def modules_of(root: Path, package: str) -> list[str]:
    files = sorted((root / package).rglob("*.py"))
    dotted = [path.relative_to(root).with_suffix("").as_posix().replace("/", ".") for path in files]
    return [name.removesuffix(".__init__") for name in dotted]


def test_the_packages_keep_their_order_their_rooms_and_their_size() -> None:
    assert violations(ROOT) == []


def test_no_folder_has_too_many_modules() -> None:
    assert large_folders(ROOT) == {}


def test_every_package_is_looked_at() -> None:
    present = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert present <= set(PACKAGES)
    assert {"embedder", "search", "ingest", "api", "client", "latewood"} <= present


def test_the_search_package_never_loads_the_model_library() -> None:
    """The store's worker process imports nothing but this package."""
    modules = [NAME + module for module in modules_of(ROOT, "search")]
    assert "latewood.search.stores.base" in modules
    assert loaded_by(ROOT, modules, ("torch", "transformers", "peft", "unstructured", "fastapi")) == []


def test_a_command_starts_without_what_only_the_service_needs() -> None:
    heavy = (
        "torch",
        "transformers",
        "fastapi",
        "mcp",
        "prometheus_client",
        "limits",
        "argon2",
        "langchain_core",
        "dbos",
        "sqlalchemy",
        "fsspec",
    )
    assert loaded_by(ROOT, ["latewood.api.cli.main"], heavy) == []


def test_an_owner_that_is_given_no_job_starts_without_the_queue() -> None:
    assert loaded_by(ROOT, ["latewood.engine.library"], ("dbos", "sqlalchemy", "fsspec")) == []


def write(root: Path, name: str, source: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("embedder/a.py", "import latewood.search.types", "imports search.types against the order"),
        ("search/a.py", "from latewood.ingest import types", "imports ingest.types against the order"),
        (
            "search/stores/a.py",
            "def f():\n    from latewood.api.build import x",
            "2 imports api.build.x against the order",
        ),
        ("client/a.py", "import latewood.search.types", "against the order"),
        ("ingest/a.py", "import latewood.client.client", "against the order"),
        ("search/a.py", "import latewood.embedder", "takes only embedder.types"),
        ("search/a.py", "from latewood.embedder import engine", "takes only embedder.types"),
        ("search/a.py", "from latewood.embedder.types_of import x", "takes only embedder.types"),
        ("api/a.py", "from search import types", "its installed name is latewood.search.types"),
        ("search/a.py", "import torch.nn as nn", "imports torch.nn, which belongs in embedder/"),
        ("api/a.py", "import importlib\nimportlib.import_module('torch')", "2 imports torch"),
        ("ingest/a.py", "from transformers import AutoModel", "belongs in embedder/"),
        ("search/searcher.py", "import qdrant_edge", "in search/stores/ and search/analysis/analyzer.py"),
        ("ingest/chunking.py", "import unstructured", "belongs in ingest/parsing/"),
        ("ingest/a.py", "import typer", "belongs in api/cli/"),
        ("engine/a.py", "import latewood.api.http.app", "imports api.http.app against the order"),
        ("api/cli.py", "import os\nx = os.environ.get('A')", "2 reads the environment"),
        ("api/cli.py", "import os\nx = os.environ['A']", "reads the environment"),
        ("api/cli.py", "from os import getenv\nx = getenv('A')", "reads the environment"),
        ("api/cli.py", "import os\nx = 'A' in os.environ", "reads the environment"),
        ("embedder/a.py", "x = 1\n" * 701, "1 has 701 lines, more than 700"),
        ("embedder/a.py", "def f():\n" + "    x = 1\n" * 70, "f has 71 lines, more than 70"),
        ("embedder/a.py", "class C:\n    async def f(self):\n" + "        x = 1\n" * 70, "f has 71 lines"),
    ],
)
def test_a_breach_is_found(tmp_path: Path, name: str, source: str, complaint: str) -> None:
    write(tmp_path, name, source)
    (found,) = violations(tmp_path)
    assert found.startswith(f"{name}:")
    assert complaint in found


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("search/a.py", "from latewood.embedder.types import Span\nfrom latewood.embedder import types"),
        ("search/stores/a.py", "from ..types import Hit\nfrom . import base\nimport qdrant_edge"),
        ("search/analysis/analyzer.py", "import qdrant_client"),
        ("api/a.py", "import latewood.embedder.engine, latewood.ingest.sync, latewood.client, fastapi"),
        ("engine/settings.py", "import os\nx = os.environ['A']"),
        ("embedder/a.py", "import os\nos.environ['A'] = '1'\nos.environ.setdefault('B', '1')\nimport torch"),
        ("ingest/a.py", "import os\nx = {**os.environ, 'A': os.environ.get('PYTHONPATH')}"),
        ("embedder/a.py", "x = 1\n" * 700),
        ("tests/a.py", "import torch, api"),
    ],
)
def test_what_is_allowed_is_not_a_breach(tmp_path: Path, name: str, source: str) -> None:
    write(tmp_path, name, source)
    assert violations(tmp_path) == []


def test_a_library_that_comes_in_through_another_module_is_found(tmp_path: Path) -> None:
    write(tmp_path, "heavy_library.py", "")
    write(tmp_path, "search_like/__init__.py", "")
    write(tmp_path, "search_like/a.py", "from search_like import b")
    write(tmp_path, "search_like/b.py", "import heavy_library")
    modules = modules_of(tmp_path, "search_like")
    assert modules == ["search_like", "search_like.a", "search_like.b"]
    assert loaded_by(tmp_path, ["search_like.a"], ("heavy_library", "torch")) == ["heavy_library"]
    assert loaded_by(tmp_path, ["search_like"], ("heavy_library", "torch")) == []
