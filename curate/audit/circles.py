"""Preferences that go in a circle: a over b, b over c, and c over a."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from curate.arrays import Floats, Ints, lengths
from curate.methods.games import cycles, win_tables
from curate.methods.judgments import of_view

MOST = 100  # answers of one prompt; more are left out, for a table grows with their square


def pair_circles(prompt: Ints, chosen: Ints, rejected: Ints) -> dict[str, Any] | None:
    """Return circles among the pairs of each prompt, over all rows that share the prompt.

    `prompt` (pairs,) are codes from 0, `chosen` and `rejected` (pairs,) hashes of the texts.
    """
    both = np.concatenate([prompt, prompt])
    texts = np.concatenate([chosen, rejected])
    keys = np.stack([both.astype(np.int64), texts.astype(np.int64)], axis=1)
    distinct, place = np.unique(keys, axis=0, return_inverse=True)
    counts = np.bincount(distinct[:, 0], minlength=int(prompt.max(initial=-1)) + 1)
    place = place.reshape(-1)
    return _summary(
        counts, prompt, place[: len(prompt)], place[len(prompt) :], np.ones(len(prompt))
    )


def verdict_circles(table: pa.Table) -> dict[str, Any] | None:
    """Return circles among the judges' pairwise verdicts of each row, or None without any."""
    judgments = of_view(table)
    at = np.flatnonzero(judgments.compares)
    share = 0.5 + 0.5 * np.clip(judgments.score[at], -1.0, 1.0)
    return _summary(
        lengths(table["candidates"]), judgments.row[at], judgments.a[at], judgments.b[at], share
    )


def added(one: dict[str, Any] | None, two: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return two summaries as one."""
    if one is None or two is None:
        return one or two
    return {name: one[name] + two[name] for name in one}


def _summary(counts: Ints, row: Ints, a: Ints, b: Ints, share: Floats) -> dict[str, Any] | None:
    """Return {prompts, with_circle, triples}; None where no prompt has three."""
    known = counts[row] <= MOST
    found = {"prompts": 0, "with_circle": 0, "triples": 0}
    for _, wins in win_tables(counts, row[known], a[known], b[known], share[known]):
        if wins.shape[-1] < 3:
            continue
        circles, _ = cycles(wins)
        # Whether three answers were held against each other all round; else no circle can be.
        games = (wins + np.swapaxes(wins, -1, -2) > 0).astype(np.float64)
        round_ = np.einsum("...ii->...", games @ games @ games) > 0
        found["prompts"] += int(round_.sum())
        found["with_circle"] += int((circles > 0).sum())
        found["triples"] += int(circles.sum())
    return found if found["prompts"] else None
