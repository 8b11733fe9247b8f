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
from curate.methods.copies import text_twins
from curate.methods.minhash import band_groups, band_keys, found_by_both
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
    Progress,
    SimilarPairs,
    join_pairs,
    link,
    settle,
    twins,
)
from curate.methods.shingles import WIDTH, ShingleSets, count_shingles, distinct

SETS, GROUPS = ("begin", "sizes", "sketch"), ("starts", "group", "number", "place")
PAIRS = ("later", "earlier", "close")


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

        As `copies.near_text`; `order` (n) lists the texts from best to worst.
        """
        space = self._own(space)
        set_of, counts, parts = yield from self._grouped(space, order)
        set_twin, similarity = yield from self._rounds(space, len(counts), parts)
        order = np.arange(len(set_of)) if order is None else order
        return text_twins(set_of, order, set_twin, similarity)

    def by_minhash(
        self, space: Space, order: Ints
    ) -> Generator[Sequence[Piece], None, tuple[Ints, Floats, dict[str, int]]]:
        """Yield the steps; return the same as minhash finds it, and how much of all that is."""
        space = self._own(space)
        set_of, counts, parts = yield from self._grouped(space, order)
        exact, _ = yield from self._rounds(space, len(counts), parts)
        yield [self._piece("sign", number) for number in range(space.spans)]
        parts = 1 << space.part_bits
        yield [self._piece("band", part) for part in range(parts)]
        found, similarity = yield from self._rounds(_banded(space), len(counts), parts, "look-up")
        counted = found_by_both(exact, found)
        return *text_twins(set_of, order, found, similarity), counted

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
        WORK[step](self._own(space), piece.number, self.threshold)
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
        self, space: Space, size: int, parts: int, step: str = "compare"
    ) -> Generator[Sequence[Piece], None, tuple[Ints, Floats]]:
        """Yield the rounds of comparisons; return the twin and similarity of each of `size` sets.

        This is `JaccardJoin.keep_greedily` with the groups in parts. Piece turn * parts + part
        does one part's share of a turn, and leaves what the next turn of that part needs.
        """
        state = np.full(size, KEPT, dtype=np.uint8)
        for part in range(parts):
            state[space.load("number", part)] = OPEN
        found, unsettled, turn = list[SimilarPairs](), join_pairs([]), 0
        left = [part for part in range(parts) if len(space.load("entries", part))]
        while left:
            space.save("state", turn, state)
            yield [self._piece(step, number) for number in left]
            now = join_pairs([SimilarPairs(*_load(space, PAIRS, number)) for number in left])
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
    _save_groups(space, part, JaccardJoin(sets, threshold, groups=groups))


def _save_groups(space: Space, part: int, join: JaccardJoin) -> None:
    _save(space, GROUPS, part, join.groups)
    _save(space, ("entries", "done"), part, join.begin()[:2])


def _compare(space: Space, number: int, threshold: float) -> None:
    """Do one part's share of one turn; see `TextJoin._rounds`."""
    sets = _sets(space)
    bits = _layout(space, sets.counts, threshold).part_bits
    _advance(space, sets, number, bits, threshold)


def _look_up(space: Space, number: int, threshold: float) -> None:
    """Do the same among the sets that share a band."""
    _advance(_banded(space), _sets(space), number, space.part_bits, threshold)


def _advance(space: Space, sets: ShingleSets, number: int, bits: int, threshold: float) -> None:
    turn, part = divmod(number, 1 << bits)
    join = JaccardJoin(sets, threshold, groups=Groups(*_load(space, GROUPS, part)))
    entries, done = _load(space, ("entries", "done"), number)
    before = Progress(entries, done, 1 << turn)
    pairs, after, waiting = join.advance(space.load("state", turn), before)
    _save(space, PAIRS, number, pairs)
    space.save("waiting", number, np.unique(waiting))
    _save(space, ("entries", "done"), number + (1 << bits), after[:2])


def _sign(space: Space, number: int, threshold: float) -> None:
    """Keep the bands of one stretch of the sets, part by part, and where each part ends."""
    sets, bits = _sets(space), space.part_bits
    start, stop = (len(sets.counts) * k // space.spans for k in (number, number + 1))
    keys = band_keys(sets, slice(start, stop), threshold)
    key, of = keys.ravel(), np.tile(np.arange(start, stop), len(keys))
    part = (key >> np.uint64(63 - bits) >> np.uint64(1)).astype(np.int64)
    order = np.argsort(part, kind="stable")
    ends = np.cumsum([0, *np.bincount(part, minlength=1 << bits)])
    _save(space, ("band key", "band set", "band ends"), number, (key[order], of[order], ends))


def _band(space: Space, part: int, threshold: float) -> None:
    """Keep the groups of sets that share a band of the part, none of them compared yet."""
    key, of = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.int64)]
    for number in range(space.spans):
        at = slice(*space.load("band ends", number)[part : part + 2])
        key.append(space.load("band key", number)[at])
        of.append(space.load("band set", number)[at])
    groups = band_groups(np.concatenate(key), np.concatenate(of))
    _save_groups(_banded(space), part, JaccardJoin(_sets(space), threshold, groups=groups))


def _banded(space: Space) -> Space:
    """Return where the groups by bands are kept, and what is found in them."""
    return replace(space, prefix=f"{space.prefix}bands ")


def _link(space: Space, part: int, threshold: float) -> None:
    """Keep which sets are linked, through the part's groups, to an earlier one, and to which."""
    groups = Groups(*_load(space, GROUPS, part))
    root = JaccardJoin(_sets(space), threshold, groups=groups).components()
    linked = np.flatnonzero(root != np.arange(len(root)))
    space.save("links", part, np.stack([linked, root[linked]]))


def _layout(space: Space, counts: Ints, threshold: float) -> Layout:
    """Return how postings are laid out: in more parts than others where these would be large."""
    return layout_of(counts, threshold, space.part_bits)


WORK = {
    "post": _post, "group": _group, "compare": _compare, "link": _link,
    "sign": _sign, "band": _band, "look-up": _look_up,
}  # fmt: skip


def _sets(space: Space) -> ShingleSets:
    return ShingleSets(*(space.load(name) for name in (*SETS, "tokens of all")))


def _save(
    space: Space, names: Sequence[str], number: int, arrays: Sequence[npt.NDArray[Any]]
) -> None:
    for name, array in zip(names, arrays, strict=True):
        space.save(name, number, array)


def _load(space: Space, names: Sequence[str], number: int) -> list[npt.NDArray[Any]]:
    return [space.load(name, number) for name in names]
