"""Which sets are similar: an exact join by Jaccard index, with nothing missed and nothing added.

Sets are compared only where they share one of their rarest elements (prefix filter: Chaudhuri
et al. 2006, Bayardo et al. 2007) at a place from which the overlap that their sizes require can
still be reached (length and positional filters: Xiao et al., PPJoin, 2008). Every pair that is
left is counted in full. Any order of the elements gives the same result; a rough count of how
often each occurs makes it fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curate.arrays import Bools, Floats, Ints, places_of
from curate.methods.pieces import in_threads, slices
from curate.methods.postings import Groups, GroupSearch, group_sets, overlap
from curate.methods.shingles import SHINGLE_BITS, ShingleSets

ROUND = 1 << 25  # comparisons in a round from which groups wait for decisions
BATCH_TOKENS = 1 << 18  # elements counted at a time by one core
KEPT, OPEN, DROPPED = 0, 1, 2


class SimilarPairs(NamedTuple):
    """Similar pairs: item `later` reaches `similarity` with item `earlier` < `later`."""

    later: Ints
    earlier: Ints
    similarity: Floats


class Progress(NamedTuple):
    """How far the comparisons are: the entries left, and each group's first not `done` yet.

    Of each group, the next `most` entries are compared with all that follow them.
    """

    entries: Ints
    done: Ints
    most: int


class JaccardJoin:
    """Finds which of the sets, ordered from best to worst, have a Jaccard index >= `threshold`.

    `threshold` is in (0, 1]. With `spill`, an existing directory, postings are sorted in parts
    on disk, and memory holds only those of elements that several sets share. `groups` are those
    of `group_sets`, or some of them where others are searched elsewhere.
    """

    def __init__(
        self,
        sets: ShingleSets,
        threshold: float,
        spill: Path | None = None,
        groups: Groups | None = None,
    ) -> None:
        self.sets, self.threshold = sets, threshold
        self.groups = group_sets(sets, threshold, spill) if groups is None else groups
        self._search = GroupSearch(self.groups, sets.counts, threshold)

    @property
    def size(self) -> int:
        """Number of sets."""
        return len(self.sets.counts)

    def keep_greedily(self) -> tuple[Ints, Floats]:
        """Return each set's twin (n; -1 where it is kept) and their similarity, best set first.

        A set is dropped exactly if it is similar to a better one that is kept, and its twin is
        the most similar of these (the best, if equal). So there are no chains: with a ~ b ~ c
        and a, c unalike, both a and c stay.

        The sets of a group are compared with its best one, then with its next two, four and so
        on, leaving out those that are dropped by then: n near-copies cost n comparisons.
        """
        state = np.full(self.size, KEPT, dtype=np.uint8)
        state[self.groups.number] = OPEN
        progress, found, unsettled = self.begin(), list[SimilarPairs](), join_pairs([])
        while len(progress.entries):
            now, progress, waiting = self.advance(state, progress)
            found.append(now)
            unsettled = settle(state, waiting, join_pairs([unsettled, now]))
        return twins(state, join_pairs(found))

    def begin(self) -> Progress:
        """Return the progress before any comparison."""
        return Progress(np.arange(len(self.groups.number)), self.groups.starts[:-1], 1)

    def advance(
        self, state: npt.NDArray[np.uint8], progress: Progress
    ) -> tuple[SimilarPairs, Progress, Ints]:
        """Compare the next entries of each group, as `state` (n) has it.

        Returns the similar pairs, the progress, and the sets that are still to be compared with
        better ones.
        """
        starts, group, number, _ = self.groups
        (entries, done, most), ends = progress, starts[1:]
        done = done.copy()
        ahead = entries[state[number[entries]] != DROPPED]
        waits = self._waits(ahead, done, state, most)
        ahead = ahead[~waits[group[ahead]]]
        place = _place_in_run(group[ahead])
        found = join_pairs(list(self._similar(ahead[place < most])))
        through = group[entries[~waits[group[entries]]]]
        done[through] = ends[through]
        beyond = ahead[place == most]
        done[group[beyond]] = beyond
        entries = entries[entries >= done[group[entries]]]
        entries = entries[done[group[entries]] + 1 < ends[group[entries]]]
        waiting = number[entries[entries > done[group[entries]]]]
        return found, Progress(entries, done, most * 2), waiting

    def _waits(self, ahead: Ints, done: Ints, state: npt.NDArray[np.uint8], most: int) -> Bools:
        """Return which groups should wait for a set they have compared already to be decided.

        Only where a round would take too many comparisons: most of them may prove needless. The
        best open set lies in no group that waits and has not come to it, so there is progress.
        """
        starts, group, number, _ = self.groups
        waits = np.zeros(len(done), dtype=bool)
        cost = np.minimum(np.bincount(group[ahead], minlength=len(done)), most) * (
            starts[1:] - done
        )
        if cost.sum() > ROUND:
            compared = np.arange(len(number)) < done[group]
            waits[group[compared & (state[number] == OPEN)]] = True
        return waits

    def components(self) -> Ints:
        """Return each set's component (n) under the similar pairs, named by its first set.

        Two sets of a group that are neither linked nor compared yet cannot both be in the
        largest component of those left, so one of them is compared with the whole group.
        """
        _, group, number, _ = self.groups
        root = np.arange(self.size)
        entries, most = np.arange(len(number)), 1
        while len(entries):
            outside = ~_in_largest(group[entries], root[number[entries]])
            heads = entries[outside][_place_in_run(group[entries[outside]]) < most]
            for pairs in self._similar(heads, root):
                link(root, pairs.later, pairs.earlier)
            unfinished = np.zeros(len(self.groups.starts), dtype=bool)
            unfinished[group[heads]] = True
            entries = entries[unfinished[group[entries]]]
            entries = np.setdiff1d(entries, heads, assume_unique=True)
            most *= 2
        return root

    def _similar(self, heads: Ints, root: Ints | None = None) -> Iterator[SimilarPairs]:
        """Yield the similar pairs of each head entry's set and the later ones of its group.

        With `root`, which may change in between: all others of its group with another root.
        """
        for a, b in self._search.candidates(heads, both_sides=root is not None):
            later, earlier = np.maximum(a, b), np.minimum(a, b)
            if root is not None:
                apart = root[later] != root[earlier]
                later, earlier = later[apart], earlier[apart]
            key = np.unique(later * self.size + earlier)
            later, earlier = np.divmod(key, max(self.size, 1))
            likely = self._sketches_allow(later, earlier)
            yield self._verified(later[likely], earlier[likely])

    def _sketches_allow(self, a: Ints, b: Ints) -> Bools:
        """Return where a[i] and b[i] may share enough: each bit apart is an element not shared.

        The bitmap filter of Sandes et al. (2017), on sketches of 64 bits.
        """
        counts, sketch = self.sets.counts, self.sets.sketch
        spare_a = counts[a] - np.bitwise_count(sketch[a] & ~sketch[b])
        spare_b = counts[b] - np.bitwise_count(sketch[b] & ~sketch[a])
        need = overlap(counts[a], counts[b], self.threshold)
        return np.asarray(np.minimum(spare_a, spare_b) >= need)

    def _verified(self, later: Ints, earlier: Ints) -> SimilarPairs:
        """Count in full what each pair shares, and return those that reach the threshold."""
        counts = self.sets.counts
        pieces = slices(np.cumsum(counts[later] + counts[earlier]), BATCH_TOKENS)
        counted = in_threads(lambda s: _shared(self.sets, later[s], earlier[s]), pieces)
        shared = np.concatenate([np.zeros(0, dtype=np.int64), *counted])
        similarity = shared / (counts[later] + counts[earlier] - shared)
        good = similarity >= self.threshold
        return SimilarPairs(later[good], earlier[good], similarity[good])


def _shared(sets: ShingleSets, a: Ints, b: Ints) -> Ints:
    """Return the number of elements that sets a[i] and b[i] have in common."""
    both = np.concatenate([a, b])
    counts = sets.counts[both]
    key = sets.tokens[np.repeat(sets.begin[both], counts) + places_of(counts)]
    pair = np.tile(np.arange(len(a), dtype=np.uint64), 2)
    key |= np.repeat(pair << np.uint64(SHINGLE_BITS), counts)
    key.sort(kind="stable")  # both halves ascend already
    twice = key[1:][key[1:] == key[:-1]] >> np.uint64(SHINGLE_BITS)
    return np.bincount(twice.astype(np.int64), minlength=len(a)).astype(np.int64)


def join_pairs(parts: list[SimilarPairs]) -> SimilarPairs:
    """Return the pairs of all parts."""
    none = SimilarPairs(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))
    return SimilarPairs(*(np.concatenate(column) for column in zip(none, *parts, strict=True)))


def settle(state: npt.NDArray[np.uint8], waiting: Ints, pairs: SimilarPairs) -> SimilarPairs:
    """Decide which open sets are kept or dropped, in place; return the pairs of the others.

    A set similar to a kept one is dropped. One that is not among those `waiting` for comparisons,
    and whose similar better ones are all dropped, is kept. The loop runs over similar pairs.
    """
    idle = state == OPEN
    idle[waiting] = False
    state[idle] = KEPT
    order = np.argsort(pairs.later, kind="stable")
    now = bytearray(state.tobytes())
    for later, earlier in zip(
        pairs.later[order].tolist(), pairs.earlier[order].tolist(), strict=True
    ):
        above = now[earlier]
        if above == KEPT:
            now[later] = DROPPED
        elif above == OPEN and now[later] == KEPT:
            now[later] = OPEN
    state[:] = np.frombuffer(now, dtype=np.uint8)
    still = state[pairs.later] == OPEN
    return SimilarPairs(*(column[still] for column in pairs))


def twins(state: npt.NDArray[np.uint8], pairs: SimilarPairs) -> tuple[Ints, Floats]:
    """Return each dropped set's most similar kept set (n; -1 for the kept), and the similarity."""
    twin, similarity = np.full(len(state), -1, dtype=np.int64), np.zeros(len(state))
    use = (state[pairs.later] == DROPPED) & (state[pairs.earlier] == KEPT)
    later, earlier, value = (column[use] for column in pairs)
    # Written from worst to best: of several values for one index the last one stays.
    order = np.lexsort((-earlier, value, later))
    twin[later[order]] = earlier[order]
    similarity[later[order]] = value[order]
    return twin, similarity


