"""What judges say about pairs, as tables of spans of rows that are put together.

A table has a column for each judge that says something in its span; put together it has one for
each that says something anywhere, in the order of the names.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from curate.arrays import Floats, Ints, one_chunk, starts_of
from curate.methods.judgments import Judgments, kinds_of, of_one_kind
from curate.stages.reduced import Values


def kept_tables(judgments: Judgments | None, **tables: Floats) -> dict[str, Values]:
    """Return tables (pairs, judges) with the judges' names and kinds, as `Reduced.reduced` may.

    None: there are no judges.
    """
    judges = () if judgments is None else judgments.judges
    found: dict[str, Values] = {
        "judges": pa.array(judges, pa.string()),
        "kinds": np.zeros(0, dtype=np.int64) if judgments is None else kinds_of(judgments),
        "judges of span": np.array([len(judges)]),
    }
    for name, table in tables.items():
        found |= {name: table.ravel(), f"{name} of span": np.array([len(table)])}
    return found


def kept_calls(judgments: Judgments, voters: Judgments, judge: Ints) -> dict[str, Values]:
    """Return who made some calls (n, codes of `voters`), with all judges' names and kinds.

    `voters` are the judgments with the judges, or their samples or aspects, as those who vote.
    """
    used, code = np.unique(judge, return_inverse=True)
    return {
        **kept_tables(judgments),
        "voters": pa.array([voters.judges[k] for k in used.tolist()], pa.string()),
        "voters of span": np.array([len(used)]),
        "judge": code,
        "judge of span": np.array([len(judge)]),
    }


def calls_in(found: Mapping[str, Values]) -> tuple[tuple[str, ...], Ints]:
    """Return the names of all who made calls, sorted, and those of all calls as codes (n).

    Raises StageError as `judges_in`.
    """
    judges_in(found)
    names = one_chunk(found["voters"]).to_pylist()
    voters = tuple(sorted(set(names)))
    place = {name: k for k, name in enumerate(voters)}
    of = np.array([place[name] for name in names], dtype=np.int64)
    widths, sizes = np.asarray(found["voters of span"]), np.asarray(found["judge of span"])
    return voters, of[np.repeat(starts_of(widths), sizes) + np.asarray(found["judge"])]


def judges_in(found: Mapping[str, Values]) -> tuple[str, ...]:
    """Return the names of all judges, sorted.

    Raises StageError where one gives unlike things in two spans, as `of_view` does in one.
    """
    names, kinds = one_chunk(found["judges"]).to_pylist(), np.asarray(found["kinds"])
    judges = tuple(sorted(set(names)))
    of = np.array([judges.index(name) for name in names], dtype=np.int64)
    every = np.zeros(len(judges), dtype=np.int64)
    np.bitwise_or.at(every, of, kinds)
    of_one_kind(judges, every)
    return judges


def table_in(found: Mapping[str, Values], name: str) -> Floats:
    """Return a table of all pairs (pairs, judges), NaN where a judge does not say."""
    judges, names = judges_in(found), one_chunk(found["judges"]).to_pylist()
    values = np.asarray(found[name])
    widths, sizes = np.asarray(found["judges of span"]), np.asarray(found[f"{name} of span"])
    table = np.full((int(sizes.sum()), len(judges)), np.nan)
    row = at = first = 0
    for width, size in zip(widths.tolist(), sizes.tolist(), strict=True):
        columns = [judges.index(judge) for judge in names[first : first + width]]
        table[row : row + size, columns] = values[at : at + width * size].reshape(size, width)
        row, at, first = row + size, at + width * size, first + width
    return table
