"""Near-copies among vectors, and chains of them, found in parts that may be done anywhere.

The vectors lie in groups (clusters, or stretches of the order): a group has members, and visitors
that are looked up among them. In each round a group's next members are compared with all that come
after them; between two rounds it is decided which rows stay, by the rule of
`similarity.keep_greedily`, and those that go are compared no more. So a group of n near-copies
costs n comparisons, and the result does not depend on the groups' shares.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.arrays import Bools, Ints
from curate.methods.set_join import DROPPED, SimilarPairs, join_pairs, link
from curate.methods.vectors import COSINE_SLACK, cosines, rounding

Singles: TypeAlias = npt.NDArray[np.float32]
State: TypeAlias = npt.NDArray[np.uint8]

HEADS = 64, 1024  # members that a group compares in its first round, and at most in a later one
HELD = 16_384  # visitors of one matrix product


class Visits(NamedTuple):
    """One group: its visitors' rows, ascending, and which of them are its members."""

    row: Ints
    member: Bools


class Turn(NamedTuple):
    """What a round of one group leaves: pairs, how far it is, and rows that wait for more."""

    pairs: SimilarPairs
    done: int
    waiting: Ints


def chained(vectors: Singles, among: slice, threshold: float) -> Ints:
    """Return which rows are linked, by chains of similar ones, to an earlier row, and to which.

    (2, m); only pairs are looked at of which the later row is `among` those of the slice. `vectors`
    (n, d) have unit length, or are zero and like nothing.
    """
    least = threshold - COSINE_SLACK
    reach = np.float32(least - rounding(vectors.shape[1]))
    root = np.arange(among.stop)
    for start in range(among.start, among.stop, HEADS[1]):
        rows = np.arange(start, min(start + HEADS[1], among.stop))
        own = np.asarray(vectors[rows])
        for first in range(0, int(rows[-1]) + 1, HELD):
            others = np.asarray(vectors[first : min(first + HELD, int(rows[-1]) + 1)])
            other, mine = np.nonzero(others @ own.T >= reach)
            later, earlier = rows[mine], first + other
            apart = (earlier < later) & (root[later] != root[earlier])
            later, earlier = later[apart], earlier[apart]
            similar = cosines(vectors, later, earlier) >= least
            link(root, later[similar], earlier[similar])
    linked = np.flatnonzero(root != np.arange(len(root)))
    return np.stack([linked, root[linked]])


def heads_of(turn: int) -> int:
    """Return how many members a group compares in the round of that number, from 0."""
    return min(HEADS[0] << 2 * turn, HEADS[1]) if turn < 3 else HEADS[1]


def advance(
    vectors: Singles, visits: Visits, done: int, state: State, most: int, threshold: float
) -> Turn:
    """Compare a group's next members, at most `most`, with the visitors that come after them.

    `vectors` (n, d) have unit length or are zero and lie in the order from best to worst, `state`
    (n) says what is decided of them; visitors before place `done` have been compared.
    """
    ahead = done + np.flatnonzero(visits.member[done:] & (state[visits.row[done:]] != DROPPED))
    heads, left = ahead[:most], ahead[most:]
    if not len(heads):
        return Turn(join_pairs([]), len(visits.row), np.zeros(0, dtype=np.int64))
    least = threshold - COSINE_SLACK
    reach = np.float32(least - rounding(vectors.shape[1]))
    rows = visits.row[heads]
    own, found = np.ascontiguousarray(vectors[rows]), list[SimilarPairs]()
    for start in range(int(heads[0]) + 1, len(visits.row), HELD):
        others = visits.row[start : start + HELD]
        other, head = np.nonzero(np.asarray(vectors[others]) @ own.T >= reach)
        later, earlier = others[other], rows[head]
        after = later > earlier
        later, earlier = later[after], earlier[after]
        cosine = cosines(vectors, later, earlier)
        good = cosine >= least
        found.append(SimilarPairs(later[good], earlier[good], cosine[good]))
    end = int(left[0]) if len(left) else len(visits.row)
    waiting = visits.row[end + 1 :]
    return Turn(join_pairs(found), end, waiting[state[waiting] != DROPPED])
