"""Find near-duplicates: an exact set-similarity join on shingles, and cosine search.

Both searches answer the same question, block by block: which pairs (later, earlier) reach the
threshold, with the earlier one still alive. A greedy pass that drops rows therefore looks each
row up among the kept ones alone, and a cluster of n near-copies costs n look-ups, not n².

The join is a prefix filter with a positional bound (Chaudhuri et al. 2006; Xiao et al., PPJoin,
2008) and an exact check of every candidate: unlike MinHash it misses nothing.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.arrays import owners
from curate.stages.vectors import load_faiss, unit

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]

WIDTH = 3  # words a shingle
BLOCK = 1024  # rows looked up at a time
CHUNK = 1 << 20  # candidate pairs (or their shingles) held at a time
LONG_POSTING = 256  # from here on a shingle's rows are looked up by size and position
EPSILON = 1e-9  # lets a bound such as 0.55 * 20 = 11.000000000000002 round to 11
COSINE_SLACK = 1e-6  # float32 rounding: equal vectors can have a cosine of 0.9999999

# Scripts written without spaces: each character counts as a word, so that three words of such
# text are a character 3-gram. Han, kana, Thai, Lao, Myanmar, Khmer.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_UNSPACED += "\uf900-\ufaff\U00020000-\U0003134f"
_WORD = re.compile(f"[{_UNSPACED}]|[^\\s{_UNSPACED}]+")


class Pairs(NamedTuple):
    """Similar pairs: row `later` reaches `similarity` with row `earlier` < `later`."""

    later: Ints
    earlier: Ints
    similarity: Floats


class Search(Protocol):
    """Finds similar pairs among items that are ordered from best to worst."""

    @property
    def size(self) -> int:
        """Number of items."""

    def pairs(self, start: int, stop: int, alive: Mask, group: Ints | None) -> Iterator[Pairs]:
        """Yield pairs with start <= later < stop, earlier < later and alive[earlier].

        Pairs whose two items have one `group` may be left out. Calls come in order of `start`,
        and `alive` and `group` may be changed in place between two pieces.
        """


class ShingleSets(NamedTuple):
    """Distinct sets of shingles, numbered by first appearance.

    `starts` (m + 1) delimits each set in `tokens`, which are ranks in increasing order: rank 0
    is the rarest of `distinct` shingles.
    """

    starts: Ints
    tokens: Ints
    distinct: int


def words(text: str) -> list[str]:
    """Return the case-folded words of `text`; numbers and punctuation are kept as they are."""
    return _WORD.findall(unicodedata.normalize("NFC", text).casefold())


def shingle_sets(texts: Sequence[str | None]) -> tuple[Ints, ShingleSets]:
    """Return each text's set (n; -1 for a text without words) and the distinct sets.

    A shingle is three words in a row; a text of one or two words is the set of its words, which
    never equal another text's shingles.
    """
    codes, counts, vocabulary = _encode(texts)
    short = counts < WIDTH
    per_text = np.where(short, counts, counts - WIDTH + 1)
    text = owners(per_text)
    first = np.repeat(np.cumsum(counts) - counts, per_text) + _local(per_text)
    shingle = codes[first]
    wide = ~short[text]
    gram = shingle[wide]
    for step in range(1, WIDTH):
        joined = gram * vocabulary + codes[first[wide] + step]
        gram = np.unique(joined, return_inverse=True)[1].astype(np.int64)
    shingle[wide] = gram + vocabulary
    distinct = int(shingle.max(initial=-1)) + 1
    key = np.unique(text * max(distinct, 1) + shingle)
    text, shingle = np.divmod(key, max(distinct, 1))
    return _collapse(len(texts), text, shingle, distinct)


def _encode(texts: Sequence[str | None]) -> tuple[Ints, Ints, int]:
    """Return all texts' words as numbers, the number of words of each text, and of all words."""
    vocabulary: dict[str, int] = {}
    codes, counts = array("q"), np.zeros(len(texts), dtype=np.int64)
    for row, text in enumerate(texts):
        found = words(text or "")
        counts[row] = len(found)
        codes.extend([vocabulary.setdefault(word, len(vocabulary)) for word in found])
    return np.array(codes, dtype=np.int64), counts, len(vocabulary)


def _collapse(n: int, text: Ints, shingle: Ints, distinct: int) -> tuple[Ints, ShingleSets]:
    """Number equal sets alike and write each set as ranks, rarest first."""
    ends = np.searchsorted(text, np.arange(n + 1))
    seen: dict[bytes, int] = {}
    set_of, source = np.full(n, -1, dtype=np.int64), array("q")
    for row, (a, b) in enumerate(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)):
        if a < b:
            set_of[row] = number = seen.setdefault(shingle[a:b].tobytes(), len(seen))
            if number == len(source):
                source.append(row)
    rows = np.array(source, dtype=np.int64)
    counts = (ends[1:] - ends[:-1])[rows]
    members = shingle[np.repeat(ends[:-1][rows], counts) + _local(counts)]
    frequency = np.bincount(members, minlength=distinct)
    rank = np.empty(distinct, dtype=np.int64)
    rank[np.argsort(frequency, kind="stable")] = np.arange(distinct)
    key = np.sort(owners(counts) * max(distinct, 1) + rank[members])
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
    return set_of, ShingleSets(starts, key % max(distinct, 1), distinct)


