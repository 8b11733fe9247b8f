"""What an export form is, and what most forms read of a row's pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from curate.export.pairs import Indexes, UsablePairs, element, take, usable_pairs
from curate.schema import COLUMNS

PAIRS_VERSION = 2
"""Raised when other pairs come to be usable, which changes the records of every form of pairs."""

NO_PROMPT = "export: prompt empty or incomplete"
NO_PAIR = "export: no pair left"
NO_CANDIDATE = "export: no candidate left"
NO_PROMPTS = "export: no other prompt, or no candidate left"
NO_GOALS = "export: no pair left whose goals differ"
NO_RANKING = "export: fewer than two different scored candidates left"
NO_SCORE = "export: no scored candidate left"
NO_STEPS = "export: no labelled step left"
NO_REFERENCE = "export: no reference answer"


class Records(NamedTuple):
    """A form's output: its records, and for each the input row it came from (ascending)."""

    table: pa.Table
    rows: Indexes


@dataclass(frozen=True)
class Form:
    """One output shape. `needs` are the columns it cannot do without."""

    description: str
    needs: tuple[str, ...]
    reason: str
    """Why a row with a good prompt yields no record."""
    build: Callable[[pa.Table], Records]
    llama_factory: Mapping[str, Any] | None = None
    """What LLaMA-Factory must be told of these records, where it is who reads them."""
    whole_margins: bool = False
    """Whether its trainer stops at a null `margin`, see `survey`."""
    only_whole: tuple[str, ...] = ()
    """Columns that its trainer stops at a null in, and can do without; see `survey`."""
    version: int = 1
    """Raised when the same rows come to give other records, so that a run exports them anew."""
    numbered: Callable[[pa.Table, pa.Array, pa.Array], pa.Table] | None = None
    """Puts each record's split and its number there, from 0, where the trainer looks for them."""
    read_by: tuple[str, ...] = ()
    """Trainers and their versions whose own loaders the tests have had read these records."""

    def columns(self) -> list[str]:
        """Return the columns that its records have whatever else the rows hold."""
        needed = pa.schema([(name, COLUMNS[name]) for name in self.needs])
        return list(self.build(needed.empty_table()).table.column_names)


class Sides(NamedTuple):
    """The usable pairs of a table with their prompts and both texts, in source order."""

    pairs: UsablePairs
    prompt: pa.Array
    chosen: pa.Array
    rejected: pa.Array


def sides(table: pa.Table) -> Sides:
    """Return the usable pairs and their texts."""
    live = usable_pairs(table)
    texts = [element(table["candidates"], live.rows, k, "text") for k in live[2:]]
    return Sides(live, take(table["prompt"], live.rows), *texts)


def of_pair(table: pa.Table, live: UsablePairs, name: str) -> pa.Array:
    """Return a field of each usable pair."""
    return element(table["pairs"], live.rows, live.position, name)


def score(table: pa.Table, rows: Indexes, index: Indexes) -> pa.Array:
    """Return the score of candidate `index[k]` of row `rows[k]`; null where there is none."""
    if "scores" not in table.column_names:
        return pa.nulls(len(rows), pa.float32())
    return element(table["scores"], rows, index)
