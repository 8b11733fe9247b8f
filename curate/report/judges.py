"""What judges lean to, as far as a run without human labels can say: their own answers, length,
and how far they agree with one another.

There is no truth here. What a judge prefers is held against the other judges on the very same
comparisons: an excess over them is its own, or theirs. `curate judge eval` holds it against people.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import Floats, Ints, flat, lengths
from curate.methods.concord import MOST_JUDGES, Agreement, Waiting, spread_pairs
from curate.methods.evidence import judge_names, judge_votes
from curate.methods.order import Z95, wilson
from curate.store import Store
from curate.work import Shard

MOST_ROWS = 100_000  # drawn by a hash of their ids; more hardly narrow the intervals


@dataclass
class Clustered:
    """A mean over comparisons, and its error where those of one prompt go together."""

    n: int = 0
    total: float = 0.0
    _squares: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])

    def add(self, row: Ints, values: Floats) -> None:
        """Add the values of comparisons, each with its prompt's number."""
        if not len(values):
            return
        sums, sizes = np.bincount(row, values), np.bincount(row).astype(np.float64)
        self.n += len(values)
        self.total += float(values.sum())
        for place, product in enumerate((sums * sums, sums * sizes, sizes * sizes)):
            self._squares[place] += float(product.sum())

    def variance(self) -> float:
        """Return the variance of the mean: of a ratio of sums over prompts."""
        mean = self.total / self.n
        yy, yn, nn = self._squares
        return max(yy - 2 * mean * yn + mean * mean * nn, 0.0) / self.n**2

    def share(self) -> dict[str, Any] | None:
        """Return {n, share, low, high} for values of 0 and 1, or None for no value.

        Wilson's interval for as many independent comparisons as would vary as much.
        """
        if not self.n:
            return None
        share = self.total / self.n
        spread = self.variance()
        size = min(float(self.n), max(share * (1 - share) / spread, 1.0)) if spread > 0 else self.n
        low, high = wilson(share, size)
        return {"n": self.n, "share": share, "low": low, "high": high}

    def mean(self) -> dict[str, Any] | None:
        """Return {n, value, low, high} with a normal 95 % interval, or None for no value."""
        if not self.n:
            return None
        value, half = self.total / self.n, Z95 * math.sqrt(self.variance())
        return {"n": self.n, "value": value, "low": value - half, "high": value + half}


