"""Estimate of the time that an ingest still needs."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_SHARE = 0.01
LEAST_SECONDS = 2.0
_SETTLES_IN = 60.0
"""Seconds in which a higher estimate replaces a lower one: a pause must not make the time left jump."""


@dataclass(slots=True)
class Pace:
    """The time left, from the part of the work that is done. It falls at once and climbs slowly."""

    _at: float = 0.0
    _left: float | None = None

    def left(self, seconds: float, share: float) -> float | None:
        """Return the seconds left; None while too little is done to tell.

        Args:
            seconds: since the work began.
            share: part of the work that is done, from 0 to 1.
        """
        if share < LEAST_SHARE or seconds < LEAST_SECONDS:
            return None
        measured = seconds * (1 - share) / share
        if self._left is not None:
            passed = max(seconds - self._at, 0.0)
            expected = max(self._left - passed, 0.0)
            if measured > expected:
                measured = expected + (measured - expected) * min(passed / _SETTLES_IN, 1.0)
        self._at, self._left = seconds, measured
        return round(measured, 1)
