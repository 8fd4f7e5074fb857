"""The commands: what they print, with which exit code they leave, and what bad input gets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from latewood.api.cli import common
from latewood.api.cli.common import Deletion, follow_ingest
from latewood.api.cli.main import app
from latewood.client.client import Client, JobState, LatewoodError, UnreachableError
from latewood.engine.library import Service

KNOWN = {
    "added",
    "updated",
    "unchanged",
    "deleted",
    "skipped",
    "failed",
    "documents",
    "chunks",
    "tokens",
    "seconds",
    "dry_run",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    root.mkdir()
    (root / "ferry.txt").write_text("The ferry leaves the harbour at seven and carries forty cars.")
    (root / "seals.txt").write_text("Seals rest on the skerries, far from any harbour.")
    return root


@pytest.fixture
def run(
    tmp_path: Path, fast_folder: Path, open_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Run a command with a stand-in model on data of its own; checks the exit code, gives the JSON."""
    word_service = type(open_service())
    monkeypatch.setattr(Service, "embedder", word_service.embedder)
    monkeypatch.setenv("LATEWOOD_DATA", str(fast_folder / tmp_path.name / "data"))
    monkeypatch.setenv("LATEWOOD_CHUNK_TOKENS", "24")
    monkeypatch.chdir(tmp_path)

    def command(*args: str | Path, code: int = 0, plain: bool = False) -> Any:
        line = [str(arg) for arg in args] + ([] if plain else ["--json"])
        done: Result = CliRunner().invoke(app, line)
        assert done.exit_code == code, done.output + done.stderr
        return done.stdout if plain else json.loads(done.stdout)

    return command


def test_a_folder_is_ingested_found_listed_shown_and_deleted(run: Callable[..., Any], folder: Path) -> None:
    report = run("ingest", folder)
    assert set(report) == KNOWN
    assert (report["added"], report["documents"], report["failed"]) == (2, 2, [])
    found = run("search", "when does the ferry leave", "--limit", "1", "--explain")
    assert found["results"][0]["uri"] == (folder / "ferry.txt").as_uri()
    assert set(found["results"][0]["explain"]["legs"]) == {"dense", "bm25"}
    listed = run("list")["documents"]
    assert {document["title"] for document in listed} == {"ferry", "seals"}
    assert set(listed[0]) == {"id", "uri", "title", "chunks", "version", "metadata"}
    key = found["results"][0]["document_id"]
    assert run("show", key)["text"] == (folder / "ferry.txt").read_text()
    assert run("delete", key) == {"deleted": 1}
    assert run("search", "ferry", "--mode", "bm25")["results"] == []
    assert run("status")["documents"] == 1


def test_people_get_sentences_and_programs_get_one_object(run: Callable[..., Any], folder: Path) -> None:
    assert "2 added" in run("ingest", folder, plain=True)
    shown = run("search", "ferry harbour", "--explain", plain=True)
    assert "1. ferry" in shown
    assert "dense: rank" in shown
    assert str(folder / "ferry.txt") in shown
    assert "2 documents" in run("list", plain=True)
    assert "2 documents" in run("status", plain=True)


def test_fusion_weights_and_least_scores_are_those_of_the_question(
    run: Callable[..., Any], folder: Path
) -> None:
    run("ingest", folder)
    asked = ("search", "when does the ferry leave", "--explain")
    shipped = run(*asked)["fusion"]
    assert shipped == {"method": "convex", "weights": {"dense": 0.4, "bm25": 0.6}, "foreign": False}
    found = run(*asked, "--fusion", "rrf", "--weights", "bm25=3")["fusion"]
    assert found == {"method": "rrf", "k": 60, "weights": {"dense": 1, "bm25": 3}, "foreign": False}
    assert run(*asked, "--weights", "dense=0.2, bm25=0.8")["fusion"]["weights"] == {"dense": 0.2, "bm25": 0.8}
    high = run(*asked, "--min-score", "dense=1.1")["results"]
    assert all(set(one["explain"]["legs"]) == {"bm25"} for one in high)
    assert "fused by convex: dense 0.4, bm25 0.6\n" in run(*asked, plain=True)
    assert "fusion" not in run("search", "ferry")
    assert "must be legs and numbers such as" in run(*asked, "--weights", "0.4", code=2)["error"]["message"]
    assert "names the leg 'sparse'" in run(*asked, "--min-score", "sparse=1", code=2)["error"]["message"]
    assert run(*asked, "--fusion", "sum", code=2)["error"]["code"] == "invalid_request"


