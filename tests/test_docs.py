"""Holds the README against the program: commands, options, settings, routes, examples and what they print."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from latewood.api.cli.main import app
from latewood.api.http.app import create_app
from latewood.engine.library import Service
from latewood.engine.settings import PREFIX, Settings, origins

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"
COMMANDS = typer.main.get_command(app).commands
COMMON = {"--json", "--data", "--collection", "--tenant", "--help"}
HIDDEN = {("POST", "/owner/yield")}  # between processes of one machine, not for people
MASKED = re.compile(r"\[?\d+\.\d{3,}\]?|[\d.,]+ (?:s|ms|tokens/s)\b")

# Stands in where curl is not installed; it refuses options it does not know.
CURL = """\
#!{python}
import argparse, sys
import httpx
parser = argparse.ArgumentParser()
parser.add_argument("-s", action="store_true")
parser.add_argument("-N", action="store_true")
parser.add_argument("-X")
parser.add_argument("-H", action="append", default=[])
parser.add_argument("-d")
parser.add_argument("-F", action="append", default=[])
parser.add_argument("--unix-socket")
parser.add_argument("url")
given = parser.parse_args()
form = [part.split("=", 1) for part in given.F]
answer = httpx.Client(transport=httpx.HTTPTransport(uds=given.unix_socket), timeout=240).request(
    given.X or ("POST" if given.d or given.F else "GET"),
    given.url,
    headers=dict(header.split(": ", 1) for header in given.H),
    content=given.d,
    files=[(name, open(value[1:], "rb") if value[0] == "@" else (None, value)) for name, value in form],
)
sys.stdout.write(answer.text)
"""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: what the comment above it says, its language, its text and its line."""

    mark: str
    language: str
    text: str
    line: int


def blocks() -> list[Block]:
    fence = re.compile(r"(?:<!-- ([^\n]*?) -->\n)?^```(\w*)\n(.*?)^```$", re.M | re.S)
    return [
        Block(found[1] or "", found[2], found[3], README[: found.start()].count("\n") + 1)
        for found in fence.finditer(README)
    ]


