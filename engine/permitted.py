"""Which dtypes may serve: int8 only once `latewood parity` has shown that this model ranks as well in it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latewood.embedder.types import EmbedderError
from latewood.engine.settings import Settings
from latewood.search.stores.generations import layout

FILE = "parity.json"
FORMAT = 1
MEASURED_FIRST = frozenset({"int8"})
"""Dtypes that must have been measured."""


class NotMeasuredError(EmbedderError):
    """A dtype that nobody has shown to rank as well; the message says by which command it is shown."""


def require(settings: Settings, fingerprint: Mapping[str, str]) -> None:
    """Refuse a dtype that has not been measured for the model of this fingerprint.

    Raises:
        NotMeasuredError: there is no record of it, or the record cannot be read.
    """
    dtype = settings.dtype
    if dtype not in MEASURED_FIRST or _key(dtype, fingerprint) in _read(settings.data):
        return
    raise NotMeasuredError(
        f"DTYPE {dtype} has not been shown to rank as well as float32 with {fingerprint['model']} and these "
        f"prompts: `latewood parity DATASET --dtype {dtype}` measures it on a judged set (`samples` is one "
        "that ships) and permits it if it does; or use DTYPE auto"
    )


def reranker_dtype(settings: Settings) -> str:
    """A cross-encoder's dtype: int8 is measured for models that embed only."""
    return "auto" if settings.dtype in MEASURED_FIRST else settings.dtype


def permit(data: Path, dtype: str, fingerprint: Mapping[str, str], report: Mapping[str, Any]) -> Path:
    """Note beside the data that a model may serve in a dtype, with the report that shows it.

    Returns:
        The file.

    Raises:
        NotMeasuredError: the file that is there cannot be read.
        OSError: it cannot be written.
    """
    data.mkdir(parents=True, exist_ok=True)
    at = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    kept = _read(data) | {_key(dtype, fingerprint): {**report, "at": at}}
    path = data / FILE
    layout.write_file(path, json.dumps({"format": FORMAT, "permitted": kept}, indent=1) + "\n")
    return path


def _key(dtype: str, fingerprint: Mapping[str, str]) -> str:
    """A dtype and all that vectors depend on besides it."""
    return json.dumps([dtype, dict(fingerprint)], sort_keys=True)


def _read(data: Path) -> dict[str, Any]:
    path = data / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] > FORMAT:
            raise NotMeasuredError(
                f"{path} has format {content['format']}; this program reads up to {FORMAT}; "
                "use a newer latewood"
            )
        return dict(content["permitted"])
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise NotMeasuredError(
            f"{path} cannot be read ({error!r}): remove it and measure again with `latewood parity`"
        ) from error