def test_filters_narrow_the_search(run: Callable[..., Any], folder: Path) -> None:
    run("ingest", folder)
    only = '{"type":"eq","key":"title","value":"seals"}'
    assert [found["title"] for found in run("search", "harbour", "--filter", only)["results"]] == ["seals"]
    nothing = '{"type":"eq","key":"nowhere","value":"x"}'
    assert run("search", "harbour", "--filter", nothing)["results"] == []
    grouped = run("search", "harbour", "--group-by", "document")["results"]
    assert len({found["document_id"] for found in grouped}) == len(grouped) > 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["search", ""], "query"),
        (["search", "   "], "query"),
        (["search", "x" * 8193], "8192"),
        (["search", "x", "--limit", "0"], "limit"),
        (["search", "x", "--limit", "-1"], "limit"),
        (["search", "x", "--limit", "1000000"], "1000"),
        (["search", "x", "--mode", "psychic"], "hybrid"),
        (["search", "x", "--group-by", "title"], "document"),
        (["search", "x", "--filter", "{nonsense"], "not JSON"),
        (["search", "x", "--filter", '{"type":"near","key":"a","value":1}'], "near"),
        (["search", "x", "--filter", '{"type":"eq","key":"a","value":1,"boost":2}'], "boost"),
    ],
)
def test_a_wrong_question_is_refused_with_value_limit_and_remedy(
    run: Callable[..., Any], folder: Path, args: list[str], words: str
) -> None:
    run("ingest", folder)
    assert words in run(*args, code=2)["error"]["message"]


@pytest.mark.parametrize("command", [["search", "x"], ["list"], ["status"], ["show", "x"], ["delete", "x"]])
def test_asking_data_that_is_not_there_exits_3_and_creates_nothing(
    run: Callable[..., Any], command: list[str]
) -> None:
    data = Path(os.environ["LATEWOOD_DATA"])
    assert "latewood ingest" in run(*command, code=3)["error"]["message"]
    assert not data.exists()


def test_asking_a_collection_that_is_not_there_exits_3(run: Callable[..., Any], folder: Path) -> None:
    run("ingest", folder)
    for name, code in (("other", 3), ("Not A Name", 2)):
        assert name in run("search", "x", "--collection", name, code=code)["error"]["message"]
    assert run("status")["collection"] == "default"


def test_an_unknown_document_is_named_and_exits_1(run: Callable[..., Any], folder: Path) -> None:
    run("ingest", folder)
    key = "00000000-0000-4000-8000-000000000000"
    assert key in run("show", key, code=1)["error"]["message"]
    assert run("delete", key, code=1) == {"deleted": 0}


def test_a_missing_folder_exits_3_and_makes_no_collection(run: Callable[..., Any], tmp_path: Path) -> None:
    answer = run("ingest", tmp_path / "nowhere", code=3)
    assert answer["error"]["code"] == "source_missing"
    assert run("status", code=3)["error"]["code"] == "data_not_found"  # nobody was asked


def test_a_missing_folder_is_named_without_waiting_for_the_owner(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*_: object) -> None:
        raise AssertionError("the owner was asked")

    monkeypatch.setattr("latewood.api.cli.common.with_owner", ask)
    error = run("ingest", tmp_path / "nowhere", code=3)["error"]
    assert error["code"] == "source_missing"
    assert "nowhere" in error["message"]


