"""What a report shows, as numbers: one pass over the columns that are there.

Everything here is counts, histograms and a few samples, so its size does not grow with the
run. Whatever a run does not have (scores, judgments, embeddings) is left out, never zero.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import flat, lengths, owners, starts_of
from curate.methods.order import Orders, leaning
from curate.report.duels import Duels
from curate.store import Store
from curate.work import Shard, view


def _mean(values: npt.NDArray[Any]) -> float:
    """Return the mean; 0 where what is left of values on both sides of 0 is rounding alone."""
    mean = float(values.mean(dtype=np.float64))
    return mean if abs(mean) > 1e-6 * float(np.abs(values).max()) else 0.0


@dataclass
class Spread:
    """All values of one quantity, kept as float32 until a histogram is asked for."""

    chunks: list[npt.NDArray[np.float32]] = field(default_factory=list)

    def add(self, values: pa.Array | npt.NDArray[Any]) -> None:
        """Add values; null and NaN are left out."""
        if isinstance(values, pa.Array):
            values = values.drop_null().to_numpy(zero_copy_only=False)
        values = np.asarray(values, dtype=np.float32)
        self.chunks.append(values[np.isfinite(values)])

    def histogram(self, bins: int = 30) -> dict[str, Any] | None:
        """Return {n, mean, median, low, high, bars: [[from, to, count]]}, or None for no value.

        The outer 0.5 % on either side are gathered in the outermost bars.
        """
        values = np.concatenate(self.chunks) if self.chunks else np.zeros(0, np.float32)
        if not len(values):
            return None
        low, high = (float(x) for x in np.quantile(values, [0.005, 0.995]))
        if low == high:
            low, high = low - 0.5, high + 0.5
        counts, edges = np.histogram(np.clip(values, low, high), bins=bins, range=(low, high))
        bars = zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
        return {
            "n": len(values),
            "mean": _mean(values),
            "median": float(np.median(values)),
            "bars": [list(bar) for bar in bars if bar[2]],
        }


@dataclass
class Marks:
    """How many scores a judge gave to single answers, their sum and that of their squares."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def summary(self) -> dict[str, Any] | None:
        """Return {n, mean, deviation}, the deviation that of the population; None for no score."""
        if not self.n:
            return None
        mean = self.total / self.n
        deviation = max(self.squares / self.n - mean**2, 0.0) ** 0.5
        return {"n": self.n, "mean": mean, "deviation": deviation}


@dataclass
class Figures:
    """What is gathered over the shards of a run; `summary` turns it into plain data."""

    spreads: dict[str, Spread] = field(default_factory=lambda: defaultdict(Spread))
    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    marks: dict[str, Marks] = field(default_factory=lambda: defaultdict(Marks))
    duels: Duels = field(default_factory=Duels)
    orders: Orders = field(default_factory=Orders)
    longer: Counter[str] = field(default_factory=Counter)
    endings: Counter[str | None] = field(default_factory=Counter)  # of usable answers

    def add(self, table: dict[str, pa.Array]) -> None:
        """Gather one shard's live rows."""
        if "candidates" in table:
            usable = flat(table["candidates"], "drop").is_null()
            reasons = flat(table["candidates"], "finish_reason").filter(usable)
            for row in pc.value_counts(reasons).to_pylist():
                self.endings[row["values"]] += row["counts"]
        if "scores" in table:
            self.spreads["score"].add(flat(table["scores"]))
        if "judgments" in table:
            self._judgments(table["judgments"])
        if "pairs" in table and "candidates" in table:
            self._pairs(table["pairs"], table["candidates"])

    def summary(self) -> dict[str, Any]:
        """Return histograms, judges, models, the length leaning and cut answers as plain data."""
        known = sum(n for reason, n in self.endings.items() if reason is not None)
        shown = {name: spread.histogram() for name, spread in sorted(self.spreads.items())}
        return {
            "spreads": {name: found for name, found in shown.items() if found is not None},
            "judges": self._judge_rows(),
            "models": self.duels.rows(),
            "longer": leaning(self.longer["chosen"], self.longer["rejected"]),
            "cut": leaning(self.endings["length"], known - self.endings["length"]),
        }

    def _judgments(self, judgments: pa.Array) -> None:
        judge, status = flat(judgments, "judge"), flat(judgments, "status")
        pairs = pa.table({"judge": judge, "status": status}).group_by(["judge", "status"])
        for row in pairs.aggregate([([], "count_all")]).to_pylist():
            self.statuses[row["judge"], row["status"]] += row["count_all"]
        self.orders.add(judgments)
        score = pc.cast(flat(judgments, "score"), pa.float64())
        marks = pa.table({"judge": judge, "score": score, "square": pc.multiply(score, score)})
        single = pc.and_(pc.equal(status, "ok"), flat(judgments, "b").is_null())
        sums = [("score", "count"), ("score", "sum"), ("square", "sum")]
        for row in marks.filter(single).group_by("judge").aggregate(sums).to_pylist():
            if row["score_count"]:
                held = self.marks[row["judge"]]
                held.n += row["score_count"]
                held.total += row["score_sum"]
                held.squares += row["square_sum"]

    def _pairs(self, pairs: pa.Array, candidates: pa.Array) -> None:
        live = flat(pairs, "drop").is_null()
        for name in ("margin", "p_correct", "weight"):
            self.spreads[name].add(flat(pairs, name).filter(live))
        counts = lengths(candidates)
        start = starts_of(counts)[owners(lengths(pairs))]
        keep = np.asarray(live.to_numpy(zero_copy_only=False), dtype=bool)
        texts, models = flat(candidates, "text"), flat(candidates, "model")
        side = {}
        for name in ("chosen", "rejected"):
            where = pa.array((start + flat(pairs, name).to_numpy(zero_copy_only=False))[keep])
            size = pc.fill_null(pc.utf8_length(texts.take(where)), 0)
            side[name] = (size.to_numpy(zero_copy_only=False), models.take(where))
            self.spreads[f"{name} length"].add(size)
        difference = side["chosen"][0].astype(np.int64) - side["rejected"][0]
        self.spreads["chosen minus rejected length"].add(difference)
        self.longer["chosen"] += int((difference > 0).sum())
        self.longer["rejected"] += int((difference < 0).sum())
        self.duels.add(side["chosen"][1], side["rejected"][1], difference)

    def _judge_rows(self) -> list[dict[str, Any]]:
        rows = []
        for judge in sorted({name for name, _ in self.statuses}):
            total = sum(n for (name, _), n in self.statuses.items() if name == judge)
            found = {s: n for (name, s), n in sorted(self.statuses.items()) if name == judge}
            taken, agreed = self.orders.taken, self.orders.agreed
            rows.append(
                {
                    "judge": judge,
                    "judgments": total,
                    "statuses": found,
                    "marks": self.marks[judge].summary(),
                    "first": leaning(taken[judge, "first"], taken[judge, "second"]),
                    "consistent": leaning(agreed[judge, True], agreed[judge, False]),
                }
            )
        return rows


def columns_of(shards: Sequence[Shard], wanted: Sequence[str]) -> list[str]:
    """Return which of the wanted columns every shard has."""
    return [name for name in wanted if all(name in shard.columns for shard in shards)]


def tables(
    store: Store, shards: Sequence[Shard], wanted: Sequence[str]
) -> Iterator[dict[str, pa.Array]]:
    """Yield each shard's live rows with the wanted columns that are there."""
    names = columns_of(shards, wanted)
    for shard in shards:
        yield view(store, shard, names)
