"""Where the models lie that were given as a folder: an index knows a model by its name, a folder has none."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from latewood.embedder.models.sources import Source
from latewood.search.stores.generations import layout

logger = logging.getLogger(__name__)
_FILE = "models.json"


def absolute(model: str, source: Source) -> str:
    """A model's name as it is, a folder as a path that means the same to a process that stands elsewhere."""
    folder = Path(model).expanduser()
    return str(folder.resolve()) if model not in source.described and folder.is_dir() else model


def public_name(model: str) -> str:
    """Return a model's name for answers: of a folder its own name, never its path."""
    folder = Path(model).expanduser()
    return folder.resolve().name if folder.is_dir() or model.startswith(("/", "~", ".")) else model


def note(data: Path, model: str, fingerprint: Mapping[str, str]) -> None:
    """Remember, before an index is made with it, the folder that a model was given by; a name needs no note.

    Args:
        data: the data directory.
        model: what it was loaded by, as `absolute` gives it.
        fingerprint: the index's; its `weights` tell models of one name apart.
    """
    weights = fingerprint.get("weights")
    known = _read(data)
    if weights is not None and Path(model).is_absolute() and known.get(weights) != model:
        data.mkdir(parents=True, exist_ok=True)
        layout.write_file(data / _FILE, json.dumps({**known, weights: model}, indent=1) + "\n")


def model_of(data: Path, fingerprint: Mapping[str, str]) -> str:
    """What to load for an index: the folder its model was given by while that is there, else its name."""
    folder = _read(data).get(fingerprint.get("weights", ""))
    return folder if folder is not None and Path(folder).is_dir() else fingerprint.get("model", "")


def adopt(data: Path, other: Path) -> None:
    """Add the models that another data directory knows and this one does not."""
    known, more = _read(data), _read(other)
    if more.keys() - known.keys():
        layout.write_file(data / _FILE, json.dumps({**more, **known}, indent=1) + "\n")


def _read(data: Path) -> dict[str, str]:
    try:
        content = json.loads((data / _FILE).read_text(encoding="utf-8"))
        return {str(weights): str(folder) for weights, folder in content.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError) as error:  # a hint only: models are found by name without it
        logger.warning("%s cannot be read (%s); models are looked for by name", data / _FILE, error)
        return {}
