from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from latewood.ingest.parsing.sandbox import process
from latewood.ingest.parsing.sandbox.pool import ParserPool
from latewood.ingest.parsing.sandbox.protocol import ParsedFile, Unchanged
from latewood.ingest.types import ParseError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def own_pool():
    with ParserPool(1) as pool:
        yield pool


@pytest.fixture
def note(tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("a short note")
    return path


def only_child(pool: ParserPool) -> psutil.Process:
    (child,) = pool._children
    return psutil.Process(child._process.pid)


def failing(pool: ParserPool, path: Path, **arguments) -> ParseError:
    with pytest.raises(ParseError) as caught:
        pool.parse(str(path), **arguments)
    return caught.value


def test_a_parsed_file_comes_with_its_hash_and_stamp(own_pool, note):
    result = own_pool.parse(str(note))
    assert isinstance(result, ParsedFile)
    assert result.parsed.text == "a short note"
    assert result.content_hash == hashlib.sha256(note.read_bytes()).hexdigest()
    status = note.stat()
    stamp = result.stamp
    assert (stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode) == (
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
    )


def test_a_file_with_the_known_hash_is_not_parsed(own_pool, note):
    first = own_pool.parse(str(note))
    again = own_pool.parse(str(note), first.content_hash)
    assert isinstance(again, Unchanged)
    assert again.content_hash == first.content_hash
    assert again.stamp.same_file_state(first.stamp)


def test_children_start_when_needed_and_are_used_again(note):
    with ParserPool(2) as pool:
        assert not pool._children
        pool.parse(str(note))
        pid = only_child(pool).pid
        pool.parse(str(note))
        assert only_child(pool).pid == pid


def test_a_child_is_replaced_after_its_number_of_files(own_pool, note, monkeypatch):
    monkeypatch.setattr(process, "_FILES_PER_CHILD", 2)
    own_pool.parse(str(note))
    first = only_child(own_pool).pid
    own_pool.parse(str(note))
    own_pool.parse(str(note))
    assert only_child(own_pool).pid != first


def test_a_child_past_its_deadline_is_killed_and_the_next_file_is_read(note):
    with ParserPool(1, deadline_s=8) as pool:
        pool.parse(str(note))
        child = only_child(pool)
        child.suspend()
        error = failing(pool, note)
        assert (error.code, error.transient) == ("timeout", True)
        assert "8 s" in error.message
        assert not child.is_running()
        assert pool.parse(str(note)).parsed.text == "a short note"


def test_a_child_killed_half_way_gives_a_clear_error_and_the_next_file_is_read(own_pool, note):
    own_pool.parse(str(note))
    child = only_child(own_pool)
    child.suspend()
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(own_pool.parse, str(note))
        while not next(iter(own_pool._children))._busy:
            time.sleep(0.01)
        child.kill()
        error = answer.exception()
    assert isinstance(error, ParseError)
    assert (error.code, error.transient) == ("crashed", True)
    assert "killed from outside" in error.message
    assert own_pool.parse(str(note)).parsed.text == "a short note"


def test_a_child_that_died_idle_is_replaced_without_a_word(own_pool, note):
    own_pool.parse(str(note))
    child = only_child(own_pool)
    child.kill()
    child.wait()
    assert own_pool.parse(str(note)).parsed.text == "a short note"


def test_a_child_that_crashes_names_the_signal(own_pool, note):
    own_pool.parse(str(note))
    child = only_child(own_pool)
    child.suspend()
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(own_pool.parse, str(note))
        while not next(iter(own_pool._children))._busy:
            time.sleep(0.01)
        child.send_signal(signal.SIGSEGV)
        child.resume()
        error = answer.exception()
    assert isinstance(error, ParseError)
    assert (error.code, error.transient) == ("crashed", False)
    assert "SIGSEGV" in error.message


def test_a_file_that_needs_too_much_memory_fails_and_the_next_is_read(tmp_path, note):
    huge = tmp_path / "huge.txt"
    huge.touch()
    os.truncate(huge, 480_000_000)
    with ParserPool(1, memory_bytes=768 * 1024**2) as pool:
        assert failing(pool, huge).code == "out_of_memory"
        assert pool.parse(str(note)).parsed.text == "a short note"


def test_what_a_used_child_has_no_memory_for_is_tried_in_a_fresh_one(own_pool, note, monkeypatch):
    own_pool.parse(str(note))
    first = only_child(own_pool)
    ask = process.Child.ask

    def short_of_memory(child, request, deadline_s):
        if child.used:
            raise ParseError("out_of_memory", "left-overs of other files")
        return ask(child, request, deadline_s)

    monkeypatch.setattr(process.Child, "ask", short_of_memory)
    assert own_pool.parse(str(note)).parsed.text == "a short note"
    assert only_child(own_pool).pid != first.pid


def test_a_request_too_long_for_the_pipe_meets_its_deadline(note):
    with ParserPool(1, deadline_s=8) as pool:
        pool.parse(str(note))
        only_child(pool).suspend()
        assert failing(pool, note, name="x" * 1_000_000 + ".txt").code == "timeout"
        assert pool.parse(str(note), name="x" * 1_000_000 + ".txt").parsed.text == "a short note"


def test_a_file_over_the_limit_is_named_with_the_limit(note):
    with ParserPool(1, max_file_bytes=11) as pool:
        error = failing(pool, note)
    assert error.code == "too_large"
    assert "12 bytes" in error.message
    assert "11" in error.message


def test_a_text_file_of_fifty_megabytes_is_parsed_within_the_deadline(own_pool, tmp_path, whole):
    path = tmp_path / "large.txt"
    paragraph = "Latewood is the dense wood that a tree grows late in the season. " * 8 + "\n\n"
    path.write_text(paragraph * (50_000_000 // len(paragraph)))
    parsed = whole(own_pool.parse(str(path)).parsed)
    assert parsed.text == path.read_text()


def test_an_upload_kept_under_another_name_is_read_by_its_own(own_pool, tmp_path):
    path = tmp_path / "tmp4f9a"
    path.write_text("a,b\n1,2\n")
    parsed = own_pool.parse(str(path), None, "table.csv").parsed
    assert (parsed.kind, parsed.title, parsed.text) == ("csv", "table", "a | b\n1 | 2")


@pytest.mark.parametrize(
    "name", [b"with space.txt", "\U0001f332 \u00e9.txt".encode(), b"\xff\xfe.txt", b"a\nb.txt"]
)
def test_a_file_may_have_any_name(name, own_pool, tmp_path, whole):
    path = os.fsencode(tmp_path) + b"/" + name
    with open(path, "wb") as file:  # noqa: PTH123 -- a path of bytes
        file.write(b"found")
    assert whole(own_pool.parse(path).parsed).text == "found"
    assert own_pool.parse(os.fsdecode(path)).parsed.text == "found"


def test_many_threads_share_a_few_children(tmp_path):
    paths = [tmp_path / f"{number}.txt" for number in range(40)]
    for number, path in enumerate(paths):
        path.write_text(f"number {number}")
    with ParserPool(2) as pool:
        with ThreadPoolExecutor(8) as threads:
            texts = list(threads.map(lambda path: pool.parse(str(path)).parsed.text, paths))
        assert len(pool._children) <= 2
    assert texts == [f"number {number}" for number in range(40)]


def test_a_child_outlives_the_thread_that_asked_for_it(own_pool, note):
    thread = threading.Thread(target=own_pool.parse, args=(str(note),))
    thread.start()
    thread.join()
    pid = only_child(own_pool).pid
    own_pool.parse(str(note))
    assert only_child(own_pool).pid == pid


def test_closing_ends_children_and_calls_in_flight(note):
    pool = ParserPool(1)
    pool.parse(str(note))
    child = only_child(pool)
    child.suspend()
    with ThreadPoolExecutor(2) as threads:
        answers = [threads.submit(pool.parse, str(note)) for _ in range(2)]
        while not next(iter(pool._children))._busy:
            time.sleep(0.01)
        pool.close()
        errors = [answer.exception() for answer in answers]
    assert [error.code for error in errors if isinstance(error, ParseError)] == ["closed", "closed"]
    assert not child.is_running()
    pool.close()
    assert failing(pool, note).code == "closed"


def test_a_child_does_not_outlive_its_parent_even_while_busy(note):
    script = (
        "import os, signal, sys\n"
        "from latewood.ingest.parsing.sandbox.pool import ParserPool\n"
        "pool = ParserPool(1)\n"
        "pool.parse(sys.argv[1])\n"
        "pid = next(iter(pool._children))._process.pid\n"
        "os.kill(pid, signal.SIGSTOP)\n"
        "os.write(1, str(pid).encode())\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(note)], cwd=ROOT, capture_output=True, check=False, timeout=240
    )
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    deadline = time.monotonic() + 60
    while _lives(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _lives(pid)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_module_in_the_working_folder_is_not_imported(tmp_path):
    (tmp_path / "csv.py").write_text("raise SystemExit('imported from the folder being ingested')")
    (tmp_path / "data.csv").write_text("a,b\n1,2\n")
    script = (
        "import os, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from latewood.ingest.parsing.sandbox.pool import ParserPool\n"
        "os.chdir(sys.argv[1])\n"
        "with ParserPool(1) as pool:\n"
        "    os.write(1, pool.parse('data.csv').parsed.text.encode())\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, str(tmp_path)], capture_output=True, check=False, timeout=240
    )
    assert done.stdout == b"a | b\n1 | 2", done.stderr


@pytest.mark.parametrize("bad", [{"workers": 0}, {"workers": 1, "deadline_s": 0}])
def test_limits_must_be_positive(bad):
    with pytest.raises(ValueError, match="must all be positive"):
        ParserPool(**bad)