class Leanings:
    """Gathers over the shards of a run; `models` says which model each judge is, if one."""

    def __init__(self, models: Mapping[str, str | None], share: float = 1.0) -> None:
        self.models, self._waiting = models, Waiting(share)
        self.rows = 0
        self._sides: dict[tuple[str, str, str], Clustered] = defaultdict(Clustered)
        self._agreed = Agreement()
        self._wrote: set[str | None] = set()  # who wrote answers
        self._judges: set[str] = set()

    def add(self, columns: Mapping[str, pa.Array]) -> None:
        """Gather one shard's live rows: candidates, judgments, and ids where only some count."""
        if not {"candidates", "judgments"} <= columns.keys():
            return
        wanted = ("id", "candidates", "judgments")
        for some in self._waiting.add(pa.table({n: columns[n] for n in wanted if n in columns})):
            self._look(some)

    def _look(self, table: pa.Table) -> None:
        self.rows += len(table)
        self._judges |= set(judge_names(table))
        names = sorted(self._judges)[:MOST_JUDGES]
        models = flat(table["candidates"], "model")
        self._wrote |= set(pc.unique(models).to_pylist())
        pairs = spread_pairs(lengths(table["candidates"]))
        if not len(pairs.row):
            return
        size = pc.fill_null(pc.utf8_length(flat(table["candidates"], "text")), 0)
        size = size.to_numpy(zero_copy_only=False).astype(np.int64)
        longer = np.sign(size[pairs.a] - size[pairs.b]).astype(np.float64)
        votes = judge_votes(table, pairs, names)
        signs = {name: np.sign(votes[name].value) for name in names}
        for name, sign in signs.items():
            others = self._others(name, signs)
            self._lean(name, "longer", longer, pairs.row, sign, others)
            model = self.models.get(name)
            if model:
                by = np.asarray(pc.fill_null(pc.equal(models, model), False)).astype(np.float64)
                self._lean(name, "own", by[pairs.a] - by[pairs.b], pairs.row, sign, others)
        self._agreed.add(signs)

    def summary(self, judge: str) -> dict[str, Any]:
        """Return {longer, own}: each {judge, others, excess}, or for `own` why there is none."""
        for some in self._waiting.rest():
            self._look(some)
        own = self._side(judge, "own")
        return {"longer": self._side(judge, "longer"), "own": own or self._why_not(judge)}

    def agreement(self) -> list[dict[str, Any]]:
        """Return how far every two judges agree: {judges, n, same, kappa}, where both spoke."""
        for some in self._waiting.rest():
            self._look(some)
        return self._agreed.rows()

    def _others(self, name: str, signs: Mapping[str, Floats]) -> list[Floats]:
        """Return the verdicts of the judges that are not this judge's model too."""
        mine = self.models.get(name)
        return [
            sign
            for other, sign in signs.items()
            if other != name and not (mine and self.models.get(other) == mine)
        ]

    def _lean(
        self, judge: str, what: str, side: Floats, row: Ints, sign: Floats, others: list[Floats]
    ) -> None:
        """Count how often the judge takes a side, and how often the others do where it was."""
        decided = (np.nan_to_num(sign) != 0) & (side != 0)
        mine = (sign == side).astype(np.float64)
        self._sides[judge, what, "judge"].add(row[decided], mine[decided])
        if not others:
            return
        stack = np.stack(others)
        spoke = np.nan_to_num(stack) != 0
        count = spoke.sum(axis=0)
        theirs = ((stack == side) & spoke).sum(axis=0) / np.maximum(count, 1)
        both = decided & (count > 0)
        self._sides[judge, what, "others"].add(row[both], theirs[both])
        self._sides[judge, what, "excess"].add(row[both], (mine - theirs)[both])

    def _side(self, judge: str, what: str) -> dict[str, Any] | None:
        found = self._sides.get((judge, what, "judge"), Clustered()).share()
        if found is None:
            return None
        others = self._sides.get((judge, what, "others"), Clustered()).mean()
        excess = self._sides.get((judge, what, "excess"), Clustered()).mean()
        return {"judge": found, "others": others, "excess": excess}

    def _why_not(self, judge: str) -> str:
        model = self.models.get(judge)
        if judge not in sorted(self._judges)[:MOST_JUDGES]:
            return f"not measured: only the first {MOST_JUDGES} judges are"
        if not model:
            return "not measurable: it is not known which model this judge is"
        if not self._wrote - {None}:
            return "not measurable: it is not known which models wrote the answers"
        if model not in self._wrote:
            return f"not measurable: none of the answers is by its model, {model}"
        if self._wrote == {model}:
            return f"not measurable: all answers are by its model, {model}"
        return "not measurable: it never decided between an answer of its model and another"


def judges_by_step(store: Store, shards: Sequence[Shard]) -> dict[int, list[str]]:
    """Return whose judgments each step wrote, as the first shard that has some shows it."""
    found: dict[int, list[str]] = {}
    for depth in range(min((len(shard.parts) for shard in shards), default=0)):
        for shard in shards:
            record = shard.parts[depth]
            if "judgments" not in record.columns:
                break
            names = judge_names(pa.table(store.read(record, ["judgments"])))
            if names:
                found[depth] = names
                break
    return found


def judge_models(
    store: Store, shards: Sequence[Shard], steps: Mapping[int, Sequence[str]] | None = None
) -> dict[str, str | None]:
    """Return which model each judge is: the one engine's of the step that wrote its judgments.

    None for a judge that came with the data, or whose stage asked several models. `steps` as
    `judges_by_step` returns them, where they are known already.
    """
    found: dict[str, str | None] = {}
    for depth, names in (judges_by_step(store, shards) if steps is None else steps).items():
        engines = next((s.parts[depth].engines for s in shards if s.parts[depth].engines), {})
        models = sorted({facts.get("model", "") for facts in engines.values()})
        model = models[0] or None if len(models) == 1 else None
        for name in names:
            found[name] = model if found.get(name, model) == model else None
    return found
