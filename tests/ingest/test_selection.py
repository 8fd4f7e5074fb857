"""Patterns mean what they mean in a .gitignore, and one that can mean nothing is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latewood.ingest.sources.patterns import Selection
from latewood.ingest.sources.scan import scan
from latewood.ingest.sources.uris import SourceError


def write(path: Path, text: str = "text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def found(root: Path, selection: Selection) -> list[str]:
    """Places of the files that a scan takes, in order."""
    return sorted(os.path.relpath(file.path, root) for file in scan(root, selection=selection).files)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for place in (
        "a.md",
        "a.txt",
        "docs/b.md",
        "docs/old/c.md",
        "build/d.md",
        "src/build/e.txt",
        ".git/f.md",
    ):
        write(tmp_path / place)
    write(tmp_path / ".hidden.md")
    return tmp_path


@pytest.mark.parametrize(
    ("include", "exclude", "left"),
    [
        ([], [], ["a.md", "a.txt", "build/d.md", "docs/b.md", "docs/old/c.md", "src/build/e.txt"]),
        (["*.md"], [], ["a.md", "build/d.md", "docs/b.md", "docs/old/c.md"]),
        (["/*.md"], [], ["a.md"]),
        (["docs/"], [], ["docs/b.md", "docs/old/c.md"]),
        (["docs/", "!docs/old/"], [], ["docs/b.md"]),
        (["docs/**/*.md", "a.txt"], [], ["a.txt", "docs/b.md", "docs/old/c.md"]),
        ([], ["build"], ["a.md", "a.txt", "docs/b.md", "docs/old/c.md"]),
        ([], ["/build/"], ["a.md", "a.txt", "docs/b.md", "docs/old/c.md", "src/build/e.txt"]),
        ([], ["*", "!a.md"], ["a.md"]),
        ([], ["docs/*", "!docs/b.md", "build"], ["a.md", "a.txt", "docs/b.md"]),
        (["*.md"], ["old", "build"], ["a.md", "docs/b.md"]),
        (["*.MD"], [], []),
    ],
)
def test_patterns_choose_files(tree: Path, include: list[str], exclude: list[str], left: list[str]) -> None:
    assert found(tree, Selection(tuple(include), tuple(exclude))) == left


def test_hidden_files_are_taken_on_request(tree: Path) -> None:
    everything = found(tree, Selection(hidden=True))
    assert {".git/f.md", ".hidden.md"} <= set(everything)
    assert len(everything) == 8
    assert found(tree, Selection(("*.md",), (".git",), hidden=True)).count(".hidden.md") == 1


def test_a_folder_that_is_left_out_is_not_looked_into(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[str] = []
    scandir = os.scandir

    def noting(path: str) -> object:
        listed.append(os.path.relpath(path, tree))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", noting)
    found(tree, Selection(exclude=("build", "docs/old/")))
    assert sorted(listed) == [".", "docs", "src"]


def test_nothing_comes_back_from_below_a_folder_that_is_left_out(tree: Path) -> None:
    selection = Selection(exclude=("docs/", "!docs/b.md"))
    assert "docs/b.md" not in found(tree, selection)
    assert not selection.takes("docs/b.md")


def test_what_is_left_out_is_not_complained_of(tree: Path) -> None:
    (tree / "link").symlink_to("nowhere")
    os.mkfifo(tree / "pipe")
    assert len(scan(tree).skipped) == 2
    assert scan(tree, selection=Selection(exclude=("link", "pipe"))).skipped == ()
    assert scan(tree, selection=Selection(include=("*.md",))).skipped == ()


def test_a_file_that_is_named_itself_is_taken(tree: Path) -> None:
    for name in ("a.txt", ".hidden.md"):
        assert len(scan(tree / name, selection=Selection(("*.pdf",), ("*",))).files) == 1


def test_names_that_are_not_utf8_can_be_matched(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_bytes(b"text")
    assert found(tmp_path, Selection(exclude=("caf?.txt",))) == []
    assert len(found(tmp_path, Selection(include=("*.txt",)))) == 1


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("", "matches nothing"),
        ("  ", "matches nothing"),
        ("/", "matches nothing"),
        ("[", "matches nothing"),
        ("!", "cannot be read"),
        ("a\\", "cannot be read"),
        ("[z-a]", "cannot be read"),
        ("# notes", r"write \\#"),
        ("./a.txt", "relative to the folder"),
        ("!../a", "relative to the folder"),
        ("..", "relative to the folder"),
        ("a\0b", "holds what no pattern can hold"),
        ("caf\udce9", "holds what no pattern can hold"),
        ("[[:alpha:]]", "can be read in two ways"),
        ("[a&&b]", "can be read in two ways"),
    ],
)
@pytest.mark.parametrize("kind", ["include", "exclude"])
def test_a_pattern_that_can_mean_nothing_is_refused_by_name(kind: str, pattern: str, words: str) -> None:
    with pytest.raises(SourceError, match=words) as refused:
        Selection(**{kind: ("*.md", pattern)})
    assert refused.value.code == "pattern_invalid"
    assert str(refused.value).startswith(f"{kind} pattern {pattern!r}")


def test_include_patterns_that_only_take_away_are_refused() -> None:
    with pytest.raises(SourceError, match="only take away"):
        Selection(include=("!*.md", "!a"))
    Selection(exclude=("!*.md",))


@given(st.text(max_size=12))
def test_any_text_is_a_pattern_or_is_refused(text: str) -> None:
    try:
        selection = Selection(exclude=(text,))
    except SourceError:
        return
    assert selection.takes("a/b") in (True, False)


_PATTERNS = st.lists(
    st.sampled_from(
        [
            "a",
            "b",
            "a/",
            "/a",
            "*a",
            "a*",
            "a/b",
            "a/**",
            "**/b",
            "/a/b",
            "!a",
            "!b",
            "!a/b",
            "?b",
            "[ab]c",
            "a/*/b",
            "!/a/",
            "*",
            "!*.x",
            "*.x",
            "b/a/",
            "**/a/b",
            "!**/c",
        ]
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_excluded_is_what_git_ignores(tmp_path: Path) -> None:
    names = ["a", "b", "c.x", "ab", "bc"]
    places = [*names, *(f"d/{one}" for one in names), "a1/b", "b1/a/b", "b1/c", "d/a1/x/b", "b1/a/c.x"]
    for place in places:
        write(tmp_path / place)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    checked = 0

    @given(_PATTERNS)
    def same(patterns: list[str]) -> None:
        nonlocal checked
        (tmp_path / ".git" / "info" / "exclude").write_text("\n".join(patterns) + "\n")
        run = subprocess.run(
            ["git", "ls-files", "--others", "--exclude-standard", "-z"],
            cwd=tmp_path,
            capture_output=True,
            check=True,
            text=True,
        )
        checked += 1
        assert found(tmp_path, Selection(exclude=tuple(patterns))) == sorted(run.stdout.split("\0")[:-1])

    same()
    assert checked > 1
