"""Comparisons of a prompt's answers to one score an answer: Bradley-Terry, and ranked pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curate.arrays import Bools, Floats, Ints, owners, places_of, starts_of
from curate.methods.crowd import logistic
from curate.methods.games import win_tables


class Strengths(NamedTuple):
    """One value an item, all (items,)."""

    strength: Floats
    """Log-odds: P(i beats j) = s(strength_i - strength_j); the sum of a component's is 0."""
    std: Floats
    """Posterior standard deviation, given that sum."""
    component: Ints
    """The least item that games link this one to: across components nothing can be compared."""


class Places(NamedTuple):
    """One value an item, both (items,)."""

    share: Floats
    """Of the items that games link it to, the share that it stands above; one that is neither
    above nor below counts half. NaN for an item that met nobody."""
    component: Ints
    """As in `Strengths`."""


def bradley_terry(
    counts: npt.ArrayLike,
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    share: npt.ArrayLike,
    *,
    prior: float = 1.0,
) -> Strengths:
    """Return the strengths of items that met within groups (Bradley and Terry 1952).

    `counts` (groups,) is the number of items a group; `a` and `b` (games,) are flat items of
    one group and `share` (games,) how much of the win was a's, 0.5 for a tie. `prior` is the
    standard deviation of a normal prior on the strengths: without one an item that never lost
    would have none. Newton's method, each group by itself, so its bits do not depend on the
    others. Raises ValueError for games that cannot be.
    """
    if not prior > 0:
        raise ValueError("the prior must be above 0")
    items = int(np.asarray(counts, dtype=np.int64).sum())
    strength, std, component = np.zeros(items), np.full(items, prior), np.arange(items)
    for at, wins in _tables(counts, a, b, share):
        linked = _linked(wins)
        component[at] = at[:, :1] + linked.argmax(axis=-1)
        strength[at], std[at] = _fit(wins, linked, 1.0 / prior**2)
    return Strengths(strength, std, component)


def ranked_pairs(
    counts: npt.ArrayLike, a: npt.ArrayLike, b: npt.ArrayLike, share: npt.ArrayLike
) -> Places:
    """Return the consensus of games within groups by ranked pairs (Tideman 1987).

    Arguments as in `bradley_terry`. Majorities are locked from the widest down, but one that
    would close a circle of locked ones is left out. Among equally wide ones none is put before
    the others: those that close a circle with what is locked and with each other are all left
    out, so nothing depends on the order of the items, and a majority of 0 is a tie. OpenAssistant
    made one ranking of several people's in this way (Köpf et al. 2023).
    """
    items = int(np.asarray(counts, dtype=np.int64).sum())
    placed, component = np.full(items, np.nan), np.arange(items)
    for at, wins in _tables(counts, a, b, share):
        linked = _linked(wins)
        component[at] = at[:, :1] + linked.argmax(axis=-1)
        above = np.stack([_locked(table - table.T) for table in wins])
        others = linked.sum(axis=-1) - 1
        led = above.sum(axis=-1) - above.sum(axis=-2)
        placed[at] = np.where(others > 0, 0.5 + 0.5 * led / np.maximum(others, 1), np.nan)
    return Places(placed, component)


def _tables(
    counts: npt.ArrayLike, a: npt.ArrayLike, b: npt.ArrayLike, share: npt.ArrayLike
) -> Iterator[tuple[Ints, Floats]]:
    """Yield the flat items (groups, n) and win tables (groups, n, n) of groups of one size.

    Raises ValueError for games that cannot be.
    """
    size = np.asarray(counts, dtype=np.int64)
    one, two = np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)
    won = np.asarray(share, dtype=np.float64)
    row = owners(size)
    inside = (np.minimum(one, two) >= 0) & (np.maximum(one, two) < len(row))
    if not (inside.all() and (row[one] == row[two]).all() and (one != two).all()):
        raise ValueError("a and b must be two items of one group")
    if not ((won >= 0) & (won <= 1)).all():
        raise ValueError("share must be in [0, 1]")
    starts = starts_of(size)
    for rows, wins in win_tables(size, row[one], one, two, won):
        yield starts[rows][:, None] + np.arange(wins.shape[-1]), wins


def _locked(margin: Floats) -> Bools:
    """Return (n, n) which items are above which, from antisymmetric majorities (n, n)."""
    above = np.zeros(margin.shape, dtype=bool)
    for width in np.unique(margin[margin > 0])[::-1]:
        tier = (margin == width) & ~above.T
        above = reached(above | (tier & ~reached(above | tier).T))
    return above


