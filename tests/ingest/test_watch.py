"""A watch ingests what changed, neither too often nor too late; in pretended time, and with a real folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from latewood.ingest.sources.listening import FolderListener
from latewood.ingest.sources.watch import Identity, ListenError, Pace, Seams, Watch, identify

PATIENCE = 60.0
FOLDER: Identity = (1, 1)


class OverError(Exception):
    """The script is at its end."""


@dataclass
class World:
    """Pretended time, roots and changes: at each second what `script` says happens."""

    script: dict[int, Callable[[World], object]] = field(default_factory=dict)
    until: float = 60
    clock: float = 0.0
    roots: dict[str, Identity | None] = field(default_factory=lambda: {"/a": FOLDER})
    heard: set[str] = field(default_factory=set)
    ingested: list[tuple[float, str]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    listening: list[tuple[str, ...]] = field(default_factory=list)
    open: int = 0
    deaf: bool = False
    breaks: bool = False
    trouble: str = ""
    takes: float = 0.1
    waits: int = 0
    during: Callable[[], object] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.waits += 1
        self.pass_time(max(seconds, 0.001))

    def pass_time(self, seconds: float) -> None:
        end = self.clock + seconds
        for at in sorted(self.script):
            if self.clock <= at < end:
                self.clock = float(at)
                self.script.pop(at)(self)
        self.clock = end
        if self.clock >= self.until:
            raise OverError

    def sync(self, root: str) -> str:
        self.ingested.append((round(self.clock, 1), root))
        self.during()
        self.clock += self.takes
        return self.trouble

    def listen(self, folders: Sequence[str]) -> Listening:
        if self.deaf:
            raise ListenError("no notices here")
        self.listening.append(tuple(folders))
        return Listening(self)

    def watch(self, pace: Pace | None = None) -> Watch:
        seams = Seams(
            listen=self.listen,
            tell=lambda root, message: self.told.append(f"{root} {message}".strip()),
            now=lambda: self.clock,
            sleep=self.sleep,
            stopped=lambda: False,
            identify=lambda path: self.roots[path],
        )
        return Watch(list(self.roots), seams, pace)

    def play(self, pace: Pace | None = None) -> None:
        with pytest.raises(OverError):
            self.watch(pace).run(self.sync)

    def times(self, root: str = "/a") -> list[float]:
        return [at for at, one in self.ingested if one == root]


class Listening:
    """Hears what the world says was changed; a second is waited out unless there is something."""

    def __init__(self, world: World) -> None:
        self._world = world
        world.open += 1

    def wait(self, seconds: float) -> Set[str]:
        if not self._world.heard:
            self._world.sleep(seconds)
        else:
            self._world.pass_time(0.3)
        if self._world.breaks:
            self._world.breaks = False
            raise ListenError("the queue broke")
        heard, self._world.heard = self._world.heard, set()
        return heard

    def close(self) -> None:
        self._world.open -= 1


def changes(*roots: str) -> Callable[[World], object]:
    return lambda world: world.heard.update(roots)


def becomes(root: str, identity: Identity | None) -> Callable[[World], object]:
    return lambda world: world.roots.update({root: identity})


def test_a_watch_ingests_first_and_then_only_after_changes() -> None:
    world = World({20: changes("/a"), 40: changes("/a")})
    world.play()
    assert len(world.times()) == 3
    assert world.times()[0] == 0
    assert 20 <= world.times()[1] < 23
    assert world.waits < 80, "it must not turn idly"


def test_it_listens_before_the_first_ingest_and_hears_what_changes_during_one() -> None:
    world = World(until=20)

    def during() -> None:
        assert world.listening == [("/a",)]
        if len(world.ingested) == 1:
            world.heard.add("/a")

    world.during = during
    world.play()
    assert len(world.times()) == 2


def test_only_the_source_that_changed_is_ingested_again() -> None:
    world = World({10: changes("/b")}, roots={"/a": FOLDER, "/b": (1, 2)}, until=30)
    world.play()
    assert (len(world.times("/a")), len(world.times("/b"))) == (1, 2)
    assert world.listening == [("/a", "/b")]


def test_a_full_look_makes_up_for_what_was_never_heard() -> None:
    world = World(until=1000)
    world.play()
    assert len(world.times()) == 4
    assert all(299 < later - earlier < 303 for earlier, later in pairwise(world.times()))


def test_a_root_that_goes_is_waited_for_and_never_ingested_while_it_is_away() -> None:
    world = World({10: becomes("/a", None), 11: changes("/a"), 400: becomes("/a", (1, 9))}, until=500)
    world.play()
    assert not [at for at in world.times() if 12 < at < 400]
    assert 400 <= world.times()[-1] < 403
    assert world.told == [
        "/a is not there; waiting for it, and its documents stay as they are",
        "/a is there again",
    ]
    assert world.listening == [("/a",), ("/a",)]
    assert world.open == 1


def test_another_folder_at_the_same_place_is_listened_to_anew_and_ingested() -> None:
    world = World({10: becomes("/a", (1, 7))}, until=30)
    world.play()
    assert len(world.times()) == 2
    assert world.listening == [("/a",), ("/a",)]
    assert (world.open, world.told) == (1, [])


def test_a_file_is_followed_by_looking_at_it() -> None:
    world = World({10: becomes("/a", (1, 1, 6, 7, 7))}, roots={"/a": (1, 1, 5, 6, 6)}, until=30)
    world.play()
    assert len(world.times()) == 2
    assert world.listening == []


def test_where_changes_cannot_be_heard_it_looks_now_and_then_and_says_so_once() -> None:
    world = World({350: lambda world: setattr(world, "deaf", False)}, deaf=True, until=700)
    world.play()
    early = [at for at in world.times() if at < 300]
    assert 25 < len(early) < 32
    assert world.told == ["no notices here; looking every 10 seconds instead"]
    assert world.listening == [("/a",)], "it tries to listen again"
    assert len([at for at in world.times() if at > 620]) <= 1


def test_a_listener_that_breaks_is_replaced_in_time_and_the_folder_looked_at_meanwhile() -> None:
    world = World({10: lambda world: setattr(world, "breaks", True)}, until=400)
    world.play()
    assert world.told == ["the queue broke; looking every 10 seconds instead"]
    assert len(world.listening) == 2
    assert 10 < world.times()[1] < 12
    assert world.open == 1


def test_an_ingest_that_fails_is_tried_again_ever_later_and_named_once() -> None:
    world = World({300: lambda world: setattr(world, "trouble", "")}, trouble="it is empty", until=550)
    world.play()
    gaps = [later - earlier for earlier, later in pairwise(world.times())]
    assert [round(gap) for gap in gaps[:4]] == [5, 10, 20, 40]
    assert max(gaps[:8]) < 62
    assert world.told == ["/a it is empty"]


def test_a_folder_that_never_rests_leaves_as_much_time_as_it_takes() -> None:
    world = World({at: changes("/a") for at in range(1, 300)}, takes=10, until=300)
    world.play()
    assert 12 <= len(world.times()) <= 16


def test_what_was_due_when_an_owner_went_is_done_by_the_next_run() -> None:
    world = World(until=20)
    watch = world.watch()

    def gone(root: str) -> str:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        watch.run(gone)
    with pytest.raises(OverError):
        watch.run(world.sync)
    assert world.times() == [0]
    watch.close()
    assert world.open == 0


def test_a_check_that_fails_ends_the_run_and_nothing_is_lost() -> None:
    world = World({5: changes("/a")}, until=20)
    watch = world.watch()

    def check() -> None:
        if 3 < world.clock < 8:
            world.clock = 9
            raise ConnectionError

    with pytest.raises(ConnectionError):
        watch.run(world.sync, check)
    world.heard.add("/a")
    with pytest.raises(OverError):
        watch.run(world.sync, check)
    assert len(world.times()) == 2


# --- a real folder ------------------------------------------------------------------------------------------


@dataclass
class Heard:
    """A listener's answers, gathered until one is as wished."""

    listener: FolderListener

    def until(self, root: Path) -> None:
        deadline = time.monotonic() + PATIENCE
        while str(root) not in self.listener.wait(1.0):
            assert time.monotonic() < deadline, f"nothing was heard of {root}"

    def nothing(self) -> bool:
        return not self.listener.wait(1.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    root.mkdir()
    return root


@pytest.fixture
def listen() -> Iterator[Callable[..., Heard]]:
    made: list[FolderListener] = []

    def listen_to(*roots: Path, **options: object) -> Heard:
        made.append(FolderListener([str(root) for root in roots], threading.Event(), **options))
        return Heard(made[-1])

    yield listen_to
    for one in made:
        one.close()


def test_whatever_is_done_to_a_folder_is_heard(
    folder: Path, tmp_path: Path, listen: Callable[..., Heard]
) -> None:
    heard = listen(folder)
    (folder / "a.txt").write_text("new")
    heard.until(folder)
    (folder / "a.txt").write_text("changed")
    heard.until(folder)
    (folder / ".a.swp").write_text("by an editor that writes beside and renames")
    (folder / ".a.swp").rename(folder / "a.txt")
    heard.until(folder)
    aside = tmp_path / "aside"
    (aside / "deep").mkdir(parents=True)
    (aside / "deep" / "b.txt").write_text("moved in with its folder")
    aside.rename(folder / "in")
    heard.until(folder)
    (folder / "in" / "deep" / "b.txt").write_text("changed in a folder that was moved in")
    heard.until(folder)
    (folder / "in").rename(tmp_path / "out")
    heard.until(folder)
    (folder / "a.txt").unlink()
    heard.until(folder)


def test_reading_hidden_files_and_the_index_itself_are_not_heard(
    folder: Path, tmp_path: Path, listen: Callable[..., Heard]
) -> None:
    (folder / "a.txt").write_text("read")
    (folder / "latewood-data").mkdir()
    (tmp_path / "link").symlink_to(folder / "latewood-data")
    heard = listen(folder, left_out=[str(tmp_path / "link")])
    shown = listen(folder, hidden=True)
    (folder / "a.txt").read_text()
    (folder / "latewood-data" / "points").write_text("1")
    assert heard.nothing()
    (folder / ".git").mkdir()
    (folder / ".git" / "index").write_text("hidden")
    assert heard.nothing()
    shown.until(folder)
    (folder / "a.txt").write_text("changed")
    heard.until(folder)


def test_each_root_is_told_by_the_path_it_was_given_by(
    folder: Path, tmp_path: Path, listen: Callable[..., Heard]
) -> None:
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "docs2").mkdir()
    heard = listen(tmp_path / "link", tmp_path / "docs2")
    (folder / "a.txt").write_text("new")
    assert heard.listener.wait(PATIENCE) == {str(tmp_path / "link")}
    (tmp_path / "docs2" / "a.txt").write_text("new")
    assert heard.listener.wait(PATIENCE) == {str(tmp_path / "docs2")}


