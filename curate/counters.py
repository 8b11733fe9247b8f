"""What stages counted (`Context.counts`), summed over the shards and in words for people.

Any stage's counters, by their own names; two endings say what a number stands for: "_e4" is a
value in ten-thousandths, and "percent" a percentage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from curate.work import Shard

COSTS = ("calls", "prompt_tokens", "cached_tokens", "tokens")
"""Counters of what engines did, which are shown with the time that it took."""


class Counted(NamedTuple):
    """A stage's counters in words: (name, number) of those above 0, and the names of the rest."""

    numbers: list[tuple[str, str]]
    none: list[str]


def counted(shards: Sequence[Shard]) -> list[dict[str, Any]]:
    """Return {place, stage, counts} of each stage that counted something, zeros included.

    `place` is 0 for the source, 1 for the check of the ids that every run begins with, and so on.
    """
    found = []
    for place, parts in enumerate(zip(*(shard.parts for shard in shards), strict=True)):
        counts: Counter[str] = Counter()
        for part in parts:
            counts.update(part.counts)
        if counts:
            found.append({"place": place, "stage": parts[0].stage, "counts": dict(counts)})
    return found


def worded(counts: Mapping[str, int], leave_out: Sequence[str] = ()) -> Counted:
    """Return the counters as people read them, in the order in which the stage counted."""
    found = Counted([], [])
    for name, number in counts.items():
        if name in leave_out:
            continue
        words, text = name.replace("_", " "), f"{number:,}"
        if name.endswith("_e4"):
            words, text = words.removesuffix(" e4"), f"{number / 10_000:,.4f}"
        elif name.endswith(", percent"):
            words, text = words.removesuffix(", percent"), f"{number} %"
        if number:
            found.numbers.append((words, text))
        else:
            found.none.append(words)
    return found


__all__ = ["COSTS", "Counted", "counted", "worded"]
