"""Texts as sets of word n-grams ("shingles"), a few thousand texts at a time, without a loop.

A word is what stands between white space; case is folded, numbers and punctuation are kept as
they are, so "2+3" and "2+4" differ. In scripts written without spaces each character is a word.
A shingle is known by 52 bits of a hash: two given texts of 30 shingles each are compared as if
one more of them were shared with a chance of 2e-13.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import Column, Ints, one_chunk, starts_of
from curate.methods.pieces import BATCH_BITS, Hashes, Pile, in_threads, slices

WIDTH = 3  # words a shingle, unless told otherwise
BATCH_BYTES = 1 << 21  # a batch stays within the processor's cache, unless one text is longer
SHINGLE_BITS = 64 - BATCH_BITS
BORDER = "\x1e"  # the record separator: no shingle reaches across it

# Han, kana, Thai, Lao, Myanmar, Khmer: three characters of such text make a 3-gram.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_UNSPACED += "\uf900-\ufaff\U00020000-\U0003134f"
_SPACE = "\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# In NFC by themselves and with each other; normalizing is slow, and most text needs none.
_COMPOSED = "\u0001-\u02ff\u2010-\u2027\u2030-\u205e\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fff"
_COMPOSED += "\uac00-\ud7a3"

_ODD = tuple(np.uint64(k) for k in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9))
_LOW_BYTES = np.array([(1 << 8 * k) - 1 for k in range(9)], dtype=np.uint64)


class ShingleSets(NamedTuple):
    """Distinct sets of shingles, from the best text's to the worst's.

    Set i is `tokens[begin[i] : begin[i] + counts[i]]`: distinct, in increasing order. `tokens`
    may be a file mapped into memory. Each shingle sets one bit of the set's `sketch`.
    """

    begin: Ints
    counts: Ints
    sketch: Hashes
    tokens: Hashes


def fold(texts: Column) -> pa.Array:
    """Return the texts in NFC and lower case with words between spaces; null becomes empty.

    Where a text is ASCII it comes back as it is: `tokenize` lowers ASCII letters itself.
    """
    column = pc.fill_null(one_chunk(texts), "")
    plain = pc.string_is_ascii(column)
    if pc.all(plain).as_py() is not False:
        return column
    wide = column.filter(pc.invert(plain))
    apart = pc.match_substring_regex(wide, f"[^{_COMPOSED}]")
    wide = pc.replace_with_mask(wide, apart, pc.utf8_normalize(wide.filter(apart), "NFC"))
    wide = pc.replace_substring_regex(pc.utf8_lower(wide), f"([{_UNSPACED}])|[{_SPACE}]", r" \1 ")
    return pc.replace_with_mask(column, pc.invert(plain), wide)


def words(text: str) -> list[str]:
    """Return the words of one text, as the shingles see them."""
    folded = str(fold(pa.array([text]))[0])
    spaced = "".join(c if c > " " else " " for c in folded)
    return ["".join(c.lower() if c.isascii() else c for c in w) for w in spaced.split(" ") if w]


def word_counts(texts: Iterable[pa.Array]) -> Ints:
    """Return how many words each text has (n), as the shingles see them; null has none.

    `texts` come in any number of arrays.
    """
    found = [np.zeros(0, dtype=np.int64)]
    for _, part in batches(texts):
        data, offsets = _bytes_of(fold(part))
        first, _ = _word_bounds(data, offsets)
        found.append(np.diff(np.searchsorted(first, offsets)))
    return np.concatenate(found)


def tokenize(texts: pa.Array, width: int, salt: Hashes | None = None) -> tuple[Hashes, Ints]:
    """Return the distinct shingles of each of at most 2**BATCH_BITS texts, and how many each has.

    A text (or a part of it between two borders) of fewer than `width` words is the set of its
    words, which never equal a shingle. Texts of different `salt` (n) share nothing.
    """
    data, offsets = _bytes_of(texts)
    first, last = _word_bounds(data, offsets)
    hashes = _hash_words(data, first, last - first)
    # Parts: the texts, cut at their borders.
    cuts = np.flatnonzero(data == ord(BORDER))
    part_offsets = np.sort(np.concatenate([offsets, cuts]), kind="stable")
    row = np.searchsorted(offsets, part_offsets[:-1], side="right") - 1
    edges = np.searchsorted(first, part_offsets)
    gram, per_part = _grams(hashes, edges, width)
    row = np.repeat(row, per_part).astype(np.uint64)
    if salt is not None:
        gram += salt[row]
    key = _mix(gram) >> np.uint64(BATCH_BITS)
    key |= row << np.uint64(SHINGLE_BITS)
    key.sort(kind="stable")  # much faster here: the keys ascend from text to text
    new = np.ones(len(key), dtype=bool)
    np.not_equal(key[1:], key[:-1], out=new[1:])
    key = key[new]
    owner = (key >> np.uint64(SHINGLE_BITS)).astype(np.int64)
    key &= np.uint64((1 << SHINGLE_BITS) - 1)
    return key, np.bincount(owner, minlength=len(texts))


def _grams(hashes: Hashes, edges: Ints, width: int) -> tuple[Hashes, Ints]:
    """Return the hashes of each part's n-grams, and their number; part p has words from edges[p].

    A part of fewer than `width` words gives its words.
    """
    counts, size = np.diff(edges), len(hashes)
    gram = hashes.copy()
    inside = np.ones(size, dtype=bool)
    short = counts < width
    for step in range(1, width):
        gram *= _ODD[0]
        gram[: max(size - step, 0)] += hashes[step:]
        inside[(edges[1:] - step)[~short]] = False
    single = np.repeat(short, counts)
    gram[single] = hashes[single] ^ _ODD[1]
    return gram[inside], np.where(short, counts, counts - width + 1)


def shingle_sets(
    texts: Iterable[pa.Array],
    order: Ints | None = None,
    width: int = WIDTH,
    salt: Hashes | None = None,
    spill: Path | None = None,
) -> tuple[Ints, ShingleSets]:
    """Return each text's set (n; -1 for a text without words) and the distinct sets.

    `texts` come in any number of arrays. `order` (n) lists them from best to worst; the sets are
    numbered by it. Texts of different `salt` (n) share nothing. With `spill`, an existing
    directory, the shingles lie in a file there and not in memory.
    """
    pile = Pile(spill, "shingles")
    counts, marks = count_shingles(texts, width, salt, pile)
    return distinct(counts, marks, order, pile.array())


def count_shingles(
    texts: Iterable[pa.Array], width: int, salt: Hashes | None, pile: Pile
) -> tuple[Ints, Hashes]:
    """Add the shingles of each text to `pile`; return how many (n) and their marks (3, n)."""

    def work(batch: tuple[int, pa.Array]) -> tuple[Hashes, Ints, Hashes]:
        start, part = batch
        own = None if salt is None else salt[start : start + len(part)]
        tokens, counts = tokenize(fold(part), width, own)
        return tokens, counts, marks_of(tokens, counts)

    count_parts, mark_parts = [np.zeros(0, np.int64)], [np.zeros((3, 0), np.uint64)]
    for tokens, counts, marks in in_threads(work, batches(texts)):
        pile.add(tokens)
        count_parts.append(counts)
        mark_parts.append(marks)
    return np.concatenate(count_parts), np.concatenate(mark_parts, axis=1)


def distinct(
    counts: Ints, marks: Hashes, order: Ints | None, tokens: Hashes
) -> tuple[Ints, ShingleSets]:
    """Return each text's set (n) and the distinct sets, from the results of `count_shingles`."""
    rank = np.arange(len(counts)) if order is None else order
    set_of, best = number_equal(marks[:2], rank[counts[rank] > 0])
    begin = starts_of(counts)
    return set_of, ShingleSets(begin[best], counts[best], marks[2, best], tokens)