def test_all_sources_are_queued_before_the_first_is_followed(
    run: Callable[..., Any], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "single.txt").write_text("A file may be a source of its own.")
    queued: list[int] = []
    follow = common.follow_job

    def count(client: Client, job_id: str, title: str) -> Any:
        queued.append(len(client.jobs()))
        return follow(client, job_id, title)

    monkeypatch.setattr(common, "follow_job", count)
    assert run("ingest", folder, tmp_path / "single.txt")["added"] == 3
    assert queued == [2, 2]


def test_a_dry_run_before_there_is_data_makes_nothing_and_says_what_it_is(
    run: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    report = run("ingest", folder, "--dry-run")
    assert (report["added"], report["dry_run"]) == (2, True)
    assert run("status", code=3)["error"]["code"] == "data_not_found"
    assert "dry run, nothing was changed" in run("ingest", folder, "--dry-run", plain=True)
    assert run("ingest", folder)["dry_run"] is False
    run("ingest", folder, "--dry-run")
    assert "dry run of " in run("jobs", plain=True)
    assert [job["dry_run"] for job in run("jobs")["jobs"]] == [True, False]


def test_a_source_that_is_missing_does_not_stop_the_others(
    run: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "single.txt").write_text("A file may be a source of its own.")
    report = run("ingest", folder, tmp_path / "nowhere", tmp_path / "single.txt", code=1)
    assert (report["added"], report["documents"]) == (3, 3)
    [failed] = report["failed"]
    assert set(failed) == {"uri", "code", "message"}
    assert (failed["uri"], failed["code"]) == ((tmp_path / "nowhere").as_uri(), "source_missing")
    assert "nowhere" in run("ingest", folder, tmp_path / "nowhere", plain=True, code=1)


def test_sources_of_which_none_can_be_ingested_are_all_named(run: Callable[..., Any], tmp_path: Path) -> None:
    error = run("ingest", tmp_path / "nowhere", tmp_path / "never", code=3)["error"]
    assert error["code"] == "source_missing"
    assert "nowhere" in error["message"]
    assert "never" in error["message"]


class Breaking(Client):
    """An owner's client: each deletion takes its next turn, a word says how the answer is."""

    def __init__(self, *turns: str) -> None:
        super().__init__()
        self._turns = list(turns)

    def delete(self, document_id: str, collection: str = "default") -> None:
        turn = self._turns.pop(0)
        if turn == "breaks":
            raise UnreachableError("no answer")
        if turn != "deleted":
            raise LatewoodError(404 if turn == "document_not_found" else 503, turn, turn)


def test_a_deletion_that_goes_on_with_the_next_owner_knows_what_it_deleted_itself() -> None:
    deletion = Deletion(["a", "b", "c", "d"], "default")
    first = Breaking("deleted", "document_not_found", "breaks")
    with first, pytest.raises(UnreachableError):
        deletion(first)
    with Breaking("document_not_found", "document_not_found") as second:
        deletion(second)
    assert deletion.gone == {"a": True, "b": False, "c": True, "d": False}


def test_a_deletion_that_was_refused_is_not_taken_for_done() -> None:
    deletion = Deletion(["a", "a"], "default")
    with Breaking("owner_closing", "document_not_found") as owner:
        with pytest.raises(LatewoodError):
            deletion(owner)
        deletion(owner)
    assert deletion.gone == {"a": False}


@pytest.mark.parametrize("error", [UnreachableError("gone"), LatewoodError(404, "job_not_found", "gone")])
def test_ctrl_c_stays_ctrl_c_when_the_owner_is_gone(error: Exception) -> None:
    class Interrupted(Client):
        def call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
            if path.endswith("/cancel"):
                raise error
            return {"id": "1"}

        def follow(self, job_id: str) -> Iterator[JobState]:
            raise KeyboardInterrupt

    with Interrupted() as client, pytest.raises(KeyboardInterrupt):
        follow_ingest(client, {"source": "file:///tmp"})


def shell(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `latewood …` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "latewood.api.cli.main", *args],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=240,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["search", "x", "--fast"], "--fast"),
        (["search"], "query"),
        (["search", "x", "--limit", "many"], "--limit"),
        (["serach", "x"], "serach"),
    ],
)
def test_wrong_use_is_one_object_for_programs_and_a_hint_for_people(args: list[str], words: str) -> None:
    done = shell(*args, "--json")
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "wrong_use"
    assert words in error["message"]
    plain = shell(*args)
    assert (plain.returncode, plain.stdout) == (2, "")
    assert "Usage:" in plain.stderr
    assert words in plain.stderr


