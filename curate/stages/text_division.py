"""How a join of texts by their words divides among workers that share a folder.

Each span gives its shingles, which go to one file; the postings of the rarest ones are made span by
span and searched part by part, a part being the elements whose hashes begin alike, as in the
set-similarity joins of Vernica et al. (2010). Which sets stay is decided between two rounds of
comparisons, in one place, by the same rule as in memory; chains of similar sets are followed within
each part, and put together.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.arrays import Floats, Ints
from curate.division import Piece, Space
from curate.methods.pieces import Hashes, Pile, in_threads, slices
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
    link,
    settle,
    twins,
)
from curate.methods.shingles import WIDTH, ShingleSets, count_shingles, distinct
from curate.stages.dedup import text_twins

SETS, GROUPS = ("begin", "sizes", "sketch"), ("starts", "group", "number", "place")
PAIRS = ("later", "earlier", "close")
PART_BITS = 6  # postings come in 64 parts at most, or in more where these would be large

Steps = Generator[Sequence[Piece], None, None]


@dataclass(frozen=True)
class TextJoin:
    """The join of all spans' texts; several of different `name` may share a folder.

    A stage's division keeps the texts of each span (`keep`) in a step of its own, goes through
    the steps of `near_copies` or `chains`, and hands their pieces on to `work`.
    """

    name: str
    threshold: float
    width: int = WIDTH

    def keep(self, texts: Iterable[pa.Array], salt: Hashes | None, space: Space, span: int) -> None:
        """Keep the shingles of the span's texts, how many each has and their marks."""
        space, pile = self._own(space), Pile(None, "")
        counts, marks = count_shingles(texts, self.width, salt, pile)
        space.save("counts", span, counts)
        space.save("marks", span, marks)
        space.save("tokens", span, pile.array())

    def near_copies(
        self, space: Space, order: Ints | None = None
    ) -> Generator[Sequence[Piece], None, tuple[Ints, Floats]]:
        """Yield the steps; return each text's twin (n; -1 where it stays) and the Jaccard index.

        As `dedup.near_text`; `order` (n) lists the texts from best to worst.
        """
        space = self._own(space)
        set_of, counts, parts = yield from self._grouped(space, order)
        set_twin, similarity = yield from self._rounds(space, len(counts), parts)
        order = np.arange(len(set_of)) if order is None else order
        return text_twins(set_of, order, set_twin, similarity)

    def chains(self, space: Space) -> Generator[Sequence[Piece], None, Ints]:
        """Yield the steps; return each text's group (n), linked by chains of similar texts.

        A text without words is a group of its own.
        """
        space = self._own(space)
        set_of, counts, parts = yield from self._grouped(space, None)
        yield [self._piece("link", part) for part in range(parts)]
        root = np.arange(len(counts))
        for part in range(parts):
            link(root, *space.load("links", part))
        group = len(root) + np.arange(len(set_of))
        there = set_of >= 0
        group[there] = root[set_of[there]]
        return group

    def work(self, piece: Piece, space: Space) -> bool:
        """Do a piece of one of these steps; return whether it is one of this join's."""
        name, _, step = piece.step.rpartition(" ")
        if name != self.name:
            return False
        work = {"post": _post, "group": _group, "compare": _compare, "link": _link}[step]
        work(self._own(space), piece.number, self.threshold)
        return True

    def _grouped(
        self, space: Space, order: Ints | None
    ) -> Generator[Sequence[Piece], None, tuple[Ints, Ints, int]]:
        """Make the distinct sets, their postings and groups.

        Returns each text's set, the sets' sizes, and the number of parts.
        """
        counts, marks = (space.all_of(name, space.spans) for name in ("counts", "marks"))
        tokens = space.join("tokens")
        set_of, sets = distinct(counts, marks, order, tokens)
        del counts, marks
        _save(space, SETS, 0, sets[:3])
        space.save("level", 0, levels(tokens))
        yield [self._piece("post", number) for number in range(space.spans)]
        parts = 1 << _layout(space, sets.counts, self.threshold).part_bits
        yield [self._piece("group", part) for part in range(parts)]
        return set_of, sets.counts, parts

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
            yield [self._piece("compare", number) for number in left]
            now = join_pairs([Pairs(*_load(space, PAIRS, number)) for number in left])
            found.append(now)
            waiting = np.concatenate([space.load("waiting", number) for number in left])
            unsettled = settle(state, waiting, join_pairs([unsettled, now]))
            left = [n + parts for n in left if len(space.load("entries", n + parts))]
            turn += 1
        return twins(state, join_pairs(found))

    def _own(self, space: Space) -> Space:
        return replace(space, prefix=f"{self.name} ")

    def _piece(self, step: str, number: int) -> Piece:
        return Piece(f"{self.name} {step}", number)


