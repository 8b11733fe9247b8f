"""What became of the answers and pairs inside the rows: a stage can drop one and keep the row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.arrays import Ints, flat, lengths, owners
from curate.fate import alive, tally
from curate.schema import DROP, FAIL
from curate.store import Store
from curate.work import Shard

COLUMNS: Mapping[str, str] = {"candidates": "answers", "pairs": "pairs"}


@dataclass
class Step:
    """Counts of one stage, over the shards."""

    made: int = 0
    gone: int = 0  # with rows that the stage dropped
    replaced: int = 0  # by others that the stage made
    left: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    touched: bool = False


@dataclass
class _Held:
    """The elements of a column: how many each live row has, and why each is dropped, if it is."""

    counts: Ints
    reasons: pa.Array

    def live(self) -> int:
        return int(self.reasons.null_count)

    def filter(self, keep: npt.NDArray[np.bool_]) -> _Held:
        return _Held(self.counts[keep], self.reasons.filter(pa.array(keep[owners(self.counts)])))


def inside(store: Store, shards: Sequence[Shard]) -> dict[str, list[dict[str, Any]]]:
    """Return, for "answers" and "pairs", the stages that made or dropped some: {place, made,
    dropped: [(reason, n)], gone, replaced, left}.

    `place` is the stage's place in the funnel, `gone` are those that went with their rows,
    `replaced` those that gave way to others, and `left` those usable afterwards. Only stages that
    changed something are there.
    """
    found: dict[str, list[Step]] = {name: [] for name in COLUMNS.values()}
    for shard in shards:
        for column, name in COLUMNS.items():
            _fold(store, shard, column, found[name])
    return {name: _rows(steps) for name, steps in found.items()}


def _fold(store: Store, shard: Shard, column: str, steps: list[Step]) -> None:
    """Follow one column through the shard's parts, and add to the steps."""
    held: _Held | None = None
    for place, record in enumerate(shard.parts):
        while len(steps) <= place:
            steps.append(Step())
        step, lost = steps[place], record.rows_in != record.rows_out
        wanted = [column] + ([DROP, FAIL] if lost and (held or column in record.columns) else [])
        read = store.read(record, wanted)
        if column in read:
            held = _taken(step, held, read[column], column in record.appends)
        if lost and held is not None:
            kept = held.filter(np.asarray(alive(read, record.rows_in)))
            step.gone += held.live() - kept.live()
            step.touched |= kept.live() != held.live()
            held = kept
        step.left += held.live() if held is not None else 0


def _taken(step: Step, held: _Held | None, column: pa.Array, appended: bool) -> _Held:
    """Count what a new column made or dropped, and return it; one that is appended to grows."""
    now = _Held(lengths(column), flat(column, "drop"))
    if held is None or appended or not np.array_equal(held.counts, now.counts):
        step.touched |= bool(len(now.reasons)) or held is not None
        step.made += len(now.reasons)
        step.dropped.update(tally(now.reasons))
        if held is None or not appended:
            step.replaced += held.live() if held is not None else 0
            return now
        return _joined(held, now)
    newly = pa.array(np.asarray(held.reasons.is_null()) & np.asarray(now.reasons.is_valid()))
    back = int((np.asarray(held.reasons.is_valid()) & np.asarray(now.reasons.is_null())).sum())
    reasons = tally(now.reasons.filter(newly))
    step.dropped.update(reasons)
    step.made += back
    step.touched |= bool(reasons or back)
    return now


def _joined(first: _Held, second: _Held) -> _Held:
    """Put the second's elements after the first's in every row."""
    row = np.concatenate([owners(first.counts), owners(second.counts)])
    order = np.argsort(row, kind="stable")
    reasons = pa.concat_arrays([first.reasons, second.reasons]).take(pa.array(order))
    return _Held(first.counts + second.counts, reasons)


def _most(found: tuple[str, int]) -> tuple[int, str]:
    return -found[1], found[0]


def _rows(steps: Sequence[Step]) -> list[dict[str, Any]]:
    return [
        {
            "place": place,
            "made": step.made,
            "dropped": sorted(step.dropped.items(), key=_most),
            "gone": step.gone,
            "replaced": step.replaced,
            "left": step.left,
        }
        for place, step in enumerate(steps)
        if step.touched
    ]