def test_json_as_a_question_is_not_the_option(tmp_path: Path) -> None:
    done = shell("search", "--data", str(tmp_path / "no"), "--nonsense", "--", "--json")
    assert (done.returncode, done.stdout) == (2, "")


def test_letters_that_the_terminal_lacks_break_nothing(tmp_path: Path) -> None:
    data = tmp_path / "Bücher"
    done = shell("status", "--data", str(data), "--json", PYTHONIOENCODING="ascii")
    assert done.returncode == 3, done.stderr
    assert str(data) in json.loads(done.stdout)["error"]["message"]
    for encoding, shown in (("ascii", "B?cher"), ("utf-8", "Bücher")):
        done = shell("status", "--data", str(data), PYTHONIOENCODING=encoding)
        assert done.returncode == 3
        assert shown in done.stderr
    done = shell("doctor", "--data", str(data), PYTHONIOENCODING="ascii")
    assert "Traceback" not in done.stderr
    assert "B?cher" in done.stdout


def test_an_empty_folder_is_done_with_nothing_in_it(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    report = run("ingest", tmp_path / "empty")
    assert (report["added"], report["documents"]) == (0, 0)


def test_a_folder_that_became_empty_needs_a_word(run: Callable[..., Any], folder: Path) -> None:
    run("ingest", folder)
    for file in folder.iterdir():
        file.unlink()
    assert run("ingest", folder, code=1)["error"]["code"] == "source_empty"
    assert run("status")["documents"] == 2
    assert run("ingest", folder, "--allow-empty")["deleted"] == 2


def test_bad_files_are_named_with_a_code_and_the_rest_is_ingested(
    run: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    (folder / "broken.txt").write_bytes(os.urandom(4000))
    (folder / "nothing.txt").write_text("")
    (folder / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "circle").symlink_to(folder)
    report = run("ingest", folder, code=1)
    assert report["added"] == 2
    assert {item["code"] for item in report["failed"]} == {"not_text", "symlink_loop"}
    assert {item["code"] for item in report["skipped"]} == {
        "empty_file",
        "unsupported_kind",
        "symlink_directory",
    }
    assert all(set(item) == {"uri", "code"} for item in report["skipped"])
    assert all(set(item) == {"uri", "code", "message"} for item in report["failed"])


def test_patterns_choose_what_is_ingested(run: Callable[..., Any], folder: Path) -> None:
    (folder / ".hidden.txt").write_text("Nobody reads this.")
    assert run("ingest", folder, "--exclude", "s*", "--hidden")["added"] == 2
    total = run("ingest", folder, "--include", "*.txt", "--include", "*.md")
    assert (total["added"], total["deleted"], total["documents"]) == (1, 1, 2)
    for pattern in ("./ferry.txt", "caf\udce9"):
        refused = run("ingest", folder, "--exclude", pattern, code=2)
        assert refused["error"]["code"] == "wrong_use"
        assert "exclude pattern" in refused["error"]["message"]


def test_ingesting_the_folder_one_stands_in_leaves_the_index_itself_out(
    run: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("LATEWOOD_DATA")
    assert run("ingest", ".")["documents"] == 2
    assert (folder / "latewood-data").is_dir()
    again = run("ingest", ".")
    assert (again["unchanged"], again["added"], again["skipped"], again["failed"]) == (2, 0, [], [])


def test_several_sources_add_up(run: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    (tmp_path / "single.txt").write_text("A file may be a source of its own.")
    report = run("ingest", folder, tmp_path / "single.txt")
    assert (report["added"], report["documents"]) == (3, 3)


def test_a_dry_run_makes_nothing_and_needs_data_to_compare_with(
    run: Callable[..., Any], folder: Path
) -> None:
    run("ingest", folder, "--collection", "one")
    report = run("ingest", folder, "--collection", "two", "--dry-run")
    assert (report["added"], report["documents"]) == (2, 0)
    assert run("status", "--collection", "two", code=3)["error"]["code"] == "collection_not_found"


def test_tenants_and_collections_do_not_see_each_other(run: Callable[..., Any], folder: Path) -> None:
    run("ingest", folder, "--tenant", "north", "--collection", "a")
    alone = run("search", "ferry", "--mode", "bm25", "--tenant", "north", "--collection", "a")["results"]
    (folder / "more.txt").write_text("Ferry, ferry, ferry: another tenant's papers speak of nothing else.")
    run("ingest", folder, "--tenant", "south", "--collection", "a")
    run("ingest", folder, "--tenant", "north", "--collection", "b")
    again = run("search", "ferry", "--mode", "bm25", "--tenant", "north", "--collection", "a")["results"]
    assert again == alone
    ids = {document["id"] for document in run("list", "--tenant", "south", "--collection", "a")["documents"]}
    assert ids.isdisjoint(
        document["id"] for document in run("list", "--tenant", "north", "--collection", "a")["documents"]
    )


def test_an_unknown_option_or_setting_is_refused(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CliRunner().invoke(app, ["search", "x", "--fast"]).exit_code == 2
    monkeypatch.setenv("LATEWOOD_COLOUR", "green")
    message = run("status", code=2)["error"]["message"]
    assert "LATEWOOD_COLOUR" in message
    assert "LATEWOOD_DATA" in message


def test_an_index_made_with_another_model_is_refused_with_both_names(
    run: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("ingest", folder)
    monkeypatch.setattr(
        "latewood.engine.collection.fingerprint", lambda embedder, analyzer: {"model": "phrases"}
    )
    answer = run("search", "ferry", code=3)
    assert answer["error"]["code"] == "model_mismatch"
    assert "'words'" in answer["error"]["message"]
    assert "'phrases'" in answer["error"]["message"]
    assert run("search", "ferry", "--mode", "bm25")["results"]


def test_serve_refuses_an_address_that_others_can_reach(run: Callable[..., Any]) -> None:
    answer = run("serve", "--host", "0.0.0.0", "--port", "0", code=2)
    assert "keys" in answer["error"]["message"]


def test_doctor_names_every_setting_and_where_it_came_from(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATEWOOD_CHUNK_TOKENS", "200")
    monkeypatch.setenv("LATEWOOD_MODEL", "nobody/has-this")
    found = run("doctor", code=1)
    settings = {setting["name"]: setting for setting in found["settings"]}
    assert settings["CHUNK_TOKENS"] == {
        "name": "CHUNK_TOKENS",
        "value": "200",
        "origin": "LATEWOOD_CHUNK_TOKENS",
    }
    assert settings["PORT"]["origin"] == "default"
    findings = {finding["check"]: finding for finding in found["findings"]}
    assert findings["model"]["status"] == "error"
    assert "nobody/has-this" in findings["model"]["message"]
    assert {"data", "disk", "formats", "port"} <= set(findings)


def test_doctor_compares_jinas_weights_with_their_published_states(
    run: Callable[..., Any], jina_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = {finding["check"]: finding for finding in run("doctor")["findings"]}
    assert findings["golden"]["status"] == "ok"
    assert "not compared" in findings["golden"]["message"]
    monkeypatch.setenv("LATEWOOD_MODEL", str(jina_folder))
    findings = {finding["check"]: finding for finding in run("doctor", code=1)["findings"]}
    assert findings["model"]["status"] == "ok"
    assert findings["golden"]["status"] == "error"
    assert "published states for tokens, base, retrieval.query" in findings["golden"]["message"]
