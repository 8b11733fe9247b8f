"""Stages that decide over all rows by a little of each: written once, done whole or in pieces.

Such a stage has three moves. `reduced` takes from the rows what the decision needs (numbers,
hashes, names), `decided` sees that of all rows in one place, and `finished` makes the rows' columns
of what was decided about them. In pieces, any worker does the first and the last for a span of
rows, and the process that leads holds what the rows came down to, never the rows. The result is
that of the whole by construction: `apply` is the same three moves, over one span.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.arrays import Ints
from curate.division import Division, Piece, Space
from curate.stage import Context, Result, Stage
from curate.stages.own_columns import with_own

Values: TypeAlias = npt.NDArray[Any] | pa.Array | pa.ChunkedArray


class Reduced(Stage):
    """A stage in three moves; see the module's docstring."""

    @abstractmethod
    def reduced(self, view: pa.Table, ctx: Context) -> Mapping[str, Values]:
        """Return what the decision needs of the rows, each row looked at by itself.

        Always the same names, in the same order and of the same types. The first has one value an
        item, the items being what is decided about (rows, pairs); others may have any length.
        NumPy arrays of several axes have the items in the last. Counts nothing.
        """

    @abstractmethod
    def decided(self, found: Mapping[str, Values], ctx: Context) -> Mapping[str, Values]:
        """Return what becomes of each item, from what all rows came down to, in their order."""

    @abstractmethod
    def finished(self, view: pa.Table, decided: Mapping[str, Values]) -> Result:
        """Return the rows' columns from what was decided about the items of these rows."""

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the columns; see the class."""
        return self.finished(view, self.decided(self.reduced(view, ctx), ctx))

    def division(self) -> Division | None:
        """A span of rows is reduced, and finished, wherever it lies."""
        return with_own(InMoves(self), self.named())

    def named(self) -> tuple[str, ...]:
        """Return the names by which the user's fields speak of columns."""
        return ()


class InMoves(Division):
    """The three moves of a `Reduced` stage, the first and the last span by span."""

    def __init__(self, stage: Reduced) -> None:
        self.stage = stage

    def steps(self, space: Space) -> Iterator[Sequence[Piece]]:
        """Reduce every span; then decide, and lay each span's part of it out."""
        yield space.reading("reduce")
        ctx = Context(seed=space.seed, vectors=space.vectors)
        decided = self.stage.decided(space.gather_all("reduced"), ctx)
        ends = np.cumsum([0, *(int(space.load("items", k)[0]) for k in range(space.spans))])
        for span in range(space.spans):
            mine = {name: _cut(values, ends[span : span + 2]) for name, values in decided.items()}
            space.save_all("decided", span, mine)
        space.keep_counts(ctx.counts)
        space.keep_used(ctx.vectors_used)

    def work(self, piece: Piece, view: pa.Table | None, space: Space) -> None:
        """Keep what the span's rows come down to."""
        assert view is not None  # noqa: S101 - `reduce` is the one step, and it reads
        found = self.stage.reduced(view, Context(seed=space.seed))
        space.save_all("reduced", piece.number, found)
        space.save("items", piece.number, np.array([_size(next(iter(found.values())))]))

    def finished(self, span: int, view: pa.Table, space: Space) -> Result:
        """Return the span's columns."""
        return self.stage.finished(view, space.load_all("decided", span))


def _cut(values: Values, ends: Ints) -> Values:
    at = slice(*ends.tolist())
    return values[..., at] if isinstance(values, np.ndarray) else values[at]


def _size(values: Values) -> int:
    return int(values.shape[-1]) if isinstance(values, np.ndarray) else len(values)
