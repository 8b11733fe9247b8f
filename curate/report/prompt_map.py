"""A map of the prompts before and after selection: embeddings on their two main directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.history import earlier
from curate.methods.sampling import drawn
from curate.methods.vectors import vectors_of
from curate.store import Store
from curate.work import Shard, view

_MOST = 50_000  # rows that the directions are found on, and that are shown
_CELLS = 40  # cells along each side of the map


def coverage_map(
    store: Store, shards: Sequence[Shard], column: str = "embedding"
) -> dict[str, Any] | None:
    """Return {explained, cells: [[x, y, before, after]], side, drawn, before, after}, or None.

    None without embeddings. A map has `side` cells each way; `before` and `after` count rows.

    "Before" is every row that has an embedding, kept or not; "after" those still alive. Rows
    are drawn by a hash of their ids where there are more than 50,000; the directions are the
    first two principal components of what is drawn.
    """
    before, after = [], []
    rows = sum(
        record.rows_in for shard in shards for record in shard.parts if column in record.columns
    )
    if not rows:
        return None
    share = min(1.0, _MOST / rows)
    for shard in shards:
        place = next((i for i, r in enumerate(shard.parts) if column in r.columns), None)
        if place is None:
            continue
        found = view(store, earlier(shard, place + 1), [column, "id"])
        alive = view(store, shard, ["id"])["id"]
        there = np.asarray(found[column].is_valid()) & drawn(found["id"], share)
        some = {name: values.filter(pa.array(there)) for name, values in found.items()}
        before.append(vectors_of(some[column]))
        after.append(pc.is_in(some["id"], alive).to_numpy(zero_copy_only=False))
    points, kept = np.concatenate(before), np.concatenate(after)
    if len(points) < 3:
        return None
    places, explained = projected(points)
    return {
        "explained": explained,
        "cells": cells(places, kept),
        "side": _CELLS,
        "drawn": share,
        "before": len(kept),
        "after": int(kept.sum()),
    }


def projected(points: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], float]:
    """Return the points (n, d) on their two main directions (n, 2), and how much these explain."""
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    values, directions = np.linalg.eigh(centred.T @ centred)
    main = directions[:, [-1, -2]]
    main = main * np.sign(main[np.abs(main).argmax(axis=0), [0, 1]])  # a sign that does not vary
    total = float(values.sum())
    return centred @ main, float(values[[-1, -2]].sum()) / total if total > 0 else 0.0


def cells(places: npt.NDArray[np.float64], kept: npt.NDArray[np.bool_]) -> list[list[float]]:
    """Return [x, y, rows before, rows after] of each cell of a grid that holds a place (n, 2)."""
    low, high = places.min(axis=0), places.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    at = np.minimum(((places - low) / span * _CELLS).astype(int), _CELLS - 1)
    before = np.zeros((_CELLS, _CELLS), dtype=int)
    after = np.zeros_like(before)
    np.add.at(before, (at[:, 0], at[:, 1]), 1)
    np.add.at(after, (at[kept, 0], at[kept, 1]), 1)
    return [[x, y, int(before[x, y]), int(after[x, y])] for x, y in np.argwhere(before).tolist()]
