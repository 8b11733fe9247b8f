"""Which prompts ask the same, though many share a template: a long instruction around a few words.

Prompts under one template share most of their n-grams, whatever they ask. So where a group of
prompts that are alike has many different texts, the words that more than half of these have are
taken to be its template, and what is left of each prompt decides. Measured: GSM8K's 7,473 training
questions are 7,463 different ones; with the same 150 words before each of them 4,275 by their
n-grams alone, and 6,958 this way; with 450 words 3,776 and 7,178.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import Bools, Ints, mix, owners, places_of, starts_of
from curate.methods.pieces import BATCH_BITS, Hashes, Pile, slices
from curate.methods.set_join import JaccardJoin
from curate.methods.shingles import (
    SHINGLE_BITS,
    ShingleSets,
    count_shingles,
    distinct,
    marks_of,
)

SAMPLE = 1000  # texts of a group, its first ones, that tell its template
_AT_ONCE = 1 << 22  # words, of some 50 bytes each
_STOPS = "[.,;:!?\u2026\u3002\uff0c\uff1a\uff1b\uff01\uff1f\u3001()\"'\u201c\u201d\u2018\u2019]+"


class Words(NamedTuple):
    """Each text's distinct `bare` words, as `shingles.count_shingles` counts them one by one."""

    counts: Ints
    marks: Hashes
    tokens: Hashes


def words_in(texts: Iterable[pa.Array]) -> Words:
    """Return the words of texts, which come in any number of arrays."""
    pile = Pile(None, "")
    return Words(*count_shingles(bare(texts), 1, None, pile), pile.array())


def bare(texts: Iterable[pa.Array]) -> Iterator[pa.Array]:
    """Yield the texts without the stops, commas and quotes that end or begin a word."""
    for array in texts:
        ended = pc.replace_substring_regex(array, _STOPS + r"(\s|$)", r"\1")
        yield pc.replace_substring_regex(ended, r"(\s|^)" + _STOPS, r"\1")


def questions(
    twin: Ints, words: Words, threshold: float, least: int, spill: Path | None = None
) -> Ints:
    """Return a number for what each prompt asks (n): equal for prompts that ask the same.

    `twin` (n) is the prompt that stands for those alike, -1 for itself. Of a group of `least`
    different texts or more the words that more than half of them have are left out; what is left
    must have a Jaccard index of `threshold` for two prompts of the group to ask the same. A prompt
    without words asks -1. Large arrays lie in files of the directory `spill`, if there is one.
    """
    size = len(twin)
    head = np.where(twin < 0, np.arange(size), twin)
    firsts = _first_texts(head, words.marks)
    sizes = np.bincount(head[firsts], minlength=size)
    rows = np.flatnonzero(sizes[head] >= least)
    asked = np.where(words.counts == 0, -1, head)
    if not len(rows):
        return asked
    common = _common(firsts[sizes[head[firsts]] >= least], head, words)
    set_of, sets = _left(rows, head, words, common, spill)
    set_twin, _ = JaccardJoin(sets, threshold, spill).keep_greedily()
    first = np.where(set_twin < 0, np.arange(len(set_twin)), set_twin)
    there = set_of >= 0
    asked[rows[~there]] += size  # of these nothing is left but the template
    asked[rows[there]] = 2 * size + first[set_of[there]]
    return asked


def _first_texts(head: Ints, marks: Hashes) -> Ints:
    """Return the first row of each different text, group by group, and by row within a group."""
    order = np.lexsort((marks[0], marks[1], head))  # stable: of equal texts the first row leads
    ahead = np.stack([head.astype(np.uint64), *marks[:2]])[:, order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (ahead[:, 1:] != ahead[:, :-1]).any(axis=0)
    firsts = np.sort(order[new])
    return np.asarray(firsts[np.argsort(head[firsts], kind="stable")])


def _left(
    rows: Ints, head: Ints, words: Words, common: Hashes, spill: Path | None
) -> tuple[Ints, ShingleSets]:
    """Return the set of each row's words that are not common (-1 for none), and the sets."""
    pile, counts, marks = Pile(spill, "rests"), [], [np.zeros((3, 0), np.uint64)]
    for part in slices(np.cumsum(words.counts[rows]), _AT_ONCE):
        tokens, held = _rests(rows[part], head, words, common)
        pile.add(tokens)
        counts.append(held)
        marks.append(marks_of(tokens, held))
    return distinct(np.concatenate(counts), np.concatenate(marks, axis=1), None, pile.array())


def _common(rows: Ints, head: Ints, words: Words) -> Hashes:
    """Return the sorted keys of the words that more than half of a group's first texts have.

    `rows` holds one row of each different text, those of a group one after another.
    """
    sizes = np.unique(head[rows], return_counts=True)[1]
    rows = rows[places_of(sizes) < SAMPLE]
    sizes = np.minimum(sizes, SAMPLE)
    ends = np.cumsum(np.add.reduceat(words.counts[rows], starts_of(sizes)))
    start, found = np.append(0, np.cumsum(sizes)), []
    for part in slices(ends, _AT_ONCE, len(sizes)):
        own = rows[start[part.start] : start[part.stop]]
        key = _keys(own, head, words)
        key, at, count = np.unique(key, return_index=True, return_counts=True)
        group = owners(sizes[part])[owners(words.counts[own])[at]]
        found.append(key[2 * count > sizes[part][group]])
    return np.sort(np.concatenate(found))


def _keys(rows: Ints, head: Ints, words: Words) -> Hashes:
    """Return a hash of each word of the rows together with its group."""
    counts = words.counts[rows]
    at = np.repeat(starts_of(words.counts)[rows], counts) + places_of(counts)
    return np.asarray(mix(words.tokens[at], np.repeat(head[rows].astype(np.uint64), counts)))


def _rests(rows: Ints, head: Ints, words: Words, common: Hashes) -> tuple[Hashes, Ints]:
    """Return the words of at most 2**BATCH_BITS rows that are not `common`, and how many each has.

    In increasing order for each row; those of different groups never equal.
    """
    key = _keys(rows, head, words)
    owner = owners(words.counts[rows]).astype(np.uint64)
    left = ~_among(key, common)
    key = np.sort((owner[left] << np.uint64(SHINGLE_BITS)) | (key[left] >> np.uint64(BATCH_BITS)))
    held = np.bincount((key >> np.uint64(SHINGLE_BITS)).astype(np.int64), minlength=len(rows))
    return key & np.uint64((1 << SHINGLE_BITS) - 1), held.astype(np.int64)


def _among(keys: Hashes, ascending: Hashes) -> Bools:
    """Return which of the keys are in the sorted ones."""
    if not len(ascending):
        return np.zeros(len(keys), dtype=bool)
    place = np.searchsorted(ascending, keys).clip(max=len(ascending) - 1)
    found: npt.NDArray[np.bool_] = ascending[place] == keys
    return found
