"""Which model's answers are chosen over which, and what is left of it at equal length."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.methods.order import leaning
from curate.methods.style import length_controlled_win_rate

FEWEST = 30  # pairs of a model from which on a fit of two numbers says something


class Duels:
    """Gathers the pairs whose two answers come from different models that are known."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._chunks: list[npt.NDArray[np.int64]] = []  # (n, 3) winner, loser, characters more

    def add(self, chosen: pa.Array, rejected: pa.Array, longer: npt.NDArray[np.int64]) -> None:
        """Add pairs (n): both answers' models, and how much longer the chosen answer is."""
        both = pc.and_(
            pc.and_(pc.is_valid(chosen), pc.is_valid(rejected)), pc.not_equal(chosen, rejected)
        )
        keep = np.asarray(pc.fill_null(both, False).to_numpy(zero_copy_only=False), dtype=bool)
        sides = [self._numbers(models.filter(pa.array(keep))) for models in (chosen, rejected)]
        self._chunks.append(np.stack([*sides, longer[keep]], axis=1))

    def rows(self) -> list[dict[str, Any]]:
        """Return each model's share of its pairs against other models, best first.

        `even` is the share that it would have if all its answers were as long as the others, None
        where it has fewer than 30 pairs, or all of them are equally long.
        """
        winner, loser, longer = np.concatenate([np.zeros((0, 3), np.int64), *self._chunks]).T
        number = np.concatenate([winner, loser])
        order = np.argsort(number, kind="stable")
        difference = np.concatenate([longer, -longer])[order]
        won = order < len(winner)
        ends = np.cumsum([0, *np.bincount(number, minlength=len(self._names))])
        rows = []
        for name, start, end in zip(self._names, ends[:-1], ends[1:], strict=True):
            wins = int(won[start:end].sum())
            share = leaning(wins, int(end - start) - wins)
            if share is not None:
                even = _at_equal_length(difference[start:end], won[start:end])
                rows.append({"model": name, **share, "even": even})
        return sorted(rows, key=lambda row: (-row["share"], row["model"]))

    def _numbers(self, models: pa.Array) -> npt.NDArray[np.int64]:
        coded = models.dictionary_encode()
        known = self._names
        number = [known.setdefault(name, len(known)) for name in coded.dictionary.to_pylist()]
        places = coded.indices.to_numpy(zero_copy_only=False)
        return np.asarray(np.array(number, dtype=np.int64)[places])


def _at_equal_length(longer: npt.NDArray[np.int64], won: npt.NDArray[np.bool_]) -> float | None:
    if len(longer) < FEWEST or not longer.std():
        return None
    return length_controlled_win_rate(longer, won)
