"""Circles among the pairs and among the verdicts of a prompt."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from curate.audit.circles import pair_circles, verdict_circles
from curate.schema import CANDIDATES, JUDGMENTS


def test_circles_among_pairs_and_verdicts():
    prompt = np.array([0, 0, 0, 1, 1, 1, 2])
    chosen, rejected = np.array([1, 2, 3, 1, 2, 1, 1]), np.array([2, 3, 1, 2, 3, 3, 2])
    found = pair_circles(prompt, chosen, rejected)
    assert found == {"prompts": 2, "with_circle": 1, "triples": 1}
    made = [{"text": t, "drop": None} for t in "abc"]
    verdicts = [
        {"judge": "j", "a": a, "b": b, "order": "ab", "score": 1.0, "status": "ok"}
        for a, b in ((0, 1), (1, 2), (2, 0))
    ]
    table = pa.table(
        {"candidates": pa.array([made], CANDIDATES), "judgments": pa.array([verdicts], JUDGMENTS)}
    )
    assert verdict_circles(table)["with_circle"] == 1
    assert pair_circles(prompt[6:] * 0, chosen[6:], rejected[6:]) is None
