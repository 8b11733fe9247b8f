"""Which pairs a reader should look at: the least certain ones, and some at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from curate.export.uncertain import Least, doubt, live_places, pair_facts, pair_keys

_LONGEST = 1500  # characters of a text that are shown
_MOST_TURNS = 8  # messages of a conversation


class Samples:
    """Keeps the `size` least certain pairs and as many drawn by a hash of id and candidates."""

    def __init__(self, size: int = 20) -> None:
        self._size = size
        self._uncertain, self._random = Least(size), Least(size)

    def add(self, columns: dict[str, pa.Array]) -> None:
        """Look at one shard's live pairs."""
        if not {"id", "prompt", "candidates", "pairs"} <= columns.keys():
            return
        table = pa.table(columns)
        live = live_places(table["pairs"])
        keys = pair_keys(table["id"], table["pairs"])[live]
        numbers = doubt(table["pairs"])[live]
        for held, order in ((self._uncertain, numbers), (self._random, keys.astype(float))):
            for k in np.lexsort((keys, order))[: self._size].tolist():
                if held.wants(float(order[k]), int(keys[k])):
                    held.add(float(order[k]), int(keys[k]), _shown(table, int(live[k])))

    def summary(self) -> dict[str, list[dict[str, Any]]]:
        """Return {uncertain: [...], random: [...]}, each pair with its texts, in order."""
        return {"uncertain": self._uncertain.entries(), "random": self._random.entries()}


def shortened(text: str | None, longest: int = _LONGEST) -> str:
    """Return a text as it is, or its beginning with a note of how much is left out."""
    text = text or ""
    left = len(text) - longest
    return text if left <= 0 else f"{text[:longest]} … ({left} more characters)"


def turns(prompt: list[dict[str, str | None]] | None) -> list[dict[str, str]]:
    """Return a conversation's messages, shortened; of more than eight the first and the last."""
    shown = [
        {"role": turn["role"] or "?", "content": shortened(turn["content"])}
        for turn in prompt or []
    ]
    left = len(shown) - _MOST_TURNS
    if left <= 0:
        return shown
    middle = {"role": "…", "content": f"({left} more messages)"}
    return [*shown[: _MOST_TURNS // 2], middle, *shown[-_MOST_TURNS // 2 :]]


def _shown(table: pa.Table, place: int) -> dict[str, Any]:
    facts = pair_facts(table, place)
    chosen, rejected, pair = facts["chosen"], facts["rejected"], facts["pair"]
    return {
        "id": facts["id"],
        "prompt": turns(facts["prompt"]),
        "chosen": shortened(chosen["text"]),
        "rejected": shortened(rejected["text"]),
        "models": [chosen["model"], rejected["model"]],
        "margin": pair["margin"],
        "p_correct": pair["p_correct"],
        "source": pair["source"],
    }
