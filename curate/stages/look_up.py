"""Stages whose rows look up what other rows give: written once, done whole or in pieces.

Such a stage has two moves. `given` takes from rows what others may look up (texts, vectors), each
row looked at by itself, and `looked_up` makes the columns of some rows of what all rows gave. In
pieces, any worker does either for a span of rows, and what was given lies in files that each of
them maps. The result is that of the whole by construction: `apply` is the same moves, over one
span.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, TypeAlias

import numpy as np
import pyarrow as pa

from curate.division import Division, Piece, Space
from curate.stage import Context, Result, Stage
from curate.stages.reduced import Values

Names: TypeAlias = Mapping[str, Sequence[str]]
_NAMES = "names "  # what files' names begin with


class LookUp(Stage):
    """A stage in these moves; see the module's docstring."""

    scope = "dataset"
    asks: ClassVar[tuple[str, ...]] = ()
    """What `names` returns names of; empty: it is not called."""

    def names(self, view: pa.Table) -> Names:
        """Return, for each of `asks`, the names in these rows that all must be known beforehand."""
        return {}

    @abstractmethod
    def given(self, view: pa.Table, names: Names, ctx: Context) -> Mapping[str, Values]:
        """Return what these rows give to all, each row looked at by itself.

        `names` are those of all rows, each once and sorted. Always the same keys, of the same
        types; NumPy arrays have the items first. Counts nothing.
        """

    def checked(self, names: Names, given: Mapping[str, Values], ctx: Context) -> None:
        """Count what all rows gave. Raises StageError where that will not do."""

    @abstractmethod
    def looked_up(
        self, view: pa.Table, names: Names, given: Mapping[str, Values], ctx: Context
    ) -> Result:
        """Return the columns of these rows from what all rows `given`. Counts nothing.

        In pieces an Arrow array comes in chunks, and all is mapped: only what is used is read.
        """

    def division(self) -> Division:
        """Spans give, and then look up."""
        return InLookUp(self)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the columns; see the class."""
        found = self.names(view) if self.asks else {}
        names = {what: sorted(set(found[what])) for what in self.asks}
        given = self.given(view, names, ctx)
        self.checked(names, given, ctx)
        return self.looked_up(view, names, given, ctx)


class InLookUp(Division):
    """A `LookUp` stage in pieces."""

    def __init__(self, stage: LookUp) -> None:
        self.stage = stage

    def steps(self, space: Space) -> Iterator[Sequence[Piece]]:
        """Find the names, where there are any to ask for; then let every span give."""
        if self.stage.asks:
            yield space.reading("names")
            for what in self.stage.asks:
                found = set(space.texts(_NAMES + what).to_pylist())
                space.save(_NAMES + what, space.spans, pa.array(sorted(found), pa.string()))
        yield space.reading("give")
        given = space.load_all("given", 0)
        numbers = [key for key, values in given.items() if isinstance(values, np.ndarray)]
        for key in numbers:
            space.join(f"given {key}")
        space.save("numbers", 0, pa.array(numbers, pa.string()))
        ctx = Context(seed=space.seed)
        self.stage.checked(self._names(space), self._given(space), ctx)
        space.keep_counts(ctx.counts)

    def work(self, piece: Piece, view: pa.Table | None, space: Space) -> None:
        """Keep the names of the span's rows, or what they give."""
        assert view is not None  # noqa: S101 - both steps read
        if piece.step == "names":
            for what, found in self.stage.names(view).items():
                space.save(_NAMES + what, piece.number, pa.array(found, pa.string()))
            return
        given = self.stage.given(view, self._names(space), Context(seed=space.seed))
        space.save_all("given", piece.number, given)

    def finished(self, span: int, view: pa.Table, space: Space) -> Result:
        """Return the span's columns."""
        ctx = Context(seed=space.seed)
        return self.stage.looked_up(view, self._names(space), self._given(space), ctx)

    def _names(self, space: Space) -> Names:
        """Return the names of all rows, kept as those of one more span."""
        return {
            what: space.text(_NAMES + what, space.spans).to_pylist() for what in self.stage.asks
        }

    def _given(self, space: Space) -> Mapping[str, Values]:
        """Return what all rows gave: arrays of numbers as one file, Arrow arrays chunk by chunk."""
        numbers = set(space.text("numbers").to_pylist())
        return {
            key: space.load(f"given {key} of all")
            if key in numbers
            else space.texts(f"given {key}")
            for key in space.text("given").to_pylist()
        }
