"""What a card says about how far its labels can be trusted, from the rows as they are exported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import flat, lengths
from curate.export.pairs import usable_pairs
from curate.methods.concord import Agreement, Waiting, spread_pairs
from curate.methods.crowd import Interval, flip_rate
from curate.methods.evidence import judge_names, judge_votes
from curate.methods.judgments import floats
from curate.methods.order import Orders, wilson

MOST_COMPARED = 20_000  # rows; more hardly change how far judges agree
MOST_SHOWN = 10  # pairs of judges


class Trust:
    """Watches tables pass by: judges asked in both orders, and the pairs' own p_correct.

    What it says depends on the rows and their order alone, not on how they are cut into tables.
    """

    def __init__(self, rows: int = 0) -> None:
        """`rows` are those to come: of very many, agreement is looked at in some, by their ids."""
        self.orders, self.agreement = Orders(), Agreement()
        self.sources = Counter[str]()  # of the pairs, by what made them
        self._waiting = Waiting(min(1.0, MOST_COMPARED / max(rows, 1)))
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
            for some in self._waiting.add(table) if "candidates" in table.column_names else ():
                self._compare(some)
        if {"prompt", "candidates", "pairs"} <= set(table.column_names) and len(table):
            whole = table.select(["prompt", "candidates", "pairs"]).combine_chunks()
            live, pairs = usable_pairs(whole), whole["pairs"]
            offsets = np.concatenate([[0], np.cumsum(lengths(pairs))])
            at = offsets[live.rows] + live.position
            self._p.append(floats(flat(pairs, "p_correct"))[at])
            self.sources.update(
                {
                    row["values"] or "the source": row["counts"]
                    for row in pc.value_counts(flat(pairs, "source").take(pa.array(at))).to_pylist()
                }
            )
            self._rows.append(live.rows + self._seen)
        self._seen += len(table)

    def noise(self) -> tuple[Interval, int, int] | None:
        """Return the expected share of wrong labels, and how many pairs of how many it rests on."""
        p = np.concatenate(self._p) if self._p else np.zeros(0)
        known = int((~np.isnan(p)).sum())
        return (flip_rate(p, np.concatenate(self._rows)), known, len(p)) if known else None

    def lines(self, stages: Sequence[Mapping[str, Any]], escape: Any) -> list[str]:
        """Return one line of Markdown for each thing that is known, or that is not."""
        judges = [*self._judges(escape), *self._agreed(escape)]
        return [*judges, self._noise(), *_contamination(stages, escape)]

    def _compare(self, table: pa.Table) -> None:
        names = judge_names(table)
        if len(names) > 1:
            votes = judge_votes(table, spread_pairs(lengths(table["candidates"])), names)
            self.agreement.add({name: np.sign(votes[name].value) for name in names})

    def _agreed(self, escape: Any) -> list[str]:
        """Return how far every two judges agree, the least first; of very many the extremes."""
        for some in self._waiting.rest():
            self._compare(some)
        rows = [row for row in self.agreement.rows() if row["kappa"] is not None]
        rows.sort(key=lambda row: (row["kappa"], row["judges"]))
        lines = [
            "- The judges " + " and ".join(map(escape, row["judges"])) + f" say the same in "
            f"{row['same']:.1%} of {row['n']:,} comparisons (Cohen's kappa "
            f"{round(row['kappa'], 2) + 0.0:.2f})."
            for row in rows
        ]
        if len(lines) > MOST_SHOWN:
            more = f"- And {len(lines) - MOST_SHOWN} more pairs of judges, in between."
            lines = [*lines[: MOST_SHOWN - 1], more, lines[-1]]
        return lines or ["- No two judges can be compared, so how far judges agree is not known."]

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
