"""Whether a judge says the same when the answers trade places; and an interval for a share."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import Column, flat, lengths, owners

Z95 = 1.959964


class Orders:
    """Counts of what judges did with the order of two answers, over any number of shards.

    `taken[judge, what]`: verdicts for the answer shown "first" or "second", or "tie".
    `agreed[judge, same]`: comparisons asked in both orders whose verdicts all agree, or not.
    """

    def __init__(self) -> None:
        self.taken: Counter[tuple[str, str]] = Counter()
        self.agreed: Counter[tuple[str, bool]] = Counter()

    def add(self, judgments: Column) -> None:
        """Count one shard's `judgments`; those without a score or an order say nothing."""
        order, score = flat(judgments, "order"), flat(judgments, "score")
        table = pa.table(
            {
                "row": owners(lengths(judgments)), "judge": flat(judgments, "judge"),
                "a": flat(judgments, "a"), "b": flat(judgments, "b"),
                "ab": pc.equal(order, "ab"), "score": score,
            }
        ).filter(pc.and_(order.is_valid(), score.is_valid()))  # fmt: skip
        if not len(table):
            return
        score = table["score"].to_numpy()
        first = np.where(table["ab"].to_numpy(), score, -score)
        for name, sign in (("first", first > 0), ("second", first < 0), ("tie", first == 0)):
            for judge, n in _tally(table["judge"], sign).items():
                self.taken[judge, name] += n
        both = table.group_by(["row", "judge", "a", "b"]).aggregate(
            [("score", "min"), ("score", "max"), ("ab", "count_distinct")]
        )
        both = both.filter(pc.equal(both["ab_count_distinct"], 2))
        same = pc.equal(pc.sign(both["score_min"]), pc.sign(both["score_max"])).to_numpy()
        for value in (True, False):
            for judge, n in _tally(both["judge"], same == value).items():
                self.agreed[judge, value] += n


def wilson(share: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Return Wilson's interval of a share seen in `n` > 0 trials (95 % by default)."""
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return middle - half, middle + half


def leaning(yes: int, no: int) -> dict[str, Any] | None:
    """Return {n, share, low, high}: the share of `yes` with Wilson's 95 % interval, or None."""
    n = yes + no
    if not n:
        return None
    low, high = wilson(yes / n, n)
    return {"n": n, "share": yes / n, "low": low, "high": high}


def _tally(judges: pa.ChunkedArray, mask: npt.NDArray[np.bool_]) -> Counter[str]:
    return Counter(judges.filter(pa.array(mask)).to_pylist())
