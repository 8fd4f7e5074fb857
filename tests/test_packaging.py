"""What is installed is all of it, and nothing but what is declared: wheel, imports, extras, pins."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from importlib import metadata
from importlib.resources import files
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = ("api", "client", "embedder", "engine", "evaluation", "ingest", "latewood", "search")
RUNTIME = ("formats", "offline-model", "server")
INSTALLED = (*RUNTIME, "evaluation", "dev")  # all that `make test` installs; `gpu` needs a CUDA toolchain
# Not pinned: scripts/setup_env.py chooses torch, and a CUDA build brings more than the CPU one.
UNPINNED = frozenset({"torch", "setuptools"})


def declared(*extras: str) -> set[str]:
    """Names of the distributions that pyproject asks for itself."""
    asked = [*PROJECT["dependencies"]]
    for extra in extras:
        asked += PROJECT["optional-dependencies"][extra]
    return {canonicalize_name(Requirement(text).name) for text in asked}


def needed(*extras: str, but: frozenset[str] = frozenset()) -> set[str]:
    """Every distribution that an install with these extras holds, but for these and what only they need."""
    roots = [*PROJECT["dependencies"]]
    for extra in extras:
        roots += PROJECT["optional-dependencies"][extra]
    found: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(Requirement(text), frozenset({""})) for text in roots]
    while waiting:
        requirement, active = waiting.pop()
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in active):
            continue
        name = canonicalize_name(requirement.name)
        if name in but:
            continue
        found.add(name)
        wanted = frozenset({"", *requirement.extras})
        if (name, wanted) not in seen:
            seen.add((name, wanted))
            waiting += [(Requirement(text), wanted) for text in metadata.requires(name) or []]
    return found


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    asked = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for requirement in asked:
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), f"{requirement} is not pinned"
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in asked}


def imported(folder: Path) -> dict[str, str]:
    """Third-party modules a folder's files import, by name, with one file that does."""
    own = {*PACKAGES, "benchmarks", *(path.stem for path in folder.rglob("*.py"))}
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*.py")):
        if path.is_relative_to(ROOT / "api" / "samples"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for top in {name.split(".")[0] for name in names} - own - set(sys.stdlib_module_names):
                found.setdefault(top, path.relative_to(ROOT).as_posix())
    return found


@cache
def installed_modules() -> dict[str, list[str]]:
    """Every installed module's distributions; looking through them all takes a while."""
    return dict(metadata.packages_distributions())


def distributions_of(module: str) -> set[str]:
    """What provides a module; where nothing installed does, its own name is all that is known."""
    return {canonicalize_name(name) for name in installed_modules().get(module, [module])}


def undeclared(folder: Path, allowed: set[str]) -> list[str]:
    """Imports of a folder that no declared distribution provides."""
    return [
        f"{path} imports {module}"
        for module, path in imported(folder).items()
        if not distributions_of(module) & allowed
    ]


def present() -> list[str]:
    return [name for name in PACKAGES if (ROOT / name / "__init__.py").is_file()]


# --- imports and extras -------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", present())
def test_every_library_a_package_imports_is_declared(package: str) -> None:
    extras = {
        "embedder": ("gpu",),
        "ingest": ("formats",),
        "evaluation": ("evaluation",),
        "latewood": ("langchain",),
    }.get(package, ())
    assert undeclared(ROOT / package, declared(*extras)) == []


@pytest.mark.parametrize("folder", ["tests", "scripts"])
def test_every_library_the_tests_and_scripts_import_is_declared(folder: str) -> None:
    assert undeclared(ROOT / folder, declared(*INSTALLED) | {"packaging"}) == []
    assert "packaging" in needed("dev")


def test_only_word_and_powerpoint_need_the_extra_formats() -> None:
    files = {line.split()[0] for line in undeclared(ROOT / "ingest", declared())}
    assert files == {"ingest/parsing/formats/office.py"}
    assert "| `formats` | DOCX and PPTX;" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_an_undeclared_import_would_be_found() -> None:
    assert undeclared(ROOT / "api", declared() - {"fastapi", "typer"})
    assert undeclared(ROOT / "ingest", declared() - {"psutil"})


def test_the_client_needs_httpx_only() -> None:
    """An adapter needs its framework, and is not imported with the client."""
    assert set(imported(ROOT / "client")) == {"httpx"}
    assert "langchain_core" in imported(ROOT / "latewood" / "integrations")


def test_the_model_that_ships_is_in_its_extra() -> None:
    from latewood.embedder.models.registry import MINILM

    assert MINILM.package is not None
    assert distributions_of(MINILM.package) <= declared("offline-model") - declared()
    assert distributions_of(MINILM.package)


# --- pins ---------------------------------------------------------------------------------------------------


def test_every_distribution_that_is_needed_is_pinned_to_what_is_installed() -> None:
    installed = {name: metadata.version(name) for name in needed(*INSTALLED, but=UNPINNED)}
    pinned = pins()
    assert {name: pinned.get(name) for name in installed} == installed


def test_no_pin_is_left_over() -> None:
    assert set(pins()) - needed(*INSTALLED) == set()


def test_every_declared_range_admits_its_pin() -> None:
    texts = [
        *PROJECT["dependencies"],
        *(text for name in INSTALLED for text in PROJECT["optional-dependencies"][name]),
    ]
    pinned = pins()
    for requirement in map(Requirement, texts):
        name = canonicalize_name(requirement.name)
        if name not in UNPINNED:
            assert requirement.specifier.contains(pinned[name], prereleases=True), requirement


# --- the wheel ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel that is built from a copy, so that the checkout stays as it is."""
    copy = tmp_path_factory.mktemp("wheel") / "source"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in present():
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", build, str(copy.parent)],
        cwd=copy,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (found,) = copy.parent.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def wheel(built: Path) -> set[str]:
    """Return the names in the wheel."""
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_file_of_every_package(wheel: set[str]) -> None:
    expected = {
        ("" if name == "latewood" else "latewood/") + path.relative_to(ROOT).as_posix()
        for name in present()
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {
        "latewood/api/web/index.html",
        "latewood/api/samples/demo.json",
        "latewood/py.typed",
        "latewood/search/types.py",
    } <= expected
    assert expected - wheel == set()


def test_the_wheel_holds_nothing_else_but_its_metadata(wheel: set[str]) -> None:
    tops = {name.split("/")[0] for name in wheel}
    assert tops == {"latewood", f"latewood-{PROJECT['version']}.dist-info"}
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in wheel)


def test_it_works_next_to_a_project_with_folders_of_the_same_names(built: Path, tmp_path: Path) -> None:
    """A chatbot has an `api`, a `search` and an `ingest` of its own; neither side sees the other's."""
    site, project = tmp_path / "site", tmp_path / "project"
    with zipfile.ZipFile(built) as archive:
        archive.extractall(site)
    for name in ("api", "search", "ingest", "embedder", "engine", "client", "evaluation"):
        (project / name).mkdir(parents=True)
        (project / name / "__init__.py").write_text("OWN = True\n")
    (project / "papers").mkdir()
    (project / "papers" / "ferry.txt").write_text("The last ferry leaves at nine.")
    (project / "main.py").write_text(
        "import sys\nimport api, search, ingest, embedder, engine, client, evaluation\n"
        "assert all(one.OWN for one in (api, search, ingest, embedder, engine, client, evaluation))\n"
        "import latewood\nassert latewood.__file__.startswith(sys.argv[1]), latewood.__file__\n"
        "from latewood.api.cli.main import main\nsys.argv[1:] = sys.argv[2:]\nmain()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}

    def run(*words: str) -> str:
        command = [sys.executable, "main.py", str(site), *words, "--data", "data", "--json"]
        done = subprocess.run(
            command, cwd=project, env=environment, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert json.loads(run("ingest", "papers"))["added"] == 1
    (found,) = json.loads(run("search", "When does the last ferry leave?"))["results"]
    assert found["text"].startswith("The last ferry")


def test_what_is_read_from_the_package_is_there() -> None:
    api = files("latewood.api")
    assert "<html" in api.joinpath("web/index.html").read_text(encoding="utf-8")
    assert len([*api.joinpath("samples/documents/handbook").iterdir()]) >= 3


def test_the_command_leads_to_the_program() -> None:
    module, function = PROJECT["scripts"]["latewood"].split(":")
    assert callable(getattr(__import__(module, fromlist=[function]), function))


def test_versions_agree() -> None:
    source = (ROOT / "api" / "http" / "app.py").read_text(encoding="utf-8")
    assert f'version="{PROJECT["version"]}"' in source or "metadata.version(" in source