def marks_of(tokens: Hashes, counts: Ints) -> Hashes:
    """Return two 64-bit hashes and a sketch (3, n) of each set; zeros for an empty one."""
    marks = np.zeros((3, len(counts)), dtype=np.uint64)
    filled = np.flatnonzero(counts)
    if len(filled):
        begin = starts_of(counts)[filled]
        marks[0, filled] = np.add.reduceat(tokens * tokens, begin)
        marks[1, filled] = np.add.reduceat(tokens * _ODD[0], begin)
        marks[2, filled] = np.bitwise_or.reduceat(np.uint64(1) << (tokens & np.uint64(63)), begin)
    return marks


def number_equal(marks: Hashes, order: Ints) -> tuple[Ints, Ints]:
    """Number the items of `order` so that equal marks (2, n) share a number.

    Returns each item's number (n; -1 where it is not in `order`), and each number's first item
    in `order`; numbers follow the first appearance.
    """
    sort = np.argsort(marks[0, order], kind="stable")  # the best of equal items comes first
    ahead = marks[:, order[sort]]
    heads = np.ones(len(order), dtype=bool)
    heads[1:] = (ahead[:, 1:] != ahead[:, :-1]).any(axis=0)
    firsts = sort[heads]
    number = np.empty(len(firsts), dtype=np.int64)
    number[np.argsort(firsts)] = np.arange(len(firsts))
    item_number = np.full(marks.shape[1], -1, dtype=np.int64)
    item_number[order[sort]] = number[np.cumsum(heads) - 1]
    return item_number, order[np.sort(firsts)]


