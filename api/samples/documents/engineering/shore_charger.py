"""Decide how much current the ship may draw from the shore charger.

The grid operator sends a table of limits every night. The ship asks for a current; the shore answers
with the smallest of what the grid, the cabinet and the plug allow. Nothing here switches anything: the
contactors have a controller of their own, which does not trust this program either.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

NOMINAL_VOLTS = 1_050
ARM_LIMIT_KW = 1_800
HANDSHAKE_SECONDS = 20
MAX_CHARGE_PERCENT = 92
#: Above this the plug is worn or wet. The maker says 75; Bex says 70 and she has seen it.
PLUG_HOT_CELSIUS = 70.0
CABINET_DERATE_CELSIUS = 60.0


class HandshakeError(RuntimeError):
    """Ship and shore could not agree. The panel shows E-431."""


@dataclass(frozen=True)
class Limits:
    """What the grid allows between two moments, in kilowatts."""

    start: datetime
    end: datetime
    kilowatts: float


@dataclass(frozen=True)
class Readings:
    """What the sensors say at the moment the ship asks."""

    cabinet_celsius: float
    plug_celsius: float
    insulation_kilohm: float
    charge_percent: float


def load_limits(path: Path) -> list[Limits]:
    """Read the operator's table, oldest first. An empty table is an error, never 'no limit'."""
    rows = json.loads(path.read_text(encoding="utf-8"))["limits"]
    if not rows:
        raise HandshakeError("limit table empty: copy yesterday's file and restart")
    limits = [
        Limits(datetime.fromisoformat(r["from"]), datetime.fromisoformat(r["to"]), float(r["kw"])) for r in rows
    ]
    return sorted(limits, key=lambda limit: limit.start)


def grid_limit(limits: list[Limits], now: datetime) -> float:
    """Kilowatts the grid allows now. Outside the table we take a quarter of the arm's power."""
    for limit in limits:
        if limit.start <= now < limit.end:
            return limit.kilowatts
    return ARM_LIMIT_KW / 4


def allowed_amperes(limits: list[Limits], readings: Readings, now: datetime, departure: datetime) -> int:
    """The current to offer to the ship, in whole amperes. Zero means: do not close the contactors."""
    if readings.insulation_kilohm < 600 or readings.plug_celsius > PLUG_HOT_CELSIUS:
        return 0
    if readings.charge_percent >= MAX_CHARGE_PERCENT:
        return 0
    if departure - now <= timedelta(minutes=2):
        return 0
    kilowatts = min(grid_limit(limits, now), ARM_LIMIT_KW)
    if readings.cabinet_celsius > CABINET_DERATE_CELSIUS:
        kilowatts /= 2
    return int(kilowatts * 1_000 / NOMINAL_VOLTS)


def agree(asked: int, offered: int, waited_seconds: float) -> int:
    """The current both sides will hold to; the smaller one wins.

    Raises:
        HandshakeError: nothing was agreed within HANDSHAKE_SECONDS.
    """
    if waited_seconds > HANDSHAKE_SECONDS:
        raise HandshakeError(f"no agreement after {waited_seconds:.0f} s (limit {HANDSHAKE_SECONDS} s)")
    return min(asked, offered)
