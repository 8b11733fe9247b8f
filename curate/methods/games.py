"""Comparisons of a prompt's answers as tables of who beat whom.

A table `wins` is (..., n, n): wins[..., i, j] is how often answer i won against j, a tie being
half a win each; many prompts with n answers are done at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curate.arrays import Bools, Floats, Ints, starts_of
from curate.errors import StageError
from curate.methods.crowd import logistic
from curate.methods.judgments import Judgments

BATCH = 1 << 21
"""Numbers in one batch of tables."""


class Hodge(NamedTuple):
    """Least-squares scores (..., n), and the share (...) of the preferences that cycles hold."""

    score: Floats
    cyclic_share: Floats


def win_tables(
    counts: Ints, row: Ints, a: Ints, b: Ints, share: Floats
) -> Iterator[tuple[Ints, Floats]]:
    """Yield (rows, wins): rows with n answers each, ascending, and their tables (rows, n, n).

    A game is one entry of `row` (its prompt), `a` and `b` (flat answers of that prompt) and
    `share` (of the win that is a's). A row without games is in no table. `counts` (rows,) is
    the number of answers a row. A table depends on its own row's games alone.
    """
    starts = starts_of(counts)
    first, second = a - starts[row], b - starts[row]
    for n in np.unique(counts[row]).tolist():
        rows = np.unique(row[counts[row] == n])
        step = max(BATCH // (n * n), 1)
        for begin in range(0, len(rows), step):
            batch = rows[begin : begin + step]
            place = np.full(len(counts), -1, dtype=np.int64)
            place[batch] = np.arange(len(batch))
            mine = np.flatnonzero(place[row] >= 0)
            base = place[row[mine]] * n * n
            size = len(batch) * n * n
            won = np.bincount(base + first[mine] * n + second[mine], share[mine], size)
            lost = np.bincount(base + second[mine] * n + first[mine], 1.0 - share[mine], size)
            yield batch, np.asarray(won + lost).reshape(len(batch), n, n)


def games_of(judgments: Judgments) -> tuple[Ints, Ints, Ints, Floats]:
    """Return (row, a, b, share) of the comparisons: every call is a game.

    A grade s is (1 + s) / 2 of a win for a, log-odds are the probability they stand for. Raises
    StageError where a grade is outside [-1, 1].
    """
    at = np.flatnonzero(judgments.compares)
    score, odds = judgments.score[at], judgments.log_odds[at]
    outside = ~odds & (np.abs(score) > 1.0)
    if outside.any():
        name = judgments.judges[int(judgments.judge[at][outside][0])]
        raise StageError(f"judge {name!r} compares with a score outside [-1, 1]")
    share = np.where(odds, logistic(score), 0.5 + 0.5 * score)
    return judgments.row[at], judgments.a[at], judgments.b[at], share


def margins_of(wins: Floats) -> tuple[Floats, Floats]:
    """Return mean margins (..., n, n) in [-1, 1] and games, as `hodge_rank` takes them."""
    lost = np.swapaxes(wins, -1, -2)
    games = wins + lost
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(games > 0, (wins - lost) / games, 0.0), games


def hodge_rank(margins: npt.ArrayLike, weights: npt.ArrayLike) -> Hodge:
    """Return the scores whose differences fit the margins best, and what they leave unexplained.

    `margins` (..., n, n) is antisymmetric: how much i is preferred to j; `weights` (..., n, n)
    symmetric, 0 where i and j were not compared. Minimises sum w (Y_ij - (s_i - s_j))^2; the
    cyclic share is that minimum over sum w Y^2, from 0 (a ranking explains all) to 1 (only
    cycles), and NaN where no preference was seen (HodgeRank, Jiang et al. 2011). Answers that
    were never compared get NaN.
    """
    y, w = np.asarray(margins, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    y = np.where(w > 0, y, 0.0)
    diagonal = np.arange(y.shape[-1])
    laplacian = -w.copy()
    laplacian[..., diagonal, diagonal] = w.sum(axis=-1) - w[..., diagonal, diagonal]
    divergence = (w * y).sum(axis=-1)
    inverse = np.linalg.pinv(laplacian, hermitian=True)
    score = (inverse @ divergence[..., None])[..., 0]
    residual = w * (y - (score[..., :, None] - score[..., None, :])) ** 2
    total = (w * y**2).sum(axis=(-1, -2))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = residual.sum(axis=(-1, -2)) / total
    return Hodge(np.where((w > 0).any(axis=-1), score, np.nan), np.clip(share, 0.0, 1.0))


def cycles(wins: npt.ArrayLike) -> tuple[Ints, Bools]:
    """Return the number (...) of triples a > b > c > a, and (..., n, n) which wins are on one.

    i beats j where it won more often than it lost. A tie beats nobody.
    """
    won = np.asarray(wins, dtype=np.float64)
    beats = won > np.swapaxes(won, -1, -2)
    steps = beats.astype(np.float32)
    two = np.swapaxes(steps @ steps, -1, -2)  # two[i, j]: ways from j back to i in two wins
    return (
        np.asarray(np.rint((two * steps).sum(axis=(-1, -2)) / 3), dtype=np.int64),
        beats & (two > 0),
    )