def section(title: str) -> str:
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(title: str) -> list[list[str]]:
    """The cells of a section's table; `|` in code is not used in them."""
    lines = [line for line in section(title).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def coded(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def options_of(name: str) -> set[str]:
    context = COMMANDS[name].make_context(name, [], resilient_parsing=True)
    return {
        option for found in COMMANDS[name].get_params(context) for option in found.opts if option[:2] == "--"
    }


def command_lines() -> list[list[str]]:
    """Every `latewood …` of the README, in blocks and in running text, as its words."""
    found = [line for block in blocks() if block.language == "sh" for line in _commands_in(block.text)]
    found += [text for line in README.splitlines() for text in coded(line) if text.startswith("latewood ")]
    return [shlex.split(line, comments=True)[1:] for line in found]


def _commands_in(script: str) -> Iterator[str]:
    # A command ends at a pipe, a closing parenthesis or the line, except inside quotes.
    word = r"'[^']*'|\"[^\"]*\"|[^\s|()'\"]+"
    for found in re.finditer(rf"\blatewood[ ](?=[a-z])(?:(?:{word})[ ]*)+", script):
        if not script[: found.start()].endswith(("+", "/")):
            yield found[0]


# --- commands and options -----------------------------------------------------------------------------------


def test_the_table_of_commands_is_the_programs_own() -> None:
    assert [coded(row[0])[0] for row in rows("Commands")] == list(COMMANDS)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_each_command_stands_with_all_its_options_and_no_others(name: str) -> None:
    row = next(row for row in rows("Commands") if row[0] == f"`{name}`")
    named = {option for code in coded(row[2]) for option in code.split() if option.startswith("--")}
    assert named == options_of(name) - COMMON
    assert options_of(name) | {"--help"} >= COMMON


def test_the_common_options_are_named() -> None:
    introduction = section("Commands").strip().split("\n\n")[0]
    assert {code.split()[0] for code in coded(introduction) if code.startswith("--")} == COMMON


def test_every_option_the_readme_names_in_running_text_exists() -> None:
    known = COMMON | {option for name in COMMANDS for option in options_of(name)}
    named = {
        option for text in coded(re.sub(r"```.*?```", "", README, flags=re.S)) for option in text.split()
    }
    assert {option for option in named if option.startswith("--")} <= known


def test_every_command_line_of_the_readme_is_understood() -> None:
    lines = command_lines()
    assert {words[0] for words in lines} == set(COMMANDS)
    for name, *words in lines:
        if words or not in_need_of_words(name):  # `latewood ingest` in a sentence is its name
            COMMANDS[name].make_context(name, words)


def in_need_of_words(name: str) -> bool:
    return any(found.required for found in COMMANDS[name].params)


def test_an_option_that_does_not_exist_would_be_found() -> None:
    with pytest.raises(Exception, match="--limits"):
        COMMANDS["search"].make_context("search", ["q", "--limits", "3"])


# --- settings -----------------------------------------------------------------------------------------------


def test_the_table_of_settings_is_the_programs_own_with_its_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    wanted = {found.name: found.value for found in origins(Settings())}
    told = {coded(row[0])[0]: row[1].strip("`").replace(",", "") for row in rows("Settings")}
    assert list(told) == list(wanted)
    by_model = {"None": "by model", "()": "by model", "False": "false"}
    empty = dict.fromkeys(
        [
            "MODELS",
            "RERANKER",
            "METADATA_FROM_PATH",
            "ROOTS",
            "STORE_API_KEY",
            "STORE_CERTIFICATE",
            "HOSTS",
            "ORIGINS",
            "PROXIES",
        ],
        "none",
    )
    defaults = {name: by_model.get(value, value.removesuffix(".0")) for name, value in wanted.items()}
    assert told == defaults | empty
    assert {wanted[name] for name in empty} == {"()", "", "None"}


def test_settings_named_anywhere_exist() -> None:
    named = set(re.findall(rf"\b{PREFIX}([A-Z_]+)", README)) - {"NAME"}
    assert named <= {name.upper() for name in Settings.model_fields}


def test_settings_files_in_the_readme_can_be_used() -> None:
    files = [block.text for block in blocks() if block.language == "toml"]
    assert files
    for text in files:
        given = tomllib.loads(text)
        models = given.pop("models", [])
        settings = Settings(**given, models=models)
        used = settings.model_dump(include=set(given))
        assert {name: str(value) for name, value in used.items()} == {
            name: str(value) for name, value in given.items()
        }
        assert list(settings.source.described) == [model["name"] for model in models]


# --- routes -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[tuple[str, str]]]:
    """The routes of the schema, and of the application altogether."""
    data = tmp_path_factory.mktemp("docs") / "data"
    with closing(Service(Settings(data=data))) as service:
        made = create_app(service)
        schema = {
            (method.upper(), path) for path, methods in made.openapi()["paths"].items() for method in methods
        }
    others = {("GET", path) for path in ("/", "/docs", "/openapi.json")} | {("POST", "/mcp")}
    return {"schema": schema, "all": schema | others}


def test_the_table_of_routes_is_the_schema(public: dict[str, set[tuple[str, str]]]) -> None:
    told = {tuple(code.split()) for row in rows("HTTP") for code in coded(row[0])}
    assert told == public["schema"] | {("GET", "/"), ("POST", "/mcp")}
    assert not HIDDEN & public["schema"]


def test_every_route_the_readme_names_exists(public: dict[str, set[tuple[str, str]]]) -> None:
    named = set(re.findall(r"\b(GET|POST|PUT|PATCH|DELETE) (/[^\s`?,;]*)", README))
    assert named <= public["all"]
    paths = {re.sub(r"\{.*?\}", "X", path) for _, path in public["all"]}
    asked = re.findall(r"http://(?:127\.0\.0\.1:8000|localhost)(/[^\s'\"?>`)]*)", README)
    assert {re.sub(r"\$\w+", "X", path) for path in asked} <= paths


# --- examples -----------------------------------------------------------------------------------------------


def test_every_shell_block_runs_here_or_says_why_not() -> None:
    for block in blocks():
        if block.language in ("sh", "python"):
            assert block.mark in ("run", "serve") or block.mark.startswith("not run: "), f"line {block.line}"
        elif block.mark:
            assert block.mark == "output", f"line {block.line}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a fresh checkout has it: the sample documents, and programs on PATH."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "api" / "samples" / "documents", folder / "api" / "samples" / "documents")
    programs = folder / "bin"
    programs.mkdir()
    write_program(programs / "curl-of-the-tests", CURL.format(python=sys.executable))
    if shutil.which("curl") is None:
        (programs / "curl").symlink_to("curl-of-the-tests")
    return folder


def write_program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    path = os.pathsep.join([str(home / "bin"), str(Path(sys.executable).parent), kept.get("PATH", "")])
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT)}


