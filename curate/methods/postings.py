"""Which sets share one of their rarest elements, and which of those may be similar.

The prefix filter (Chaudhuri et al. 2006, Bayardo et al. 2007): of two sets that reach a Jaccard
index t, those whose elements are taken from the rarest on share one among the first
|x| - ceil(t |x|) + 1 of each. The length and positional filters (Xiao et al., PPJoin, 2008): the
element's place must leave enough of both sets for the overlap that their sizes require.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curate.arrays import Ints, places_of, starts_of
from curate.methods.pieces import Hashes, Pile, in_threads, slices
from curate.methods.shingles import SHINGLE_BITS, ShingleSets

EPSILON = 1e-9  # lets a bound such as 0.55 * 20 = 11.000000000000002 round to 11
CHUNK = 1 << 20  # candidate pairs held at a time
BATCH_TOKENS = 1 << 18  # elements sorted at a time by one core
LONG = 64  # from so many sets on a group is searched by size and place
LEVEL_BITS = 6  # how common an element is: the logarithm of a rough count
PLACE_BITS = 6  # an element's place in its set; places beyond count as the last one
PART = 1 << 24  # postings sorted at a time


class Groups(NamedTuple):
    """The sets that share a rare element: group g is the entries starts[g] to starts[g + 1].

    Each entry is a set's `number`, and the `place` of the element among its rarest, in order of
    `group` and `number`. Hashes are cut short here, so a few groups share no element at all.
    """

    starts: Ints
    group: Ints
    number: Ints
    place: Ints


def least(size: Ints, threshold: float) -> Ints:
    """Return the smallest size (n) of a set that can be similar to one of `size` (n)."""
    return np.asarray(np.ceil(threshold * size - EPSILON), dtype=np.int64)


def overlap(a: Ints, b: Ints, threshold: float) -> Ints:
    """Return how many elements sets of sizes a and b (n) share at least if they are similar."""
    return np.asarray(np.ceil(threshold / (1 + threshold) * (a + b) - EPSILON), dtype=np.int64)


def group_sets(sets: ShingleSets, threshold: float, spill: Path | None = None) -> Groups:
    """Return the groups of two or more sets whose prefixes share an element.

    With `spill`, an existing directory, the postings are sorted in parts on disk.
    """
    layout = layout_of(sets.counts, threshold)
    piles = [Pile(spill, f"postings-{part}") for part in range(1 << layout.part_bits)]
    level, pieces = levels(sets.tokens), slices(np.cumsum(sets.counts), BATCH_TOKENS)
    for keys in in_threads(lambda s: postings(sets, s, threshold, level, layout), pieces):
        for pile, key in zip(piles, keys, strict=True):
            pile.add(key)
    return groups_of((pile.array() for pile in piles), layout)


def groups_of(piles: Iterable[Hashes], layout: Layout) -> Groups:
    """Return the groups of the postings of each part, whose pieces come in the order of sets."""
    parts, starts, found = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.int64)], 0
    for pile in piles:
        part, first = _repeated(np.sort(pile), layout)
        parts.append(part)
        starts.append(first + found)
        found += len(part)
    start, key = np.concatenate([*starts, [found]]), np.concatenate(parts)
    number = (key >> np.uint64(PLACE_BITS)) & np.uint64((1 << layout.number_bits) - 1)
    place = key & np.uint64((1 << PLACE_BITS) - 1)
    group = np.repeat(np.arange(len(start) - 1), np.diff(start))
    return Groups(start, group, number.astype(np.int64), place.astype(np.int64))


class Layout(NamedTuple):
    """How a posting lies in 64 bits: an element's hash, then a set's number, then a place."""

    number_bits: int
    part_bits: int  # leading bits of the hash that are the same in all postings of one part

    @property
    def low_bits(self) -> int:
        """Bits below the hash."""
        return self.number_bits + PLACE_BITS


def layout_of(counts: Ints, threshold: float, part_bits: int = 0) -> Layout:
    """Return the layout for sets of these sizes (n), with at least 2**part_bits parts."""
    total = int((counts - least(counts, threshold) + 1).sum())
    return Layout(
        max(1, (len(counts) - 1).bit_length()), max(part_bits, (total // PART).bit_length())
    )


def levels(tokens: Hashes) -> npt.NDArray[np.uint8]:
    """Return how common the elements are whose hashes begin with each of 2**b bit patterns."""
    bits = min(max((len(tokens) // 8).bit_length(), 10), 22)
    count = np.zeros(1 << bits, dtype=np.int64)
    for start in range(0, len(tokens), 1 << 22):
        head = tokens[start : start + (1 << 22)] >> np.uint64(SHINGLE_BITS - bits)
        count += np.bincount(head.astype(np.int64), minlength=len(count))
    return (2 * np.log2(count + 1)).clip(max=(1 << LEVEL_BITS) - 1).astype(np.uint8)


def postings(
    sets: ShingleSets, s: slice, threshold: float, level: npt.NDArray[np.uint8], layout: Layout
) -> list[Hashes]:
    """Return the postings of the prefixes of a few sets, apart by part.

    Of a set so small that no other reaches the threshold with it, the one posting is of all its
    elements together: else sets of two words would meet all others that share one of them.
    """
    counts = sets.counts[s]
    alone = counts / (counts + 1) < threshold - EPSILON
    element = sets.tokens[np.repeat(sets.begin[s], counts) + places_of(counts)]
    common = level[element >> np.uint64(SHINGLE_BITS - (len(level) - 1).bit_length())]
    row = np.repeat(np.arange(len(counts), dtype=np.uint64), counts)
    hash_bits = SHINGLE_BITS - LEVEL_BITS
    key = (row << np.uint64(SHINGLE_BITS)) | (common.astype(np.uint64) << np.uint64(hash_bits))
    key |= element >> np.uint64(LEVEL_BITS)
    key.sort(kind="stable")  # much faster here: the keys ascend from set to set
    place = places_of(counts)
    head = place <= np.repeat(np.where(alone, 0, counts - least(counts, threshold)), counts)
    first = np.flatnonzero((place == 0) & np.repeat(alone, counts))
    key[first] = _together(element, counts)[alone[counts > 0]] >> np.uint64(LEVEL_BITS)
    row, place = row[head] + np.uint64(s.start), place[head].clip(max=(1 << PLACE_BITS) - 1)
    key = key[head] & np.uint64((1 << hash_bits) - 1)
    posting = key << np.uint64(layout.low_bits)  # the topmost bits fall off
    posting |= (row << np.uint64(PLACE_BITS)) | place.astype(np.uint64)
    if not layout.part_bits:
        return [posting]
    part = (key >> np.uint64(hash_bits - layout.part_bits)).astype(np.int64)
    order = np.argsort(part, kind="stable")
    return np.split(
        posting[order], np.cumsum(np.bincount(part, minlength=1 << layout.part_bits))[:-1]
    )


def _together(element: Hashes, counts: Ints) -> Hashes:
    """Return one hash for all elements of each set that has any."""
    full = counts[counts > 0]
    if not len(full):
        return np.zeros(0, dtype=np.uint64)
    mixed = (element ^ (element >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = np.add.reduceat(mixed ^ (mixed >> np.uint64(32)), starts_of(full))
    return np.asarray(mixed >> np.uint64(64 - SHINGLE_BITS))


def _repeated(key: Hashes, layout: Layout) -> tuple[Hashes, Ints]:
    """Return the sorted postings whose hash occurs twice, and where each such hash begins."""
    same = np.zeros(len(key) + 1, dtype=bool)  # place i: posting i has the hash of i - 1
    same[1:-1] = (key[1:] ^ key[:-1]) < np.uint64(1 << layout.low_bits)
    keep = same[:-1] | same[1:]
    return key[keep], np.flatnonzero(~same[:-1][keep])


class GroupSearch:
    """Finds the sets of an entry's group that pass the filters."""

    def __init__(self, groups: Groups, counts: Ints, threshold: float) -> None:
        self.groups, self.counts, self.threshold = groups, counts, threshold
        # Long groups once more, by size and place: what may be similar lies side by side there.
        starts, group, number, place = groups
        long = np.flatnonzero(np.diff(starts)[group] > LONG)
        long = long[np.lexsort((place[long], counts[number[long]], group[long]))]
        self._base = int(counts.max(initial=0)) + 1
        key = group[long] * self._base + counts[number[long]]
        self._run_key, self._run_start = np.unique(key, return_index=True)
        run = np.repeat(
            np.arange(len(self._run_key)), np.diff(np.append(self._run_start, len(key)))
        )
        self._number, self._place_key = number[long], self._key_of(run, place[long])

    def candidates(self, heads: Ints, both_sides: bool) -> Iterator[tuple[Ints, Ints]]:
        """Yield (the head entry's set, another set of its group) for those that may be similar.

        Only later sets of the group, or all others with `both_sides`.
        """
        starts, group, number, place = self.groups
        low = starts[group[heads]] if both_sides else heads + 1
        high = starts[group[heads] + 1]
        long = high - low > LONG
        for head, other in expand(heads[~long], low[~long], high[~long]):
            a, b = number[head], number[other]
            need = overlap(self.counts[a], self.counts[b], self.threshold)
            rest = np.minimum(self.counts[a] - place[head], self.counts[b] - place[other])
            fits = (rest >= need) & (a != b)
            yield a[fits], b[fits]
        for a, b in self._by_size(heads[long]):
            fits = a != b if both_sides else b > a
            yield a[fits], b[fits]

    def _by_size(self, heads: Ints) -> Iterator[tuple[Ints, Ints]]:
        """Yield the candidates of entries of long groups, one stretch of equal sizes at a time."""
        _, group, number, place = self.groups
        size = self.counts[number[heads]]
        base = group[heads] * self._base
        most = np.floor(size / self.threshold + EPSILON).astype(np.int64).clip(max=self._base - 1)
        low = np.searchsorted(self._run_key, base + least(size, self.threshold))
        high = np.searchsorted(self._run_key, base + most, side="right")
        for head, run in expand(heads, low, high):
            mine, other = self.counts[number[head]], self._run_key[run] % self._base
            need = overlap(mine, other, self.threshold)
            fits = (mine - place[head] >= need) & (other >= need)
            head, run, last = head[fits], run[fits], (other - need)[fits]
            stop = np.searchsorted(self._place_key, self._key_of(run, last), side="right")
            for entry, at in expand(head, self._run_start[run], stop):
                yield number[entry], self._number[at]

    def _key_of(self, run: Ints, place: Ints) -> Ints:
        return np.asarray((run << PLACE_BITS) + place.clip(max=(1 << PLACE_BITS) - 1))


def expand(items: Ints, low: Ints, high: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Yield each item (n) with each of its low to high - 1 (n), about CHUNK pairs at a time."""
    counts = high - low
    for s in slices(np.cumsum(counts), CHUNK, most=len(items)):
        yield np.repeat(items[s], counts[s]), np.repeat(low[s], counts[s]) + places_of(counts[s])