def _post(space: Space, number: int, threshold: float) -> None:
    """Keep the postings of one stretch of the sets, part by part, and where each part ends."""
    sets = _sets(space)
    layout, level = _layout(space, sets.counts, threshold), space.load("level")
    start, stop = (len(sets.counts) * k // space.spans for k in (number, number + 1))
    stretch = slices(np.cumsum(sets.counts[start:stop]), BATCH_TOKENS)
    made = in_threads(
        lambda s: postings(sets, slice(start + s.start, start + s.stop), threshold, level, layout),
        stretch,
    )
    none = [np.zeros(0, dtype=np.uint64) for _ in range(1 << layout.part_bits)]
    parts = [np.concatenate(part) for part in zip(none, *made, strict=True)]
    space.save("posting", number, np.concatenate(parts))
    space.save("ends", number, np.cumsum([0, *map(len, parts)]))


def _group(space: Space, part: int, threshold: float) -> None:
    """Keep the groups of sets that share an element of the part, none of them compared yet."""
    stretches = [
        space.load("posting", n)[slice(*space.load("ends", n)[part : part + 2])]
        for n in range(space.spans)
    ]
    sets = _sets(space)
    groups = groups_of([np.concatenate(stretches)], _layout(space, sets.counts, threshold))
    _save(space, GROUPS, part, groups)
    begun = JaccardJoin(sets, threshold, groups=groups).begin()
    _save(space, ("entries", "done"), part, begun[:2])


def _compare(space: Space, number: int, threshold: float) -> None:
    """Do one part's share of one turn; see `TextJoin._rounds`."""
    sets = _sets(space)
    parts = 1 << _layout(space, sets.counts, threshold).part_bits
    turn, part = divmod(number, parts)
    join = JaccardJoin(sets, threshold, groups=Groups(*_load(space, GROUPS, part)))
    entries, done = _load(space, ("entries", "done"), number)
    before = Progress(entries, done, 1 << turn)
    pairs, after, waiting = join.advance(space.load("state", turn), before)
    _save(space, PAIRS, number, pairs)
    space.save("waiting", number, np.unique(waiting))
    _save(space, ("entries", "done"), number + parts, after[:2])


def _link(space: Space, part: int, threshold: float) -> None:
    """Keep which sets are linked, through the part's groups, to an earlier one, and to which."""
    groups = Groups(*_load(space, GROUPS, part))
    root = JaccardJoin(_sets(space), threshold, groups=groups).components()
    linked = np.flatnonzero(root != np.arange(len(root)))
    space.save("links", part, np.stack([linked, root[linked]]))


def _layout(space: Space, counts: Ints, threshold: float) -> Layout:
    return layout_of(counts, threshold, min(PART_BITS, (space.spans - 1).bit_length()))


def _sets(space: Space) -> ShingleSets:
    return ShingleSets(*(space.load(name) for name in (*SETS, "tokens of all")))


def _save(
    space: Space, names: Sequence[str], number: int, arrays: Sequence[npt.NDArray[Any]]
) -> None:
    for name, array in zip(names, arrays, strict=True):
        space.save(name, number, array)


def _load(space: Space, names: Sequence[str], number: int) -> list[npt.NDArray[Any]]:
    return [space.load(name, number) for name in names]
