"""Exact word n-gram overlap between rows and benchmark items, in process and vectorised.

Words are numbered by the items' own vocabulary and n-grams by looking pairs of shorter ones up
(two words, two pairs, ...), so a row's words drop out as soon as no item holds them, and nothing
is hashed: there are no false matches and no missed ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from curate.arrays import Column, Floats, Ints, load_polars, one_chunk, owners, places_of
from curate.methods.operators import calculates, kernel

if TYPE_CHECKING:
    import polars as pl


BLOCK = 1 << 14  # rows looked up at a time
CHUNK = 1 << 22  # occurrences of rows' n-grams in items held at a time

# Letters, marks and digits; in scripts written without spaces each letter counts as a word.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Myanmar}\p{Khmer}"
_WORD = rf"[{_UNSPACED}]|[\p{{L}}\p{{M}}\p{{N}}--[{_UNSPACED}]]+"


class Matches(NamedTuple):
    """Row `row` holds the share `score` (0 to 1) of the words of item `item`; sorted by both."""

    row: Ints
    item: Ints
    score: Floats


class Words(NamedTuple):
    """The words of many texts one after another, and how many each text has."""

    words: pl.Series
    counts: Ints


def words_of(texts: Column) -> Words:
    """Return the lower-case words (NFKC) of string column `texts`, punctuation left out."""
    pl = load_polars()

    series = pl.Series(pl.from_arrow(one_chunk(texts).cast(pa.large_string())))
    found = series.fill_null("").str.normalize("NFKC").str.to_lowercase().str.extract_all(_WORD)
    counts = found.list.len().to_numpy().astype(np.int64)
    return Words(found.explode().drop_nulls(), counts)


class _Postings(NamedTuple):
    """Where each n-gram occurs in the items: `places[starts[g] : starts[g + 1]]` for gram g."""

    starts: Ints
    places: Ints


class OverlapIndex:
    """Items (n texts), to be looked up in rows by their n-grams.

    An item of at least `n` words matches a row that holds more than the share `coverage` of its
    words, where a word is held if an n-gram around it occurs in the row (Tulu 3, Lambert et al.
    2024: n = 8, half; coverage 0 is the any-n-gram rule of GPT-3, Brown et al. 2020: n = 13).
    An item of `contain_from` to n - 1 words matches a row that holds all of it in one piece, a
    shorter one only a row that equals it; what stands between numbers counts for these (see
    `operators`). An item without words matches nothing.
    """

    def __init__(self, texts: Column, n: int, coverage: float, contain_from: int = 1) -> None:
        pl = load_polars()

        self.coverage = coverage
        found = words_of(texts)
        self.sizes = found.counts
        self._item = owners(self.sizes)  # of each place: a word of an item
        self._whole = self.sizes < contain_from
        short = np.flatnonzero((self.sizes < n) & (self.sizes > 0))
        kept = zip(short.tolist(), texts.take(pa.array(short)).to_pylist(), strict=True)
        self._kernels = {item: kernel(text) for item, text in kept if calculates(text)}
        self._doubtful = np.isin(np.arange(len(self.sizes)), list(self._kernels))
        self._names = pl.Enum(found.words.unique().sort())
        self._tables: dict[int, Ints] = {}
        length = np.minimum(self.sizes, n)
        grams = _Grams(self._number(found.words), self.sizes, self._tables, learn=True)
        self._postings: dict[int, _Postings] = {}
        for m in np.unique(length[length > 0]).tolist():
            # At m < n these are the items of m words, each with its one m-gram.
            gram = np.where(length[self._item] == m, grams.of(m), -1)
            place = np.flatnonzero(gram >= 0)
            order = np.argsort(gram[place], kind="stable")
            ends = np.searchsorted(gram[place][order], np.arange(grams.distinct(m) + 1))
            self._postings[m] = _Postings(ends, place[order])

    def matches(self, texts: Column) -> Matches:
        """Return every match of a row of string column `texts` with an item."""
        parts = [
            found._replace(row=found.row + start)
            for start in range(0, len(texts), BLOCK)
            for found in self._block(texts.slice(start, BLOCK))
        ]
        if not parts:
            empty = np.zeros(0, dtype=np.int64)
            return Matches(empty, empty, np.zeros(0))
        row, item, score = (np.concatenate(part) for part in zip(*parts, strict=True))
        order = np.lexsort((item, row))
        return Matches(row[order], item[order], score[order])

    def _calculated(self, found: Matches, texts: Column) -> Matches:
        """Return the matches without those of short items that calculate something else."""
        good = ~self._doubtful[found.item]
        at = np.flatnonzero(~good)
        rows, number = np.unique(found.row[at], return_inverse=True)
        held = [kernel(text) for text in texts.take(pa.array(rows)).to_pylist()]
        for place, row in zip(at.tolist(), number.tolist(), strict=True):
            item, own = int(found.item[place]), held[row]
            wanted = self._kernels[item]
            good[place] = own == wanted if self._whole[item] else wanted in own
        return Matches(found.row[good], found.item[good], found.score[good])

    def _number(self, words: pl.Series) -> Ints:
        codes = words.cast(self._names, strict=False).to_physical().cast(int)
        return codes.fill_null(-1).to_numpy().astype(np.int64)

    def _block(self, texts: Column) -> Iterator[Matches]:
        found = words_of(texts)
        grams = _Grams(self._number(found.words), found.counts, self._tables, learn=False)
        row_of = owners(found.counts)
        for m, postings in self._postings.items():
            gram = grams.of(m)
            there = gram >= 0
            distinct = max(len(postings.starts) - 1, 1)
            row, seen = np.divmod(_distinct(row_of[there] * distinct + gram[there]), distinct)
            counts = postings.starts[seen + 1] - postings.starts[seen]
            for piece in _whole_rows(row, counts):
                hits = self._score(m, row[piece], seen[piece], counts[piece], found.counts)
                yield self._calculated(hits, texts)

    def _score(self, m: int, row: Ints, gram: Ints, counts: Ints, row_sizes: Ints) -> Matches:
        """Return the matches among rows' distinct m-grams, which occur in `counts` places."""
        starts, places = self._postings[m]
        local = places_of(counts)
        place = places[np.repeat(starts[gram], counts) + local]
        row = np.repeat(row, counts)
        order = np.lexsort((place, row))
        row, place = row[order], place[order]
        item = self._item[place]
        first = np.ones(len(row), dtype=bool)
        first[1:] = (row[1:] != row[:-1]) | (item[1:] != item[:-1])
        # Each occurrence holds its m words, or those up to the next occurrence.
        held = np.full(len(row), m)
        held[:-1] = np.where(first[1:], m, np.minimum(np.diff(place), m))
        heads = np.flatnonzero(first)
        row, item = row[heads], item[heads]
        score = (np.add.reduceat(held, heads) if len(heads) else held) / self.sizes[item]
        good = score > self.coverage
        good &= ~self._whole[item] | (row_sizes[row] == self.sizes[item])
        return Matches(row[good], item[good], score[good])


