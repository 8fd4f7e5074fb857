"""What can be varied when an index is built and asked: one value, with a name that says what differs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from latewood.search.fusion import DEFAULT_K, SHIPPED, Fusion
from latewood.search.request import MODES
from latewood.search.types import QueryError

INDEX_TIME = ("context", "chunk_tokens", "dimensions", "k1", "b", "language")
"""Fields that are written into an index: another value needs another index."""


class ConfigurationError(ValueError):
    """A configuration that cannot be; the message names the field, its value and what is allowed."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """One way to build and ask an index. None: as the model or the index has it by itself.

    Attributes:
        mode: `hybrid`, `dense` or `bm25`.
        method, k, weights, foreign: how legs are fused, as `search.fusion.Fusion`; weights as (leg, weight)
            in the order of the legs' names. Without a method, what ships fills in what is not given.
        context: 0 each passage alone, 1 late chunking.
        chunk_tokens: tokens of a passage at most.
        dimensions: size of the vectors.
        k1, b: BM25's: how fast repeated words stop counting, how much long passages are held back.
        language: of the analyser.

    Raises:
        ConfigurationError: a value out of its range.
    """

    mode: str = "hybrid"
    method: str = ""
    k: float = DEFAULT_K
    weights: tuple[tuple[str, float], ...] = ()
    foreign: float | None = None
    context: float | None = None
    chunk_tokens: int | None = None
    dimensions: int | None = None
    k1: float | None = None
    b: float | None = None
    language: str | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigurationError(f"mode {self.mode!r} is not known; one of: {', '.join(MODES)}")
        self._fill()
        unknown = [leg for leg, _ in self.weights if leg not in MODES["hybrid"]]
        if unknown:
            raise ConfigurationError(
                f"weights name the leg {unknown[0]!r}; one of: {', '.join(MODES['hybrid'])}"
            )
        try:
            self.fusion  # noqa: B018 - it checks what it is made of
        except QueryError as error:
            raise ConfigurationError(str(error)) from error
        object.__setattr__(self, "weights", tuple(sorted(dict(self.weights).items())))
        _check_range("context", self.context, 0, 1)
        _check_range("chunk_tokens", self.chunk_tokens, 16, 4096)
        _check_range("dimensions", self.dimensions, 1, math.inf)
        _check_range("k1", self.k1, 0, math.inf)
        _check_range("b", self.b, 0, 1)

    def _fill(self) -> None:
        shipped = not self.method
        if shipped:
            object.__setattr__(self, "method", SHIPPED.method)
            object.__setattr__(self, "weights", self.weights or tuple(SHIPPED.weights.items()))
        if self.foreign is None:
            object.__setattr__(self, "foreign", SHIPPED.foreign if shipped else 1.0)

    @property
    def fusion(self) -> Fusion:
        """What the query walk fuses by."""
        return Fusion(self.method, self.k, dict(self.weights), 1.0 if self.foreign is None else self.foreign)

    @property
    def index_time(self) -> dict[str, Any]:
        """The fields that are written into an index."""
        return {name: getattr(self, name) for name in INDEX_TIME}

    @property
    def essential(self) -> Configuration:
        """The same without what does not matter to it: fusion to one leg, `context` to BM25, `k1` to dense.

        Two configurations with the same essence give the same results.
        """
        dense, bm25 = (leg in MODES[self.mode] for leg in ("dense", "bm25"))
        fused = dense and bm25
        return replace(
            self,
            method=self.method if fused else "",
            k=self.k if fused and self.method == "rrf" else DEFAULT_K,
            weights=self.weights if fused else (),
            foreign=self.foreign if fused else None,
            context=self.context if dense else None,
            dimensions=self.dimensions if dense else None,
            k1=self.k1 if bm25 else None,
            b=self.b if bm25 else None,
            language=self.language if bm25 else None,
        )

    @property
    def label(self) -> str:
        """Short, for tables: the mode and what differs from the defaults, e.g. `hybrid convex dense=0.7`."""
        plain, default = self.essential, Configuration()
        words = [plain.mode]
        if plain.mode == "hybrid":
            words.append(plain.method)
            words += [f"{leg}={weight:g}" for leg, weight in plain.weights]
            words += [f"foreign={plain.foreign:g}"] if plain.foreign != 1 else []
        for name in ("k", *INDEX_TIME):
            value = getattr(plain, name)
            if value != getattr(default, name):
                words.append(f"{name}={value:g}" if isinstance(value, (int, float)) else f"{name}={value}")
        return " ".join(words)

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` gives the configuration back."""
        return {**asdict(self), "weights": dict(self.weights)}

    @property
    def key(self) -> str:
        """One line that is the same for configurations that are equal, here and in another process."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))


def from_json(value: Mapping[str, Any]) -> Configuration:
    """A configuration from the plain values of `to_json`; absent fields are the defaults.

    Raises:
        ConfigurationError: an unknown field, or a value that is not allowed.
    """
    known = [field.name for field in fields(Configuration)]
    unknown = sorted(value.keys() - set(known))
    if unknown:
        raise ConfigurationError(f"unknown field {', '.join(unknown)}; known: {', '.join(known)}")
    weights = value.get("weights", {})
    if not isinstance(weights, Mapping):
        raise ConfigurationError(f"weights is {weights!r}; it must be an object of leg and weight")
    try:
        return Configuration(**{**value, "weights": tuple(weights.items())})
    except TypeError as error:  # a text where a number belongs
        raise ConfigurationError(f"a field has the wrong type: {error}") from error


def _check_range(name: str, value: float | None, least: float, most: float) -> None:
    if value is not None and not (math.isfinite(value) and least <= value <= most):
        limit = f"from {least:g} to {most:g}" if math.isfinite(most) else f"at least {least:g}"
        raise ConfigurationError(f"{name} is {value}; it must be {limit}")
