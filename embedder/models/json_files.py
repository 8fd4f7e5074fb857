"""JSON files of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latewood.embedder.types import CheckpointError


def read_json(path: Path) -> Mapping[str, Any]:
    """Return a JSON object out of a file.

    Raises:
        CheckpointError: the file is missing, or holds none.
    """
    content = read_any_json(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} does not hold a JSON object: copy it again")
    return content


def read_any_json(path: Path) -> Any:
    """Return the value in a JSON file.

    Raises:
        CheckpointError: the file is missing, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing: copy it from the model's repository into that folder"
        ) from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON ({error}): copy it again") from error
