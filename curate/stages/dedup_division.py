"""How looking for duplicates divides: spans of rows become hashes, and those find the copies.

Exact copies: each span gives two hashes an item, which are compared in one place (some 50 bytes an
item). Near copies: each span gives its shingles, which go to one file; the postings of the rarest
ones are made span by span and searched part by part, a part being the elements whose hashes begin
alike, as in the set-similarity joins of Vernica et al. (2010). Which sets stay is decided between
two rounds of comparisons, in one place, by the same rule as in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.arrays import Floats, Ints, join_texts
from curate.division import Division, Piece, Space, pick
from curate.methods.pieces import Pile, in_threads, slices
from curate.methods.postings import (
    BATCH_TOKENS,
    Groups,
    Layout,
    groups_of,
    layout_of,
    levels,
    postings,
)
from curate.methods.set_join import (
    KEPT,
    OPEN,
    JaccardJoin,
    Pairs,
    Progress,
    join_pairs,
    settle,
    twins,
)
from curate.methods.shingles import ShingleSets, count_shingles, distinct, number_equal
from curate.stage import Result
from curate.stages.dedup import first_of, percent, salt_of, text_marks, text_twins
from curate.stages.dedup_items import (
    Items,
    best_first,
    drop_items,
    item_texts,
    item_value,
    items_of,
    names_of,
)

SETS, GROUPS = ("begin", "sizes", "sketch"), ("starts", "group", "number", "place")
PAIRS = ("later", "earlier", "close")
PART_BITS = 6  # postings come in 64 parts at most, or in more where these would be large


@dataclass(frozen=True)
class ExactCopies(Division):
    """`ExactDedup.apply` in pieces."""

    on: str
    normalize: bool
    keep_by: str | None

    def steps(self, space: Space) -> Iterator[Sequence[Piece]]:
        """Hash the texts of every span, then find the equal ones."""
        yield space.reading("hash")
        there = space.all_of("there", space.spans)
        order = _order(space, self.keep_by, len(there))
        number, first = number_equal(space.all_of("marks", space.spans), order[there[order]])
        space.save("twin", 0, first_of(number, first))

    def work(self, piece: Piece, view: pa.Table | None, space: Space) -> None:
        """Keep the hashes of the span's items, and where there is a text."""
        assert view is not None  # noqa: S101 - `hash` is the one step, and it reads
        _keep_items(view, self.on, self.keep_by, space, piece.number)
        texts = item_texts(view, self.on, seal=True, fold=self.normalize)
        marks, there = text_marks(texts)
        space.save("marks", piece.number, marks)
        space.save("there", piece.number, there)

    def result(self, span: int, view: pa.Table, space: Space, counts: Counter[str]) -> Result:
        """Return the reason for each later copy in the span."""
        which, names, _ = _found(space, span)
        why = join_texts("exact duplicate of ", names)
        return drop_items(view, self.on, items_of(view, self.on), which, why)