def _local(counts: Ints) -> Ints:
    """Return 0, 1, ..., c - 1 for each count c, one after another."""
    return np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)


class JaccardSearch:
    """Pairs of sets whose Jaccard similarity reaches a threshold in (0, 1]."""

    def __init__(self, sets: ShingleSets, threshold: float) -> None:
        self.sets, self.threshold = sets, threshold
        self._counts = np.diff(sets.starts)
        self._key = owners(self._counts) * sets.distinct + sets.tokens  # increasing
        self._base = int(self._counts.max(initial=0)) + 1
        size, position = np.repeat(self._counts, self._counts), _local(self._counts)
        # Two sets that share too little beyond this prefix cannot reach the threshold.
        prefix = position <= size - np.ceil(threshold * size - EPSILON)
        number, token = owners(self._counts)[prefix], sets.tokens[prefix]
        key = self._posting_key(token, size[prefix], position[prefix])
        order = np.lexsort((number, key))
        self._posting, self._number = key[order], number[order]
        self._probe = number, token, position[prefix]

    @property
    def size(self) -> int:
        """Number of sets."""
        return len(self._counts)

    def _posting_key(self, token: Ints, size: Ints, position: Ints) -> Ints:
        return (token * self._base + size) * self._base + position

    def pairs(self, start: int, stop: int, alive: Mask, group: Ints | None) -> Iterator[Pairs]:
        """See `Search.pairs`."""
        live = (self._number < stop) & alive[self._number]
        posting, number = self._posting[live], self._number[live]
        probes, low, high = self._ranges(posting, start, stop)
        ends = np.cumsum(high - low)
        cuts = np.searchsorted(ends, np.arange(CHUNK, int(ends[-1]) if len(ends) else 0, CHUNK))
        for piece in np.split(np.arange(len(ends)), cuts):
            counts = (high - low)[piece]
            later = np.repeat(probes[piece], counts)
            earlier = number[np.repeat(low[piece], counts) + _local(counts)]
            ahead = earlier < later
            later, earlier = np.divmod(
                np.unique(later[ahead] * self.size + earlier[ahead]), max(self.size, 1)
            )
            yield from self._verify(later, earlier, group)

    def _ranges(self, posting: Ints, start: int, stop: int) -> tuple[Ints, Ints, Ints]:
        """Return, for each look-up of rows start to stop, the row and its slice of `posting`."""
        a, b = np.searchsorted(self._probe[0], [start, stop])
        row, token, position = (part[a:b] for part in self._probe)
        size = self._counts[row]
        least = np.ceil(self.threshold * size - EPSILON).astype(np.int64)
        most = np.floor(size / self.threshold + EPSILON).astype(np.int64).clip(max=self._base - 1)
        low = np.searchsorted(posting, self._posting_key(token, least, np.zeros_like(least)))
        high = np.searchsorted(posting, self._posting_key(token, most, most), side="right")
        long = high - low > LONG_POSTING
        # A shingle of very many rows: look up each size by itself, and there only the positions
        # from which the overlap that this pair of sizes requires can still be reached.
        spread = (most - least + 1)[long]
        again = np.repeat(np.flatnonzero(long), spread)
        other = np.repeat(least[long], spread) + _local(spread)
        share = self.threshold / (1 + self.threshold)
        overlap = np.ceil(share * (size[again] + other) - EPSILON).astype(np.int64)
        fits = (position[again] <= size[again] - overlap) & (overlap <= other)
        again, other, overlap = again[fits], other[fits], overlap[fits]
        from_, to = np.zeros_like(other), other - overlap
        low_ = np.searchsorted(posting, self._posting_key(token[again], other, from_))
        high_ = np.searchsorted(posting, self._posting_key(token[again], other, to), side="right")
        return (
            np.concatenate([row[~long], row[again]]),
            np.concatenate([low[~long], low_]),
            np.concatenate([high[~long], high_]),
        )

    def _verify(self, later: Ints, earlier: Ints, group: Ints | None) -> Iterator[Pairs]:
        """Compute the exact similarity of candidate pairs and yield those that reach it."""
        smaller = np.where(self._counts[later] <= self._counts[earlier], later, earlier)
        ends = np.cumsum(self._counts[smaller])
        cuts = np.searchsorted(ends, np.arange(CHUNK, int(ends[-1]) if len(ends) else 0, CHUNK))
        for piece in np.split(np.arange(len(ends)), cuts):
            a, b = later[piece], earlier[piece]
            if group is not None:
                apart = group[a] != group[b]
                a, b = a[apart], b[apart]
            shared = self._shared(a, b)
            similarity = shared / (self._counts[a] + self._counts[b] - shared)
            good = similarity >= self.threshold
            yield Pairs(a[good], b[good], similarity[good])

    def _shared(self, a: Ints, b: Ints) -> Ints:
        """Return the number of shingles that sets a[i] and b[i] have in common."""
        swap = self._counts[a] > self._counts[b]
        small, large = np.where(swap, b, a), np.where(swap, a, b)
        counts = self._counts[small]
        token = self.sets.tokens[np.repeat(self.sets.starts[small], counts) + _local(counts)]
        wanted = np.repeat(large, counts) * self.sets.distinct + token
        found = np.searchsorted(self._key, wanted).clip(max=max(len(self._key) - 1, 0))
        hits = self._key[found] == wanted
        return np.bincount(owners(counts)[hits], minlength=len(a)).astype(np.int64)


