"""Pairs whose better answer was chosen by a rule that an audit should find."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from curate.schema import CANDIDATES, PAIRS, PROMPT

WORDS = [
    "river", "stone", "cloud", "maple", "ember", "north", "quiet", "field", "harbour", "lantern",
    "meadow", "winter",
]  # fmt: skip


def text(draws, size: int, flattery: bool) -> str:
    said = " ".join(draws.choice(WORDS, size))
    return ("Great question, happy to help. " if flattery else "Here it is in short, then. ") + said


def made(rule: str, rows: int = 500, seed: int = 0) -> pa.Table:
    """Pairs whose better answer is the longer one, the flattering one, or either by lot."""
    draws = np.random.default_rng(seed)
    prompts, candidates = [], []
    for i in range(rows):
        sizes, kinds = draws.integers(10, 60, 2), draws.random(2) < 0.5
        two = [text(draws, int(s), bool(k)) for s, k in zip(sizes, kinds, strict=True)]
        first = draws.random() < 0.5
        if rule == "length" and draws.random() < 0.85:
            first = sizes[0] > sizes[1]
        if rule == "flattery" and kinds[0] != kinds[1] and draws.random() < 0.85:
            first = bool(kinds[0])
        two = two if first else two[::-1]
        prompts.append([{"role": "user", "content": f"Question {i // 2}?"}])
        candidates.append([{"text": t, "drop": None} for t in two])
    pair = [{"chosen": 0, "rejected": 1, "drop": None}]
    return pa.table(
        {
            "prompt": pa.array(prompts, PROMPT),
            "candidates": pa.array(candidates, CANDIDATES),
            "pairs": pa.array([pair] * rows, PAIRS),
        }
    )
