"""How dropping near-copies among embeddings divides: clusters or stretches of rows are the pieces.

Each span gives its unit vectors, which go to one file in the order in which rows are kept. With
clusters, each stretch of that file finds the clusters that its rows are looked up in, and a part of
the clusters is one piece; without, a stretch is a group that all later rows are looked up in. What
stays is decided between two rounds of comparisons, in one place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.arrays import Floats, Ints, join_texts
from curate.division import Division, Piece, Space, pick
from curate.methods.clustered import cells_of, centroid_order, centroids, sampled_recall
from curate.methods.copies import percent, reorder
from curate.methods.set_join import KEPT, OPEN, SimilarPairs, join_pairs, settle, twins
from curate.methods.vector_rounds import Visits, advance, heads_of
from curate.methods.vectors import unit_rows
from curate.stage import Result
from curate.stages.dedup_items import best_first, drop_items, item_value, items_of, names_of
from curate.stages.pooled import has_vector

if TYPE_CHECKING:
    from curate.stages.dedup import NearDedup
    from curate.stages.semantic_dedup import SemanticDedup

Found: TypeAlias = tuple[Ints, Floats]
PAIRS = ("later", "earlier", "close")
VECTORS, RANKED = "vectors of all", "ranked of all"


@dataclass(frozen=True)
class NearVectors(Division):
    """`NearDedup.apply` over embeddings in pieces: every pair of rows is looked at."""

    stage: NearDedup | SemanticDedup
    what: str = "near duplicate of "

    def steps(self, space: Space) -> Iterator[Sequence[Piece]]:
        """Put the vectors in order, then compare until all is decided."""
        yield space.reading("vectors")
        order = np.arange(space.first[-1])
        if self.stage.keep_by is not None:
            order = best_first(space.all_of("value", space.spans), self.stage.keep_by)
        order = yield from self._ordered(space, order)
        counts = Counter[str]()
        yield from self._grouped(space, counts)
        for number, threshold in enumerate(self.thresholds()):
            twin, close = yield from self._rounds(space, number)
            if number:
                counts[f"rows kept at {threshold:g}"] = int((twin < 0).sum())
                continue
            twin, close = reorder(twin, close, order)
            space.save("twin", 0, twin)
            space.save("similarity", 0, close)
        space.keep_counts(counts)

    def thresholds(self) -> tuple[float, ...]:
        """Return the cosine from which to drop, and others whose effect is counted."""
        return (self.stage.threshold,)

    def _ordered(self, space: Space, order: Ints) -> Generator[Sequence[Piece], None, Ints]:
        """Put the vectors into one file, the best row's first; return the order of the rows."""
        space.join("vectors")
        yield from _arranged(space, order)
        return order

    def _grouped(
        self, space: Space, counts: Counter[str]
    ) -> Generator[Sequence[Piece], None, None]:
        """Make the groups: without clusters they are stretches of the order, as many as parts."""
        yield from ()

    def _rounds(self, space: Space, which: int) -> Generator[Sequence[Piece], None, Found]:
        """Yield the rounds of comparisons at one threshold; return each rank's twin and cosine."""
        state = np.where(space.load("nonzero"), OPEN, KEPT).astype(np.uint8)
        parts, turn = 1 << space.part_bits, 0
        found, unsettled = join_pairs([]), join_pairs([])
        left = list(range(parts))
        while left:
            space.save(f"state {which}", turn, state)
            numbers = [turn * parts + part for part in left]
            yield [Piece(f"compare {which}", number) for number in numbers]
            now = join_pairs(
                [SimilarPairs(*(space.load(f"{n} {which}", k) for n in PAIRS)) for k in numbers]
            )
            waiting = [space.load(f"waiting {which}", number) for number in numbers]
            unsettled = settle(state, np.concatenate(waiting), join_pairs([unsettled, now]))
            found = join_pairs([found, now])
            use = state[found.earlier] <= OPEN
            found = SimilarPairs(found.later[use], found.earlier[use], found.similarity[use])
            left = [k % parts for k in numbers if space.load(f"left {which}", k)[0]]
            turn += 1
        return twins(state, found)

    def work(self, piece: Piece, view: pa.Table | None, space: Space) -> None:
        """Do a piece of the step that it names."""
        if view is not None:
            self._vectors(view, space, piece.number)
        elif piece.step == "arrange":
            rows = space.load("order")[slice(*space.first[piece.number : piece.number + 2])]
            space.save("ranked", piece.number, space.load(VECTORS)[rows])
        else:
            self._compare(space, int(piece.step.split()[1]), piece.number)

    def _vectors(self, view: pa.Table, space: Space, span: int) -> None:
        """Keep the unit vectors of the span's rows, their names and what ranks them."""
        vectors = unit_rows(view[self.stage.embedding], np.arange(len(view)))
        space.save("vectors", span, vectors)
        items = items_of(view, "prompt")
        space.save("names", span, names_of(view, "prompt", items, items.row))
        if self.stage.keep_by is not None:
            space.save("value", span, item_value(view, "prompt", self.stage.keep_by))

    def _compare(self, space: Space, which: int, number: int) -> None:
        """Do one part's share of one turn; see `_rounds`."""
        parts = 1 << space.part_bits
        turn, part = divmod(number, parts)
        vectors, state = space.load(RANKED), space.load(f"state {which}", turn)
        groups = self.groups(space, part)
        done = np.zeros(len(groups), dtype=np.int64)
        if turn:
            done = space.load(f"done {which}", number - parts)
        turns = [
            advance(vectors, visits, before, state, heads_of(turn), self.thresholds()[which])
            for visits, before in zip(groups, done.tolist(), strict=True)
        ]
        pairs = join_pairs([one.pairs for one in turns])
        for name, column in zip(PAIRS, pairs, strict=True):
            space.save(f"{name} {which}", number, column)
        waiting = [np.zeros(0, dtype=np.int64), *(one.waiting for one in turns)]
        space.save(f"waiting {which}", number, np.unique(np.concatenate(waiting)))
        ended = [one.done >= len(visits.row) for one, visits in zip(turns, groups, strict=True)]
        space.save(f"done {which}", number, np.array([one.done for one in turns], dtype=np.int64))
        space.save(f"left {which}", number, np.array([not all(ended)]))

    def groups(self, space: Space, part: int) -> list[Visits]:
        """Return the groups of one part: here one stretch of the order, and all that follows."""
        size, parts = space.first[-1], 1 << space.part_bits
        start, stop = (size * k // parts for k in (part, part + 1))
        row = start + np.flatnonzero(space.load("nonzero")[start:])
        return [Visits(row, row < stop)]

    def finished(self, span: int, view: pa.Table, space: Space) -> Result:
        """Return the reason for each near-copy in the span."""
        start, stop = space.first[span : span + 2]
        twin = space.load("twin")[start:stop]
        which = np.flatnonzero(twin >= 0)
        close = percent(space.load("similarity")[start:stop][which])
        why = join_texts(self.what, pick(space.texts("names"), twin[which]), close)
        return drop_items(view, "prompt", items_of(view, "prompt"), which, why)


@dataclass(frozen=True)
class SemanticCopies(NearVectors):
    """`SemanticDedup.apply` in pieces: from `exact_up_to` rows on clusters are the groups."""

    stage: SemanticDedup
    what: str = "semantic duplicate of "

    def thresholds(self) -> tuple[float, ...]:
        """Return the cosine from which to drop, and those of the sweep."""
        return (self.stage.threshold, *self.stage.sweep)

    def _ordered(self, space: Space, order: Ints) -> Generator[Sequence[Piece], None, Ints]:
        vectors, keep = space.join("vectors"), self.stage.keep
        if keep != "first":
            order = centroid_order(vectors, self.stage.cluster_count(len(vectors)), keep)
        yield from _arranged(space, order)
        return order

    def _grouped(
        self, space: Space, counts: Counter[str]
    ) -> Generator[Sequence[Piece], None, None]:
        if not self._clustered(space):
            return
        ranked = space.load(RANKED)
        space.save("middle", 0, centroids(ranked, self.stage.cluster_count(len(ranked))))
        yield [Piece("cells", number) for number in range(space.spans)]
        recall = [space.load("recall", number) for number in range(space.spans)]
        there, found = np.sum(recall, axis=0).tolist()
        self.stage.enough((there, found), counts)
        yield [Piece("gather", part) for part in range(1 << space.part_bits)]

    def work(self, piece: Piece, view: pa.Table | None, space: Space) -> None:
        """Do a piece of the step that it names."""
        if piece.step == "cells":
            self._cells(space, piece.number)
        elif piece.step == "gather":
            self._gather(space, piece.number)
        else:
            super().work(piece, view, space)

    def _cells(self, space: Space, number: int) -> None:
        """Keep, cluster by cluster, one stretch's visits, and what is found of the sample in it."""
        ranked, middle = space.load(RANKED), space.load("middle")
        among = slice(*space.first[number : number + 2])
        recall = sampled_recall(ranked, self.stage.loosest, middle, self.stage.probes, among)
        space.save("recall", number, np.array(recall))
        cells = cells_of(ranked[among], middle, self.stage.probes)
        there = np.flatnonzero(space.load("nonzero")[among])
        cells = cells[there]
        visit = 2 * np.repeat(there + among.start, cells.shape[1]).reshape(cells.shape)
        visit[:, :1] += 1  # a member
        order = np.argsort(cells.ravel(), kind="stable")
        space.save("cluster", number, cells.ravel()[order])
        space.save("visit", number, visit.ravel()[order])

    def _gather(self, space: Space, part: int) -> None:
        """Keep the visits of the clusters of one part, and where each cluster's begin."""
        edges = self._edges(space)
        stretches = []
        for number in range(space.spans):
            cluster = space.load("cluster", number)
            at = slice(*np.searchsorted(cluster, edges[part : part + 2]).tolist())
            stretches.append((cluster[at], space.load("visit", number)[at]))
        cluster, visit = (np.concatenate(column) for column in zip(*stretches, strict=True))
        order = np.argsort(cluster, kind="stable")  # rows of a cluster stay in their order
        space.save("visits", part, visit[order])
        here = np.arange(edges[part], edges[part + 1] + 1)
        space.save("begin", part, np.searchsorted(cluster[order], here))

    def groups(self, space: Space, part: int) -> list[Visits]:
        """Return the groups of one part: its clusters, or else a stretch of the order."""
        if not self._clustered(space):
            return super().groups(space, part)
        visits, begin = space.load("visits", part), space.load("begin", part)
        return [
            Visits(visits[a:b] >> 1, (visits[a:b] & 1).astype(bool))
            for a, b in zip(begin[:-1].tolist(), begin[1:].tolist(), strict=True)
        ]

    def _clustered(self, space: Space) -> bool:
        return space.first[-1] > self.stage.exact_up_to and space.first[-1] > 0

    def _edges(self, space: Space) -> npt.NDArray[Any]:
        """Return the number of each part's first cluster, and that of all clusters."""
        clusters, parts = self.stage.cluster_count(space.first[-1]), 1 << space.part_bits
        return np.arange(parts + 1) * clusters // parts


def _arranged(space: Space, order: Ints) -> Iterator[Sequence[Piece]]:
    """Put the vectors into one file RANKED in the order, and keep which are not zero."""
    if (order == np.arange(len(order))).all():
        space.rename(VECTORS, RANKED)
    else:
        space.save("order", 0, order)
        yield [Piece("arrange", number) for number in range(space.spans)]
        space.join("ranked")
    space.save("nonzero", 0, has_vector(space.load(RANKED)))
