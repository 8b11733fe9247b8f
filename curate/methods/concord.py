"""How far judges agree with one another on the answers of a prompt, beyond chance."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.arrays import Floats, Ints, places_of, starts_of
from curate.methods.evidence import Comparisons
from curate.methods.sampling import drawn

ROWS_AT_ONCE, BYTES_AT_ONCE = 4096, 1 << 27  # a column of texts stays below 2 GiB
MOST_JUDGES = 12  # the rest, by name, are left out of comparisons of every two
_MOST_ANSWERS = 8  # of a prompt, spread over its candidates: all pairs grow with their square


class Waiting:
    """Rows with judgments that wait for more: each judge of each table takes its time.

    `share` of the rows are taken, drawn by a hash of their ids, or all where they have none.
    """

    def __init__(self, share: float = 1.0) -> None:
        self._share = share
        self._tables: list[pa.Table] = []

    def add(self, table: pa.Table) -> Iterator[pa.Table]:
        """Take in rows with candidates and judgments; yield those that wait if they are many."""
        some = table.select(["candidates", "judgments"])
        if "id" in table.column_names:  # copied: no file stays open
            some = some.filter(pa.array(drawn(table["id"], self._share)))
        self._tables.append(some)
        rows, size = (sum(n) for n in zip(*((len(t), t.nbytes) for t in self._tables), strict=True))
        if rows >= ROWS_AT_ONCE or size >= BYTES_AT_ONCE:
            yield from self.rest()

    def rest(self) -> Iterator[pa.Table]:
        """Yield the rows that still wait, if there are any."""
        if self._tables:
            whole = pa.concat_tables(self._tables).combine_chunks()
            self._tables.clear()
            yield whole


class Agreement:
    """Counts, over any number of tables, what every two judges said of the same comparisons."""

    def __init__(self) -> None:
        self._tables: dict[tuple[str, str], Floats] = defaultdict(lambda: np.zeros((3, 3)))

    def add(self, signs: Mapping[str, Floats]) -> None:
        """Add each judge's verdicts (n): 1 for the first answer, -1, 0 for neither, NaN none."""
        if len(signs) < 2:
            return
        names = sorted(signs)
        spoke = ~np.isnan([signs[name] for name in names])
        met = np.triu(spoke.astype(np.float32) @ spoke.T.astype(np.float32), 1)
        for one, two in np.argwhere(met).tolist():  # of a crowd of judges few have met
            pair = names[one], names[two]
            self._tables[pair] += verdict_table(*(signs[name] for name in pair))

    def rows(self) -> list[dict[str, Any]]:
        """Return {judges, n, same, kappa} of every two judges, where both spoke; kappa may be None.

        None where no disagreement is possible by chance, as where both always say the same.
        """
        rows = []
        for judges, table in sorted(self._tables.items()):
            n = int(table.sum())
            if n:
                kappa = cohen_kappa(table)
                shown = kappa if math.isfinite(kappa) else None
                same = float(np.trace(table)) / n
                rows.append({"judges": judges, "n": n, "same": same, "kappa": shown})
        return rows


def verdict_table(one: Floats, two: Floats) -> Floats:
    """Return the (3, 3) table of what two judges said, each -1, 0 or 1, where both said something.

    NaN is no word.
    """
    both = ~np.isnan(one) & ~np.isnan(two)
    cells = (one[both] + 1) * 3 + two[both] + 1
    return np.bincount(cells.astype(np.int64), minlength=9).reshape(3, 3).astype(np.float64)


def cohen_kappa(table: npt.ArrayLike) -> float:
    """Return Cohen's kappa of two raters from their confusion table (classes, classes).

    1 - the share on which they differ / that expected from the margins (Cohen 1960). Low where
    one class is nearly all there is, even if the raters hardly ever differ: read it beside the
    raw agreement. NaN where no disagreement is possible by chance.
    """
    observed = np.asarray(table, dtype=np.float64)
    differ = ~np.eye(len(observed), dtype=bool)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = np.outer(observed.sum(axis=1), observed.sum(axis=0)) / observed.sum()
        return float(1.0 - (differ * observed).sum() / (differ * expected).sum())


def spread_pairs(counts: Ints) -> Comparisons:
    """Return every two of each row's answers, or of eight spread over them where it has more.

    `counts` (rows,) says how many answers each row has.
    """
    kept = np.minimum(counts, _MOST_ANSWERS)
    row, place = np.repeat(np.arange(len(counts)), kept), np.arange(int(kept.sum()))
    place -= np.repeat(starts_of(kept), kept)
    at = starts_of(counts)[row] + place * counts[row] // np.maximum(kept[row], 1)
    fan = kept[row] - 1 - place  # later ones of the same row
    one = np.repeat(np.arange(len(row)), fan)
    two = one + 1 + places_of(fan)
    return Comparisons(row[one], at[one], at[two])