@contextmanager
def serving(home: Path, command: str) -> Iterator[str]:
    """Run the README's own `serve` on a free port; gives its address."""
    log = (home / "serve.log").open("w+", encoding="utf-8")
    words = [*shlex.split(command), "--port", "0"]
    with (
        log,
        subprocess.Popen(
            words, cwd=home, env=environment(home), stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            told = process.stdout.readline()
            assert told.startswith("serving on http://"), (home / "serve.log").read_text(encoding="utf-8")
            yield told.removeprefix("serving on ").strip()
        finally:
            process.terminate()
            process.wait(30)


@dataclass(frozen=True, slots=True)
class Ran:
    """A block that ran, what it printed, and what the README says it prints."""

    block: Block
    result: subprocess.CompletedProcess[str]
    told: Block | None


@pytest.fixture(scope="module")
def ran(home: Path) -> Iterator[tuple[list[Ran], str]]:
    """Every marked block, in order, in one folder; and the address of the service that runs by then."""
    every = blocks()
    start = next(index for index, block in enumerate(every) if block.mark == "serve")
    before = [run(home, every, index, "") for index in range(start) if every[index].mark == "run"]
    with serving(home, every[start].text) as address:
        after = [
            run(home, every, index, address)
            for index in range(start, len(every))
            if every[index].mark == "run"
        ]
        yield [*before, *after], address


def run(home: Path, every: list[Block], index: int, address: str) -> Ran:
    block = every[index]
    text = block.text.replace(ADDRESS, address)
    shell = ["bash", "-euo", "pipefail", "-c"]
    words = [*shell, text] if block.language == "sh" else [sys.executable, "-c", text]
    result = subprocess.run(
        words, cwd=home, env=environment(home), capture_output=True, text=True, check=False
    )
    after = every[index + 1] if index + 1 < len(every) else None
    return Ran(block, result, after if after is not None and after.mark == "output" else None)


def test_the_readmes_examples_run(ran: tuple[list[Ran], str]) -> None:
    failed = [
        (f"README.md:{one.block.line}", one.result.returncode, one.result.stderr, one.result.stdout)
        for one in ran[0]
        if one.result.returncode or not one.result.stdout.strip()
    ]
    assert failed == []
    assert [one.block for one in ran[0]] == [block for block in blocks() if block.mark == "run"]


def test_no_example_but_the_one_about_errors_is_answered_with_an_error(ran: tuple[list[Ran], str]) -> None:
    wrong = [one.block for one in ran[0] if '{"error"' in one.result.stdout]
    assert ["5000" in block.text for block in wrong] == [True]


def test_what_the_readme_says_is_printed_is_printed(ran: tuple[list[Ran], str]) -> None:
    told = [one for one in ran[0] if one.told is not None]
    assert len(told) == len([block for block in blocks() if block.mark == "output"])
    for one in told:
        if one.told.language == "json":
            check_value(json.loads(one.told.text), json.loads(one.result.stdout))
        else:
            check_lines(one.told.text, one.result.stdout)


def check_value(told: Any, printed: Any) -> None:
    """The same keys, lengths and texts, `…` being anything; numbers may differ."""
    if isinstance(told, dict):
        assert list(told) == list(printed)
        for name in told:
            check_value(told[name], printed[name])
    elif isinstance(told, list):
        for one, other in zip(told, printed, strict=True):
            check_value(one, other)
    elif isinstance(told, str):
        pattern = ".*".join(re.escape(part) for part in told.split("…"))
        assert re.fullmatch(pattern, printed, re.S), f"{told!r} is not {printed!r}"
    else:
        assert type(told) is type(printed)


def check_lines(told: str, printed: str) -> None:
    """Each line of `told` stands in `printed`, in order; times and scores may differ, `…` is anything."""
    rest = iter(printed.splitlines())
    for line in told.splitlines():
        if line.strip() == "…":
            continue
        pattern = ".*".join(re.escape(MASKED.sub("#", part)) for part in line.split("…"))
        assert any(re.fullmatch(pattern, MASKED.sub("#", found)) for found in rest), f"{line!r} in\n{printed}"


@pytest.mark.parametrize(
    ("told", "printed", "same"),
    [
        ("a\n…\nc", "a\nb\nc", True),
        ("a\nb", "b\na", False),
        ("took 1.5 s", "took 22.1 s", True),
        ("…/x.pdf", "/y/x.pdf", True),
        ("26 added", "25 added", False),
        ("score 0.5346", "score 0.1234", True),
    ],
)
def test_lines_are_compared(told: str, printed: str, same: bool) -> None:
    if same:
        check_lines(told, printed)
    else:
        with pytest.raises(AssertionError):
            check_lines(told, printed)


@pytest.mark.parametrize(
    ("told", "printed"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": "limit is 5…"}, {"a": "limit was 5"}),
        ([1], [1, 2]),
        ({"a": 1}, {"a": "1"}),
    ],
)
def test_a_different_answer_is_noticed(told: Any, printed: Any) -> None:
    check_value(printed, printed)
    with pytest.raises((AssertionError, ValueError)):
        check_value(told, printed)


def test_the_curl_of_these_tests_is_answered_as_curl_is(home: Path, ran: tuple[list[Ran], str]) -> None:
    address = ran[1]
    for words in (
        ["-s", f"{address}/healthz"],
        ["-s", f"{address}/search", "-H", "Content-Type: application/json", "-d", '{"limit": 1}'],
        ["-s", f"{address}/documents", "-F", "x=y"],
    ):
        stand_in = subprocess.run(
            [home / "bin" / "curl-of-the-tests", *words], capture_output=True, text=True, check=True
        )
        curl = subprocess.run(
            ["curl", *words], capture_output=True, text=True, check=True, env=environment(home)
        )
        answers = [json.loads(one.stdout) for one in (stand_in, curl)]
        for answer in answers:
            answer.get("error", {}).pop("request_id", None)
        assert answers[0] == answers[1]


# --- the rest -----------------------------------------------------------------------------------------------


def test_links_to_files_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README + CHANGELOG):
        if not target.startswith("https://"):
            assert (ROOT / target).is_file(), target


def test_python_examples_in_docstrings_are_python() -> None:
    from latewood.client import client

    example = textwrap.dedent((client.__doc__ or "").split("\n\n", 1)[1])
    assert ast.parse(example).body


def test_the_changelog_keeps_its_form() -> None:
    releases = re.findall(r"^## (.+)$", CHANGELOG, re.M)
    assert releases[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", release) for release in releases[1:])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", CHANGELOG, re.M)) <= kinds


def test_commands_the_changelog_names_exist() -> None:
    named = {code.split()[1] for code in coded(CHANGELOG) if code.startswith("latewood ")}
    assert named
    assert named <= set(COMMANDS)


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    machine = re.compile(rb"(?<![\w.])/(?:work|root|home/\w+)/|/tmp/" + rb"w\b")
    found = [
        f"{path.relative_to(ROOT)}: {hit[0].decode()}"
        for path in own_files()
        for hit in machine.finditer(path.read_bytes())
    ]
    assert found == []


def own_files() -> list[Path]:
    """What the repository holds: everything but environments, caches and builds."""
    passed = {"__pycache__", "build", "latewood-data"}
    hidden = {".git", ".hypothesis", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
    found = []
    for folder, folders, files in os.walk(ROOT):
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        folders[:] = [
            name for name in folders if name not in passed | hidden and not name.endswith(".egg-info")
        ]
        # In a worktree `.git` is a file.
        found += [
            Path(folder, name) for name in files if name != ".git" and not Path(folder, name).is_symlink()
        ]
    assert ROOT / "README.md" in found
    assert ROOT / ".ci" / "run" in found
    return [path for path in found if path.is_file() and path.name not in hidden]  # `.git` of a worktree
