"""Every measurement by its name, and how large it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench import compared, conversion, intake, latency, link, memory, query, retrieval, start, written
from tests.bench.report import Table


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes
    ----------
    runs : int
        Of which the median is printed.
    few : int
        Runs of what takes long and varies little: memory is no matter of chance.
    slices : int
        Of a small series.
    long : int
        Slices of a long series.
    small : int
        Slices of a series of small ones.
    counts : tuple of int
        Slices of series that grow.
    instances : int
        Of a large index.
    queries : int
        Of each kind.
    load : float
        Seconds that peers are loaded for queries.
    """

    runs: int = 5
    few: int = 3
    slices: int = 140
    long: int = 700
    small: int = 1000
    counts: tuple[int, ...] = (100, 1000, 2000)
    instances: int = 1_000_000
    queries: int = 200
    load: float = 30


QUICK = Size(runs=1, few=1, slices=40, long=60, small=100, counts=(50, 200), instances=20_000, queries=20, load=3)

MEASUREMENTS: dict[str, Callable[[Path, Size], list[Table]]] = {
    "intake": lambda work, size: intake.measure(work, size.runs, size.slices),
    "conversion": lambda work, size: conversion.measure(work, size.runs, size.slices),
    "growth": lambda work, size: conversion.growth(work, size.few, size.counts),
    "inside": lambda work, size: conversion.inside(work, size.few, max(size.counts)),
    "compared": lambda work, size: compared.measure(work, size.runs, size.slices),
    "query": lambda work, size: query.measure(work, size.instances, size.queries, size.load),
    "retrieval": lambda work, size: retrieval.measure(work, size.runs, size.slices),
    "latency": lambda work, size: latency.measure(work, size.runs, size.long),
    "link": lambda work, size: link.measure(work, size.runs, size.long),
    "start": lambda work, size: start.measure(work, size.runs, size.instances),
    "written": lambda work, size: written.measure(work, size.runs, size.slices, size.small),
    "memory": lambda work, size: memory.measure(work, 1, size.counts),
    "at-once": lambda work, size: memory.at_once(work, size.few, max(size.counts)),
}