def _place_in_run(values: Ints) -> Ints:
    """Return each value's place (0, 1, ...) in its run of equal neighbours."""
    heads = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=heads[1:])
    return places_of(np.diff(np.append(np.flatnonzero(heads), len(values))))


def _in_largest(group: Ints, label: Ints) -> Bools:
    """Return whether each entry's label is its group's most frequent (the first, if equal)."""
    order = np.lexsort((label, group))
    g, name = group[order], label[order]
    new = np.ones(len(g), dtype=bool)
    new[1:] = (g[1:] != g[:-1]) | (name[1:] != name[:-1])
    run = np.cumsum(new) - 1
    heads = np.flatnonzero(new)
    number = np.arange(len(heads))
    score = np.bincount(run) * (len(heads) + 1) + (len(heads) - number)
    first = np.flatnonzero(np.diff(g[heads], prepend=-1))
    best = np.repeat(np.maximum.reduceat(score, first), np.diff(np.append(first, len(heads))))
    largest = np.zeros(len(group), dtype=bool)
    largest[order] = (score == best)[run]
    return largest


def link(root: Ints, a: Ints, b: Ints) -> None:
    """Join the components of a[i] and b[i] in place; `root` names each by its first member."""
    while len(a):
        x, y = root[a], root[b]
        apart = x != y
        a, b, x, y = a[apart], b[apart], x[apart], y[apart]
        np.minimum.at(root, np.maximum(x, y), np.minimum(x, y))
        while (root != (above := root[root])).any():
            root[:] = above