def _bytes_of(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], Ints]:
    """Return the texts' bytes with ASCII letters lowered and 8 spare bytes, and n + 1 offsets."""
    kind = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    _, ends, data = texts.buffers()
    offsets = np.frombuffer(ends, dtype=kind)[texts.offset : texts.offset + len(texts) + 1]
    offsets = offsets.astype(np.int64)
    size = int(offsets[-1] - offsets[0])
    lowered = np.zeros(size + 8, dtype=np.uint8)
    if size:
        source = np.frombuffer(data, dtype=np.uint8)[offsets[0] : offsets[-1]]
        upper = (source - np.uint8(ord("A"))) < 26
        np.bitwise_or(source, upper.view(np.uint8) << np.uint8(5), out=lowered[:size])
    return lowered, offsets - offsets[0]


def _word_bounds(data: npt.NDArray[np.uint8], offsets: Ints) -> tuple[Ints, Ints]:
    """Return where each word begins and ends; no word reaches from one text into the next."""
    inside = data > 32
    inside[-8:] = False
    before = np.zeros(len(data), dtype=bool)
    before[1:] = inside[:-1]
    begins, ends = inside & ~before, before & ~inside
    borders = offsets[inside[offsets] & before[offsets]]
    begins[borders] = ends[borders] = True
    return np.flatnonzero(begins), np.flatnonzero(ends)


def _hash_words(data: npt.NDArray[np.uint8], first: Ints, size: Ints) -> Hashes:
    """Return a 64-bit hash of each word, which reads it eight bytes at a time."""
    lanes = np.ndarray((max(len(data) - 7, 0),), dtype="<u8", buffer=data, strides=(1,))
    hashes = _mix((lanes[first] & _LOW_BYTES[np.minimum(size, 8)]) + size.astype(np.uint64))
    long = np.flatnonzero(size > 8)
    if len(long):
        more = (size[long] - 1) // 8
        begin = starts_of(more)
        lane = np.arange(int(more.sum())) - np.repeat(begin, more) + 1
        at = np.repeat(first[long], more) + 8 * lane
        rest = np.minimum(np.repeat(size[long], more) - 8 * lane, 8)
        value = (lanes[at] & _LOW_BYTES[rest]) + lane.astype(np.uint64) * _ODD[1]
        hashes[long] = _mix(hashes[long] + np.add.reduceat(_mix(value), begin))
    return hashes


def _mix(values: Hashes) -> Hashes:
    """Scatter 64-bit values (the finisher of splitmix64, Steele et al. 2014)."""
    out = values ^ (values >> np.uint64(30))
    out *= np.uint64(0xBF58476D1CE4E5B9)
    out ^= out >> np.uint64(27)
    out *= np.uint64(0x94D049BB133111EB)
    out ^= out >> np.uint64(31)
    return out


def batches(texts: Iterable[pa.Array]) -> Iterator[tuple[int, pa.Array]]:
    """Cut the texts into pieces of at most 2**BATCH_BITS texts and about BATCH_BYTES bytes.

    Yields each piece and the number of texts before it; small arrays are put together.
    """
    done, waiting, held, weight = 0, list[pa.Array](), 0, 0
    for array in texts:
        size = pc.fill_null(pc.binary_length(array), 0).to_numpy(zero_copy_only=False)
        ends = np.cumsum(size, dtype=np.int64)
        for cut in slices(ends, BATCH_BYTES):
            piece, own = array[cut], int(ends[cut.stop - 1] - ends[cut.start] + size[cut.start])
            if held and (held + len(piece) > 1 << BATCH_BITS or weight + own > BATCH_BYTES):
                yield done, pa.concat_arrays(waiting)
                done, waiting, held, weight = done + held, [], 0, 0
            waiting.append(piece)
            held, weight = held + len(piece), weight + own
    if held:
        yield done, pa.concat_arrays(waiting)