class _Grams:
    """The n-grams that start at each word of many texts, as numbers; -1 where there is none.

    `tables` holds, for each length, the known pairs in order. With `learn` it is filled from
    these texts; without, n-grams that it does not know are -1.
    """

    def __init__(self, codes: Ints, counts: Ints, tables: dict[int, Ints], learn: bool) -> None:
        self._tables, self._learn = tables, learn
        ends = np.repeat(np.cumsum(counts), counts)
        self._left = ends - np.arange(len(codes))  # words from here to the text's end
        self._known = {1: codes}
        if learn:
            tables[1] = np.arange(int(codes.max(initial=-1)) + 1)

    def distinct(self, m: int) -> int:
        """Return the number of known m-grams."""
        return len(self._tables[m])

    def of(self, m: int) -> Ints:
        """Return the m-gram that starts at each word."""
        if m not in self._known:
            part = 1 << ((m - 1).bit_length() - 1)  # two of these cover m words
            self._known[m] = self._pairs(self.of(part), self.distinct(part), m, m - part)
        return self._known[m]

    def _pairs(self, gram: Ints, distinct: int, m: int, shift: int) -> Ints:
        after = np.full_like(gram, -1)
        after[: max(len(gram) - shift, 0)] = gram[shift:]
        there = np.flatnonzero((gram >= 0) & (after >= 0) & (self._left >= m))
        key = gram[there] * distinct + after[there]
        if self._learn and m not in self._tables:
            self._tables[m] = _distinct(key)
        table = self._tables[m]
        result = np.full_like(gram, -1)
        if len(table):
            at = np.searchsorted(table, key).clip(max=len(table) - 1)
            known = table[at] == key
            result[there[known]] = at[known]
        return result


def _distinct(values: Ints) -> Ints:
    """Return the distinct values in order; several times as fast as np.unique's hash table."""
    ordered = np.sort(values)
    new = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return np.asarray(ordered[new], dtype=np.int64)


def _whole_rows(row: Ints, counts: Ints) -> Iterator[slice]:
    """Cut the list (row, n-gram) into slices of about CHUNK occurrences that part no row."""
    heads = np.flatnonzero(np.diff(row, prepend=-1))
    before = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])[heads]
    cut = heads[np.flatnonzero(np.diff(before // CHUNK, prepend=-1))]
    for start, stop in pairwise([*cut.tolist(), len(row)]):
        yield slice(start, stop)