def games_of_scores(
    counts: Ints, candidate: Ints, judge: Ints, score: Floats
) -> tuple[Ints, Ints, Floats]:
    """Return (a, b, share) of the comparisons that judges' scores stand for.

    One game for every two answers of a row that one judge scored: the higher score wins all of
    it, equal ones share it. `candidate` (cells,) is flat, `counts` (rows,) the answers a row;
    a judge scores an answer at most once.
    """
    row = owners(counts)[candidate]
    order = np.lexsort((candidate, judge, row))
    new = (np.diff(row[order], prepend=-1) != 0) | (np.diff(judge[order], prepend=-1) != 0)
    starts = np.flatnonzero(new)
    size = np.diff(starts, append=len(order))
    place = np.arange(len(order)) - np.repeat(starts, size)
    left = np.repeat(size, size) - place - 1  # those that follow in the same judge's list
    one = np.repeat(np.arange(len(order)), left)
    two = one + 1 + places_of(left)
    first, second = order[one], order[two]
    share = 0.5 + 0.5 * np.sign(score[first] - score[second])
    return candidate[first], candidate[second], share


def largest_component(counts: npt.ArrayLike, component: npt.ArrayLike) -> Bools:
    """Return (items,) which are in their group's largest component, if that has two or more.

    Among equally large ones the first counts.
    """
    of = np.asarray(component, dtype=np.int64)
    row = owners(np.asarray(counts, dtype=np.int64))
    size = np.bincount(of, minlength=len(of))
    best = np.lexsort((np.arange(len(of)), -size, row))  # by group; the first is the largest
    firsts = best[np.unique(row[best], return_index=True)[1]]
    chosen = np.zeros(len(of), dtype=bool)
    chosen[firsts[size[firsts] > 1]] = True
    return chosen[of]


def reached(steps: Bools) -> Bools:
    """Return (..., n, n) what can be reached in one or more of these steps (..., n, n)."""
    found, length = np.asarray(steps, dtype=bool), 1
    while length < found.shape[-1]:
        reach = found.astype(np.float32)
        found, length = found | (reach @ reach > 0), 2 * length
    return np.asarray(found, dtype=bool)


def _linked(wins: Floats) -> Bools:
    """Return (..., n, n) which items are linked by games, each item to itself."""
    met = wins + np.swapaxes(wins, -1, -2) > 0
    return reached(met | np.eye(wins.shape[-1], dtype=bool))


def _fit(wins: Floats, linked: Bools, precision: float) -> tuple[Floats, Floats]:
    """Return strengths and deviations (groups, n) under a normal prior of that precision."""
    games = wins + np.swapaxes(wins, -1, -2)
    total = wins.sum(axis=-1)
    # A component's sum is 0 at the optimum. Fixing it with weight 1 and not with the prior's,
    # which may be tiny, keeps the solution well conditioned.
    even = linked / linked.sum(axis=-1, keepdims=True)
    hold = precision * (np.eye(wins.shape[-1]) - even) + even
    score = np.zeros(wins.shape[:-1])
    active = np.arange(len(wins))
    for _ in range(100):
        now = score[active]
        chance, information = _information(games[active], hold[active], now)
        slope = total[active] - (games[active] * chance).sum(axis=-1) - precision * now
        step = np.linalg.solve(information, slope[..., None])[..., 0]
        moved = np.abs(step).max(axis=-1)
        # At most 2 a time, since Newton overshoots where the curve is flat.
        score[active] = now + step / np.maximum(moved[:, None] / 2.0, 1.0)
        active = active[moved > 1e-9]
        if not len(active):
            break
    _, information = _information(games, hold, score)
    diagonal = np.arange(wins.shape[-1])
    variance = (np.linalg.inv(information) - even)[..., diagonal, diagonal]
    return score, np.sqrt(np.maximum(variance, 0.0))


def _information(games: Floats, hold: Floats, score: Floats) -> tuple[Floats, Floats]:
    """Return each game's chance of a win and the information matrix (groups, n, n)."""
    chance = logistic(score[..., :, None] - score[..., None, :])
    curve = games * chance * (1.0 - chance)
    information = hold - curve
    diagonal = np.arange(games.shape[-1])
    information[..., diagonal, diagonal] += curve.sum(axis=-1)
    return chance, information
