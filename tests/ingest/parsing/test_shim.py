"""unstructured's tokenizer is replaced under an internal name: these fail when it moves or grows."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from latewood.ingest.parsing.formats import unstructured_stub

ROOT = Path(__file__).parents[3]


def package() -> Path:
    found = importlib.util.find_spec("unstructured")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def test_the_replaced_module_is_where_it_was():
    assert (package() / "nlp" / "tokenize.py").is_file()


def test_the_stand_in_has_every_name_that_is_imported_from_it():
    wanted = {
        alias.name
        for path in (package() / "partition").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == unstructured_stub.MODULE
        for alias in node.names
    }
    assert {"pos_tag", "sent_tokenize", "word_tokenize"} == wanted


def test_unstructured_uses_the_stand_in_and_loads_no_spacy():
    script = (
        "import sys\n"
        "from latewood.ingest.parsing.formats import unstructured_stub as shim\n"
        "shim.install()\n"
        "shim.install()\n"
        "from unstructured.partition import docx, pptx, text_type\n"
        "assert text_type.sent_tokenize is shim.sent_tokenize\n"
        "assert text_type.pos_tag is shim.pos_tag\n"
        "assert not {'spacy', 'torch'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr.decode()


def test_installing_too_late_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, unstructured_stub.MODULE, sys)
    with pytest.raises(RuntimeError, match="before its stand-in"):
        unstructured_stub.install()


def test_sentences_and_words_are_told_apart():
    assert unstructured_stub.sent_tokenize("One ends. Two ends! 第三句。第四句") == [
        "One ends.",
        "Two ends!",
        "第三句。",
        "第四句",
    ]
    assert unstructured_stub.word_tokenize("It's 3 m.") == ["It", "'", "s", "3", "m", "."]
    assert unstructured_stub.pos_tag("Trees are growing") == [
        ("Trees", "NN"),
        ("are", "VB"),
        ("growing", "VB"),
    ]