class CosineSearch:
    """Pairs of vectors whose cosine reaches a threshold; a zero vector matches nothing.

    `vectors` is (n, d) and needs no unit length. Raises MissingExtra without faiss.
    """

    def __init__(self, vectors: npt.NDArray[Any], threshold: float) -> None:
        self._unit = unit(vectors)
        self._radius = threshold - COSINE_SLACK
        self._index = load_faiss().IndexFlatIP(self._unit.shape[1])
        self._indexed = np.zeros(0, dtype=np.int64)  # the item behind each indexed vector
        self._done = 0

    @property
    def size(self) -> int:
        """Number of vectors."""
        return len(self._unit)

    def pairs(self, start: int, stop: int, alive: Mask, group: Ints | None) -> Iterator[Pairs]:
        """See `Search.pairs`."""
        nonzero: Mask = np.abs(self._unit).max(axis=1, initial=0) > 0
        new = self._done + np.flatnonzero((alive & nonzero)[self._done : start])
        self._index.add(np.ascontiguousarray(self._unit[new]))
        self._indexed = np.concatenate([self._indexed, new])
        self._done = start
        block = np.ascontiguousarray(self._unit[start:stop])
        if len(self._indexed):
            limits, cosine, found = self._index.range_search(block, float(self._radius))
            row = start + owners(np.diff(limits.astype(np.int64)))
            keep = nonzero[row]
            yield Pairs(row[keep], self._indexed[found[keep]], cosine[keep].astype(np.float64))
        inside = np.tril(block @ block.T >= self._radius, -1)
        inside &= nonzero[start:stop, None] & nonzero[None, start:stop]
        later, earlier = np.nonzero(inside)
        cosines = np.einsum("ij,ij->i", block[later], block[earlier]).astype(np.float64)
        yield Pairs(later + start, earlier + start, cosines)


def keep_greedily(search: Search) -> tuple[Ints, Floats]:
    """Return the twin (n; -1 where the item is kept) and the similarity to it, best item first.

    Items are taken in order; one is dropped only if it is similar to an item already kept, and
    its twin is the most similar of these (the first, if equal). There are no transitive chains:
    with a ~ b ~ c and a, c unalike, both a and c stay.
    """
    n = search.size
    alive = np.ones(n, dtype=bool)
    twin, similarity = np.full(n, -1, dtype=np.int64), np.zeros(n)
    for start in range(0, n, BLOCK):
        found = list(search.pairs(start, min(start + BLOCK, n), alive, None))
        later, earlier, value = (np.concatenate(part) for part in zip(*found, strict=True))
        order = np.lexsort((earlier, -value, later))
        later, earlier, value = later[order], earlier[order], value[order]
        heads = np.flatnonzero(np.diff(later, prepend=-1))
        tails = np.append(heads, len(later))[1:]
        for a, b in zip(heads.tolist(), tails.tolist(), strict=True):
            kept = np.flatnonzero(alive[earlier[a:b]])
            if len(kept):
                best, row = a + int(kept[0]), int(later[a])
                alive[row], twin[row], similarity[row] = False, earlier[best], value[best]
    return twin, similarity


def components(search: Search) -> Ints:
    """Return each item's component (n), named by its first item, under the similar pairs."""
    n = search.size
    root, alive = np.arange(n), np.ones(n, dtype=bool)
    for start in range(0, n, BLOCK):
        for later, earlier, _ in search.pairs(start, min(start + BLOCK, n), alive, root):
            for a, b in zip(later.tolist(), earlier.tolist(), strict=True):
                x, y = _find(root, a), _find(root, b)
                root[max(x, y)] = min(x, y)
            while (root != (above := root[root])).any():
                root[:] = above
    return root


def _find(root: Ints, item: int) -> int:
    while (above := int(root[item])) != item:
        root[item] = root[above]
        item = above
    return item