@dataclass(frozen=True)
class NearCopies(Division):
    """`NearDedup.apply` over words in pieces."""

    on: str
    threshold: float
    ngram: int
    keep_by: str | None

    def steps(self, space: Space) -> Iterator[Sequence[Piece]]:
        """Make the shingles, their postings and groups, then compare until all is decided."""
        yield space.reading("shingles")
        counts, marks = (space.all_of(name, space.spans) for name in ("counts", "marks"))
        order = _order(space, self.keep_by, len(counts))
        tokens = space.join("tokens")
        set_of, sets = distinct(counts, marks, order, tokens)
        del counts, marks
        _save(space, SETS, 0, sets[:3])
        space.save("level", 0, levels(tokens))
        yield [Piece("post", number) for number in range(space.spans)]
        parts = 1 << self._layout(space, sets.counts).part_bits
        yield [Piece("group", part) for part in range(parts)]
        set_twin, similarity = yield from self._rounds(space, len(sets.counts), parts)
        twin, close = text_twins(set_of, order, set_twin, similarity)
        space.save("twin", 0, twin)
        space.save("similarity", 0, close)

    def _rounds(
        self, space: Space, size: int, parts: int
    ) -> Generator[Sequence[Piece], None, tuple[Ints, Floats]]:
        """Yield the rounds of comparisons; return the twin and similarity of each of `size` sets.

        This is `JaccardJoin.keep_greedily` with the groups in parts. Piece turn * parts + part
        does one part's share of a turn, and leaves what the next turn of that part needs.
        """
        state = np.full(size, KEPT, dtype=np.uint8)
        for part in range(parts):
            state[space.load("number", part)] = OPEN
        found, unsettled, turn = list[Pairs](), join_pairs([]), 0
        left = [part for part in range(parts) if len(space.load("entries", part))]
        while left:
            space.save("state", turn, state)
            yield [Piece("compare", number) for number in left]
            now = join_pairs([Pairs(*_load(space, PAIRS, number)) for number in left])
            found.append(now)
            waiting = np.concatenate([space.load("waiting", number) for number in left])
            unsettled = settle(state, waiting, join_pairs([unsettled, now]))
            left = [n + parts for n in left if len(space.load("entries", n + parts))]
            turn += 1
        return twins(state, join_pairs(found))

    def work(self, piece: Piece, view: pa.Table | None, space: Space) -> None:
        """Do a piece of the step that it names."""
        if view is not None:
            self._shingles(view, space, piece.number)
        elif piece.step == "post":
            self._post(space, piece.number)
        elif piece.step == "group":
            self._group(space, piece.number)
        else:
            self._compare(space, piece.number)

    def _shingles(self, view: pa.Table, space: Space, span: int) -> None:
        """Keep the shingles of the span's items, how many each has and their marks."""
        items = _keep_items(view, self.on, self.keep_by, space, span)
        pile = Pile(None, "")
        texts, salt = item_texts(view, self.on), salt_of(view, self.on, items)
        counts, marks = count_shingles(texts, self.ngram, salt, pile)
        space.save("counts", span, counts)
        space.save("marks", span, marks)
        space.save("tokens", span, pile.array())

    def _post(self, space: Space, number: int) -> None:
        """Keep the postings of one stretch of the sets, part by part, and where each part ends."""
        sets = _sets(space)
        layout, level = self._layout(space, sets.counts), space.load("level")
        start, stop = (len(sets.counts) * k // space.spans for k in (number, number + 1))
        stretch = slices(np.cumsum(sets.counts[start:stop]), BATCH_TOKENS)
        made = in_threads(
            lambda s: postings(
                sets, slice(start + s.start, start + s.stop), self.threshold, level, layout
            ),
            stretch,
        )
        none = [np.zeros(0, dtype=np.uint64) for _ in range(1 << layout.part_bits)]
        parts = [np.concatenate(part) for part in zip(none, *made, strict=True)]
        space.save("posting", number, np.concatenate(parts))
        space.save("ends", number, np.cumsum([0, *map(len, parts)]))

    def _group(self, space: Space, part: int) -> None:
        """Keep the groups of sets that share an element of the part."""
        stretches = [
            space.load("posting", n)[slice(*space.load("ends", n)[part : part + 2])]
            for n in range(space.spans)
        ]
        sets = _sets(space)
        groups = groups_of([np.concatenate(stretches)], self._layout(space, sets.counts))
        begun = JaccardJoin(sets, self.threshold, groups=groups).begin()
        _save(space, GROUPS, part, groups)
        _save(space, ("entries", "done"), part, begun[:2])

    def _compare(self, space: Space, number: int) -> None:
        """Do one part's share of one turn; see `_rounds`."""
        sets = _sets(space)
        parts = 1 << self._layout(space, sets.counts).part_bits
        turn, part = divmod(number, parts)
        join = JaccardJoin(sets, self.threshold, groups=Groups(*_load(space, GROUPS, part)))
        entries, done = _load(space, ("entries", "done"), number)
        before = Progress(entries, done, 1 << turn)
        pairs, after, waiting = join.advance(space.load("state", turn), before)
        _save(space, PAIRS, number, pairs)
        space.save("waiting", number, np.unique(waiting))
        _save(space, ("entries", "done"), number + parts, after[:2])

    def _layout(self, space: Space, counts: Ints) -> Layout:
        return layout_of(counts, self.threshold, min(PART_BITS, (space.spans - 1).bit_length()))

    def result(self, span: int, view: pa.Table, space: Space, counts: Counter[str]) -> Result:
        """Return the reason for each near-copy in the span."""
        which, names, at = _found(space, span)
        close = space.load("similarity")[at]
        why = join_texts("near duplicate of ", names, percent(close))
        return drop_items(view, self.on, items_of(view, self.on), which, why)


def _sets(space: Space) -> ShingleSets:
    return ShingleSets(*(space.load(name) for name in (*SETS, "tokens of all")))


def _keep_items(view: pa.Table, on: str, keep_by: str | None, space: Space, span: int) -> Items:
    """Return the span's items, with their names and what ranks them kept for later steps."""
    items = items_of(view, on)
    space.save("names", span, names_of(view, on, items, np.arange(len(items.row))))
    if keep_by is not None:
        space.save("value", span, item_value(view, on, keep_by))
    return items


def _order(space: Space, keep_by: str | None, size: int) -> Ints:
    """Return all items from best to worst, as `item_order` does."""
    if keep_by is None:
        return np.arange(size)
    return best_first(space.all_of("value", space.spans), keep_by)


def _found(space: Space, span: int) -> tuple[Ints, pa.Array, Ints]:
    """Return the span's items that have a twin, the twins' names, and the items among all."""
    names = space.texts("names")
    start = sum(len(chunk) for chunk in names.chunks[:span])
    twin = space.load("twin")[start : start + len(names.chunk(span))]
    which = np.flatnonzero(twin >= 0)
    return which, pick(names, twin[which]), start + which


def _save(
    space: Space, names: Sequence[str], number: int, arrays: Sequence[npt.NDArray[Any]]
) -> None:
    for name, array in zip(names, arrays, strict=True):
        space.save(name, number, array)


def _load(space: Space, names: Sequence[str], number: int) -> list[npt.NDArray[Any]]:
    return [space.load(name, number) for name in names]
