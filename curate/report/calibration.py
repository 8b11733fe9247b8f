"""p_correct held against the people whose answers the run has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curate.arrays import Floats, flat
from curate.errors import ConfigError
from curate.evaluation.calibration import brier, calibration_error, chance_error, reliability
from curate.methods.evidence import VERDICTS, comparisons, truth_of, voters_of, votes
from curate.methods.judgments import floats
from curate.methods.order import wilson

FEWEST = 30  # pairs; with fewer a curve is chance
COLUMNS = ("candidates", "pairs", "judgments", "meta")


class Calibration:
    """Gathers, over the shards, each live pair's p_correct and whether people agree with it."""

    def __init__(self, people: Sequence[str]) -> None:
        self._people = people
        self._p: list[Floats] = []
        self._right: list[Floats] = []

    def add(self, columns: Mapping[str, pa.Array]) -> None:
        """Look at one shard's live rows."""
        if not self._people or not {"candidates", "pairs"} <= columns.keys():
            return
        table = pa.table({name: columns[name] for name in COLUMNS if name in columns})
        pairs = comparisons(table)
        p = floats(flat(table["pairs"], "p_correct"))
        try:
            voters = voters_of(table, self._people)
            said = votes(table, pairs, voters, VERDICTS)
        except ConfigError:  # none of them said anything of these rows
            return
        human = truth_of([said[name].value for name in voters], "majority")
        known = ~np.isnan(human) & ~np.isnan(p) & np.asarray(flat(table["pairs"], "drop").is_null())
        self._p.append(p[known])
        self._right.append((human[known] > 0).astype(np.float64))

    def summary(self) -> dict[str, Any] | None:
        """Return {people, n, bins: [{low, high, n, predicted, observed, from, to}], ece,
        ece_by_chance, brier}; {people, n} for fewer than 30 pairs; None where nobody was asked.

        A tie counts against the label. `from` and `to` bound 95 % of a bin's observed share.
        """
        if not self._people:
            return None
        p, right = (np.concatenate([np.zeros(0), *held]) for held in (self._p, self._right))
        found: dict[str, Any] = {"people": list(self._people), "n": len(p)}
        if len(p) < FEWEST:
            return found
        curve = zip(*(v.tolist() for v in reliability(p, right)), strict=True)
        bins = [
            {"low": low, "high": high, "n": int(n), "predicted": said, "observed": was}
            | dict(zip(("from", "to"), wilson(was, n), strict=True))
            for low, high, n, said, was in curve
        ]
        errors = {"ece": calibration_error(p, right), "ece_by_chance": chance_error(p)}
        return found | {"bins": bins, "brier": brier(p, right)} | errors


def people_of(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return who the run's stages take for people: judges, or columns of the source.

    The `labels` of `calibrate`, or else the judges that `people` reads.
    """
    labels = [name for s in stages if s.get("kind") == "calibrate" for name in s.get("labels", ())]
    read = [str(s.get("name", "people")) for s in stages if s.get("kind") == "people"]
    return list(dict.fromkeys(labels or read))
