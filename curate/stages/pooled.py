"""Stages that look at the embeddings of all rows together: written once, done whole or in pieces.

Rows come in the order of their ids, so that no result depends on that of the source. In pieces the
vectors lie in one file that is mapped, not held, the graph of neighbours is made stretch by stretch
wherever there is room, and what follows from few numbers of each row is decided in one place.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.arrays import Bools, Ints
from curate.division import Division, Piece, Space
from curate.methods.neighbours import Graph, exact_graph, graph_of
from curate.methods.vectors import unit_rows
from curate.stage import Context, Result, Stage
from curate.stages.budget import by_id
from curate.stages.own_columns import with_own
from curate.stages.reduced import Values

VECTORS, POOLED = "vectors of all", "pooled of all"


class Drawn(NamedTuple):
    """The usable rows in the order of their ids: where they are in the view, and their vectors.

    `rows` (m), unit `vectors` (m, d), and the graph of as many neighbours as `Pooled.neighbours`.
    """

    rows: Ints
    vectors: npt.NDArray[np.float32]
    graph: Graph | None


class Pooled(Stage):
    """A stage over the rows that have an embedding; see the module's docstring."""

    scope = "dataset"
    needs = ("id",)
    embedding: str = "embedding"
    """The column of vectors."""

    def facts(self, view: pa.Table) -> Mapping[str, Values]:
        """Return what else is needed of the rows, one value each, as in `Reduced.reduced`."""
        return {}

    def usable(self, found: Mapping[str, Values]) -> Bools | bool:
        """Return which rows (n) are looked at, if they have a vector; `found` has the facts."""
        return True

    def neighbours(self, size: int, pooled: int) -> int:
        """Return how many neighbours of each row `decided` needs: of `size` rows `pooled` count."""
        return 0

    @abstractmethod
    def decided(
        self, found: Mapping[str, Values], drawn: Drawn, ctx: Context
    ) -> Mapping[str, Values]:
        """Return what becomes of each row (n), in the order of the view.

        `found` has the facts, the column "id", and "there", where there is a vector.
        """

    @abstractmethod
    def finished(self, view: pa.Table, decided: Mapping[str, Values]) -> Result:
        """Return the rows' columns from what was decided about them."""

    def named(self) -> tuple[str, ...]:
        """Return the names by which the user's fields speak of columns."""
        return ()

    def division(self) -> Division | None:
        """As the module's docstring says."""
        return with_own(InPool(self), self.named())

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the columns; see the class."""
        order = by_id(view["id"])
        vectors = unit_rows(view[self.embedding], order)
        there = np.empty(len(view), dtype=bool)
        there[order] = has_vector(vectors)
        found = {**self.facts(view), "id": view["id"], "there": there}
        mask = (there & self.usable(found))[order]
        if not mask.all():  # a copy of all vectors is worth avoiding
            vectors = vectors[mask]
        k = self.neighbours(len(view), len(vectors))
        graph = exact_graph(vectors, k) if k else None
        return self.finished(view, self.decided(found, Drawn(order[mask], vectors, graph), ctx))


class InPool(Division):
    """A `Pooled` stage in pieces."""

    def __init__(self, stage: Pooled) -> None:
        self.stage = stage

    def steps(self, space: Space) -> Iterator[Sequence[Piece]]:
        """Put the vectors in order, make the graph, then decide."""
        yield space.reading("rows")
        found = space.gather_all("facts")
        order = by_id(found["id"])
        rows = order[(np.asarray(found["there"]) & self.stage.usable(found))[order]]
        space.save("rows", 0, rows)
        space.join("vectors")
        yield [Piece("arrange", number) for number in range(space.spans)]
        vectors = space.join("pooled")
        graph, k = None, self.stage.neighbours(space.first[-1], len(rows))
        if k:
            yield [Piece(f"near {k}", number) for number in range(space.spans)]
            near = [space.all_of(name, space.spans).T for name in ("near", "distance")]
            graph = Graph(*(np.ascontiguousarray(values) for values in near))
        ctx = Context(seed=space.seed)
        decided = self.stage.decided(found, Drawn(rows, vectors, graph), ctx)
        space.save_all("decided", 0, decided)
        space.keep_counts(ctx.counts)

    def work(self, piece: Piece, view: pa.Table | None, space: Space) -> None:
        """Do a piece of the step that it names."""
        if view is not None:
            self._keep(view, space, piece.number)
            return
        stretch = slice(*_stretch(space, piece.number))
        if piece.step == "arrange":
            rows = space.load("rows")[stretch]
            space.save("pooled", piece.number, space.load(VECTORS)[rows])
            return
        graph = graph_of(space.load(POOLED), stretch, int(piece.step.split()[1]))
        space.save("near", piece.number, graph.rows.T)
        space.save("distance", piece.number, graph.distance.T)

    def _keep(self, view: pa.Table, space: Space, span: int) -> None:
        vectors = unit_rows(view[self.stage.embedding], np.arange(len(view)))
        space.save("vectors", span, vectors)
        found = {**self.stage.facts(view), "id": view["id"], "there": has_vector(vectors)}
        space.save_all("facts", span, found)

    def finished(self, span: int, view: pa.Table, space: Space) -> Result:
        """Return the span's columns."""
        start, stop = space.first[span : span + 2]
        whole = space.load_all("decided", 0)
        decided = {name: values[start:stop] for name, values in whole.items()}
        return self.stage.finished(view, decided)


def has_vector(vectors: npt.NDArray[Any]) -> Bools:
    """Return which of the vectors (n, d) are not zero (n)."""
    there = np.empty(len(vectors), dtype=bool)
    for start in range(0, len(there), 8192):
        there[start : start + 8192] = vectors[start : start + 8192].any(axis=1)
    return there


def _stretch(space: Space, number: int) -> tuple[int, int]:
    """Return where one of as many stretches of the pooled rows as there are spans lies."""
    size = len(space.load("rows"))
    return size * number // space.spans, size * (number + 1) // space.spans