def test_a_folder_that_is_gone_cannot_be_listened_to(folder: Path, listen: Callable[..., Heard]) -> None:
    folder.rmdir()
    with pytest.raises(ListenError, match="No path was found"):
        listen(folder)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_subfolder_that_may_not_be_read_makes_nothing_deaf(
    folder: Path, listen: Callable[..., Heard]
) -> None:
    (folder / "closed").mkdir(mode=0)
    heard = listen(folder)
    (folder / "a.txt").write_text("new")
    heard.until(folder)


@pytest.mark.skipif(os.system("unshare -r true 2> /dev/null") != 0, reason="needs a user namespace")
def test_a_limit_of_the_system_is_said_and_not_passed_over(folder: Path) -> None:
    for number in range(20):
        (folder / str(number)).mkdir()
    code = (
        "import sys, threading\nfrom latewood.ingest.sources.listening import FolderListener\n"
        "from latewood.ingest.sources.watch import ListenError\n"
        "try:\n    FolderListener([sys.argv[1]], threading.Event())\n"
        "except ListenError as error:\n    print(error)"
    )
    limited = 'echo 5 > /proc/sys/user/max_inotify_watches && exec "$0" -c "$1" "$2"'
    command = ["unshare", "-r", "sh", "-c", limited, sys.executable, code, str(folder)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "max_user_watches" in told
    assert "limit reached" in told


@dataclass
class Followed:
    """A watch of a real folder in a thread: each ingest notes what the folder holds."""

    folder: Path
    stop: threading.Event = field(default_factory=threading.Event)
    seen: list[set[str]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        seams = Seams(
            listen=lambda folders: FolderListener(folders, self.stop),
            tell=lambda root, message: self.told.append(message),
            now=time.monotonic,
            sleep=self.stop.wait,
            stopped=self.stop.is_set,
        )
        self.watch = Watch([str(self.folder)], seams)
        self.thread = threading.Thread(target=self.watch.run, args=(self.sync,))
        self.thread.start()

    def sync(self, root: str) -> str:
        self.seen.append({path.name for path in Path(root).rglob("*") if path.is_file()})
        return ""

    def until(self, names: Set[str]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.seen or self.seen[-1] != names:
            assert time.monotonic() < deadline, f"{len(self.seen)} ingests, but not of all that is there"
            time.sleep(0.01)

    def end(self) -> None:
        self.stop.set()
        self.thread.join(PATIENCE)
        self.watch.close()
        assert not self.thread.is_alive()


@pytest.fixture
def follow() -> Iterator[Callable[[Path], Followed]]:
    made: list[Followed] = []

    def follow_folder(folder: Path) -> Followed:
        made.append(Followed(folder))
        return made[-1]

    yield follow_folder
    for one in made:
        one.end()


def test_a_thousand_files_at_once_are_a_few_ingests_and_none_is_missed(
    folder: Path, follow: Callable[[Path], Followed]
) -> None:
    followed = follow(folder)
    followed.until(set())
    names = {f"{number}.txt" for number in range(1000)}
    for name in names:
        (folder / name).write_text("one of many")
    followed.until(names)
    for name in list(names)[:500]:
        (folder / name).unlink()
    followed.until({path.name for path in folder.iterdir()})
    assert len(followed.seen) < 50


def test_a_folder_taken_away_and_brought_back_is_followed_on(
    folder: Path, tmp_path: Path, follow: Callable[[Path], Followed]
) -> None:
    (folder / "a.txt").write_text("there")
    followed = follow(folder)
    followed.until({"a.txt"})
    folder.rename(tmp_path / "away")
    deadline = time.monotonic() + PATIENCE
    while not followed.told:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    ingests = len(followed.seen)
    (tmp_path / "away" / "b.txt").write_text("written while it was away")
    (tmp_path / "away").rename(folder)
    followed.until({"a.txt", "b.txt"})
    (folder / "c.txt").write_text("heard again")
    followed.until({"a.txt", "b.txt", "c.txt"})
    assert followed.told[1:] == ["is there again"]
    assert set() not in followed.seen[ingests:]


def test_a_folder_that_was_removed_and_made_again_is_another(folder: Path, tmp_path: Path) -> None:
    before = identify(str(folder))
    (tmp_path / "holds the inode").mkdir()
    shutil.rmtree(folder)
    assert identify(str(folder)) is None
    folder.symlink_to(tmp_path / "holds the inode")
    assert identify(str(folder)) not in {before, None}
