"""What a card says about how far its labels can be trusted, from the rows as they are exported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.arrays import flat, lengths
from curate.export.pairs import usable_pairs
from curate.methods.crowd import Interval, flip_rate
from curate.methods.judgments import floats
from curate.methods.order import Orders, wilson


class Trust:
    """Watches tables pass by: judges asked in both orders, and the pairs' own p_correct.

    What it says depends on the rows and their order alone, not on how they are cut into tables.
    """

    def __init__(self) -> None:
        self.orders = Orders()
        self._p: list[npt.NDArray[np.float64]] = []
        self._rows: list[npt.NDArray[np.int64]] = []
        self._seen = 0

    def watch(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Yield the tables as they come, and look at them."""
        for table in tables:
            self.add(table)
            yield table

    def add(self, table: pa.Table) -> None:
        """Look at one table of live rows."""
        if "judgments" in table.column_names:
            self.orders.add(table["judgments"].combine_chunks())
        if {"prompt", "candidates", "pairs"} <= set(table.column_names) and len(table):
            whole = table.select(["prompt", "candidates", "pairs"]).combine_chunks()
            live, pairs = usable_pairs(whole), whole["pairs"]
            offsets = np.concatenate([[0], np.cumsum(lengths(pairs))])
            p = floats(flat(pairs, "p_correct"))
            self._p.append(p[offsets[live.rows] + live.position])
            self._rows.append(live.rows + self._seen)
        self._seen += len(table)

    def noise(self) -> tuple[Interval, int, int] | None:
        """Return the expected share of wrong labels, and how many pairs of how many it rests on."""
        p = np.concatenate(self._p) if self._p else np.zeros(0)
        known = int((~np.isnan(p)).sum())
        return (flip_rate(p, np.concatenate(self._rows)), known, len(p)) if known else None

    def lines(self, stages: Sequence[Mapping[str, Any]], escape: Any) -> list[str]:
        """Return one line of Markdown for each thing that is known, or that is not."""
        return [*self._judges(escape), self._noise(), *_contamination(stages, escape)]

    def _judges(self, escape: Any) -> list[str]:
        lines = []
        for judge in sorted({name for name, _ in self.orders.agreed}):
            same, other = (self.orders.agreed[judge, value] for value in (True, False))
            share = same / (same + other)
            low, high = wilson(share, same + other)
            lines.append(
                f"- Asked in both orders, the judge {escape(judge)} said the same "
                f"{_percent(share, low, high)} of the time ({same + other:,} comparisons)."
            )
        unasked = "- No judge was asked in both orders, so its leaning by position is not known."
        return lines or [unasked]

    def _noise(self) -> str:
        found = self.noise()
        if found is None:
            return "- No pair has a `p_correct`, so the share of wrong labels is not known."
        rate, known, pairs = found
        return (
            f"- By the pairs' own `p_correct`, {_percent(rate.estimate, rate.low, rate.high)} of "
            f"the labels are wrong ({known:,} of {pairs:,} pairs have one; 90 % bootstrap interval "
            "over prompts). That is as good as `p_correct` is calibrated."
        )


def overlaps(stage: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return {name, items, found, rows} of each benchmark that a stage of the funnel looked for."""
    if stage.get("stage") != "decontaminate":
        return []
    counts: Mapping[str, int] = stage.get("counts") or {}
    names = [name.removesuffix(": items") for name in counts if name.endswith(": items")]
    return [
        {
            "name": name,
            "items": counts[f"{name}: items"],
            "found": counts.get(f"{name}: items found", 0),
            "rows": counts.get(f"{name}: rows", 0),
        }
        for name in sorted(names)
    ]


def _contamination(stages: Sequence[Mapping[str, Any]], escape: Any) -> list[str]:
    """Return what each `decontaminate` stage looked for and found."""
    lines = [
        f"- Overlap with {escape(found['name'])} ({found['items']:,} items): {found['found']:,} "
        f"items in {found['rows']:,} rows, which were dropped."
        for stage in stages
        for found in overlaps(stage)
    ]
    return lines or ["- Overlap with benchmarks was not checked."]


def _percent(share: float, low: float, high: float) -> str:
    return f"{share:.1%} \\[{low:.1%}, {high:.1%}\\]"
