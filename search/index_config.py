"""How the dense leg's vectors are kept and searched: a value one can read, print and write down.

Every plan gives cosines of the vectors as they are kept: what was found by fewer numbers (a Matryoshka
prefix, arXiv 2205.13147) or by quantised ones is ranked again by the originals. A plan decides what is found,
how fast, and in how much memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

Dtype = Literal["float32", "float16"]
Quantization = Literal["none", "int8", "turbo", "binary"]
DTYPES: tuple[str, ...] = get_args(Dtype)
QUANTIZATIONS: tuple[str, ...] = get_args(Quantization)
"""None; one byte a number; TurboQuant (arXiv 2504.19874), four bits; one bit."""

HNSW, FLAT = "hnsw", "flat"
ARROW = "→"


@dataclass(frozen=True, slots=True)
class DensePlan:
    """How an index keeps its dense vectors and how they are asked.

    Two plans are equal when an index built by one is an index built by the other: `oversampling` and `ef` are
    of the asking and do not count.

    Attributes:
        stages: sizes of vectors, smallest first, that are searched one after the other: the first finds, each
            later one ranks what was found. Empty: only the largest.
        graph: whether an HNSW graph (arXiv 1603.09320) leads to the nearest vectors of the first stage;
            without one every vector is compared.
        dtype: of the vectors as they are kept, `float32` or `float16`.
        quantization: of the vectors of the first stage, beside the originals: one of `QUANTIZATIONS`.
        on_disk: leave the originals on disk until they are wanted, instead of reading them into memory.
        m: edges of a point in the graph.
        ef_construct: candidates looked at as a point is linked.
        oversampling: how many times more than asked for are found by quantised vectors, or by a stage before
            the last, to be ranked again.
        ef: candidates that are kept in mind on the way through the graph, at least; as many as are asked for
            always are.

    Raises:
        ValueError: a value that is not allowed, with those that are.
    """

    stages: tuple[int, ...] = ()
    graph: bool = True
    dtype: str = "float32"
    quantization: str = "none"
    on_disk: bool = False
    m: int = 16
    ef_construct: int = 100
    oversampling: float = field(default=3.0, compare=False)
    ef: int = field(default=100, compare=False)

    def __post_init__(self) -> None:
        if list(self.stages) != sorted(set(self.stages)) or any(size < 1 for size in self.stages):
            raise ValueError(f"stages {_joined(self.stages)} must grow, as in 256{ARROW}1024")
        _check_one_of("dtype", self.dtype, DTYPES)
        _check_one_of("quantization", self.quantization, QUANTIZATIONS)
        _check_range("m", self.m, 2, 512)
        _check_range("ef_construct", self.ef_construct, 4, 4096)
        _check_range("oversampling", self.oversampling, 1, 100)
        _check_range("ef", self.ef, 1, 10_000)

    @property
    def name(self) -> str:
        """`hnsw`, `flat` or the stages, as in `256→1024`."""
        if len(self.stages) > 1:
            return _joined(self.stages) + ("" if self.graph else " flat")
        return HNSW if self.graph else FLAT

    def sizes(self, dimensions: Sequence[int]) -> tuple[int, ...]:
        """The sizes that are searched, in order: one or more, ending with the largest of `dimensions`.

        Raises:
            ValueError: a stage is not one of the stored sizes, or the last one is not the largest.
        """
        if not self.stages:
            return (max(dimensions),)
        lacking = [size for size in self.stages if size not in dimensions]
        if lacking or self.stages[-1] != max(dimensions):
            raise ValueError(
                f"the plan {_joined(self.stages)} does not fit vectors of {', '.join(map(str, dimensions))}: "
                "its stages must be among them and end with the largest"
            )
        return self.stages

    def __str__(self) -> str:
        parts = [self.name]
        if self.graph:
            parts[0] += f" (m {self.m}, ef_construct {self.ef_construct}, ef {self.ef})"
        if self.quantization != "none":
            parts.append(f"{self.quantization} quantised, {self.oversampling:g} times oversampled, rescored")
        elif len(self.stages) > 1:
            parts.append(f"{self.oversampling:g} times oversampled")
        parts.append(f"{self.dtype} {'on disk' if self.on_disk else 'in memory'}")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class IndexConfig:
    """What an index was made with; kept beside it, held against what opens it.

    Attributes:
        dimensions: stored Matryoshka sizes, largest first; one named vector each.
        fingerprint: model, revision, adapters, prompts, pooling, analyser: must agree, or the
            open is refused.
        plan: how the vectors are kept and searched; another one is for the next generation.
        apart: whether numbers and dates of metadata lie in payload fields of their own, as in all that is
            made now: see `search.stores.ranged`.

    Raises:
        ValueError: sizes out of order, or a plan that does not fit them.
    """

    dimensions: tuple[int, ...]
    fingerprint: Mapping[str, str]
    plan: DensePlan = field(default_factory=DensePlan)
    apart: bool = field(default=True, repr=False)  # names on a server are made of the rest

    def __post_init__(self) -> None:
        sizes = list(self.dimensions)
        if not sizes or sizes != sorted(set(sizes), reverse=True) or sizes[-1] < 1:
            raise ValueError(f"dimensions {sizes} must be one or more, the largest first, none twice")
        self.plan.sizes(self.dimensions)

    def same_vectors(self, other: IndexConfig) -> bool:
        """Whether both hold the same vectors, kept and searched as they may be."""
        return (self.dimensions, self.fingerprint) == (other.dimensions, other.fingerprint)

    def asked_by(self, plan: DensePlan | None) -> IndexConfig:
        """The same index, asked as this plan asks: kept and searched as it was built."""
        if plan is None:
            return self
        return replace(self, plan=replace(self.plan, oversampling=plan.oversampling, ef=plan.ef))


def plan_shape(plan: DensePlan) -> dict[str, Any]:
    """A plan for JSON."""
    return {**asdict(plan), "stages": list(plan.stages)}


def plan_from(shape: Mapping[str, Any]) -> DensePlan:
    """The plan that `plan_shape` wrote.

    Raises:
        TypeError: a name that no plan has.
        ValueError: a value that is not allowed.
    """
    return DensePlan(**{**shape, "stages": tuple(shape.get("stages", ()))})


def read_stages(text: str) -> tuple[int, ...]:
    """`256-1024` (or with an arrow) as sizes.

    Raises:
        ValueError: it is nothing of the kind.
    """
    parts = text.replace(ARROW, "-").split("-")
    if len(parts) < 2 or not all(part.strip().isdecimal() for part in parts):
        raise ValueError(f"{text!r:.60} is no plan; use {HNSW}, {FLAT}, or sizes that grow, as in 256-1024")
    return DensePlan(stages=tuple(int(part) for part in parts)).stages


def check_plan(text: str) -> str:
    """Let through what can be a plan's name.

    Raises:
        ValueError: it cannot.
    """
    if text not in (HNSW, FLAT):
        read_stages(text)
    return text


def _joined(stages: Sequence[int]) -> str:
    return ARROW.join(map(str, stages))


def _check_one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r:.60}; it must be one of {', '.join(allowed)}")


def _check_range(name: str, value: float, least: float, most: float) -> None:
    if not (math.isfinite(value) and least <= value <= most):
        raise ValueError(f"{name} is {value}; it must be from {least} to {most}")
