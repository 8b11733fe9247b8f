"""How a division reads columns of the source's own: of what type "meta.KEY" is takes all rows.

A step of its own finds, span by span, which types fit. Every piece that follows is then handed the
column as it is over all rows, and the division it is done for need not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate.division import Division, Piece, Space
from curate.methods.columns import OWN, kinds_of, typed, values_of
from curate.stage import Result

STEP = "kinds of own columns"


def with_own(division: Division, names: Iterable[str | None]) -> Division:
    """Return the division, for which those of the names that are "meta.KEY" are read.

    As it is where there are none.
    """
    own = tuple(dict.fromkeys(name for name in names if name and name.startswith(OWN)))
    return OwnColumns(division, own) if own else division


@dataclass(frozen=True)
class OwnColumns(Division):
    """A division whose views hold the columns `names`, typed by all rows, beside their own.

    A column of which no row has a value is left out: what reads it says what to do then.
    """

    division: Division
    names: tuple[str, ...]

    def steps(self, space: Space) -> Iterator[Sequence[Piece]]:
        """Find the types, then go through the steps of the division itself."""
        yield space.reading(STEP)
        found = [space.load(STEP, span) for span in range(space.spans)]
        kinds, known = np.bitwise_and.reduce([kinds for kinds, _ in found]), np.sum(found, 0)[1]
        space.save(f"{STEP} of all", 0, np.stack([kinds, known]))
        yield from self.division.steps(space)

    def work(self, piece: Piece, view: pa.Table | None, space: Space) -> None:
        """Find the types that fit the span's values, or hand the piece on."""
        if view is None or piece.step != STEP:
            self.division.work(piece, None if view is None else self._with_own(view, space), space)
            return
        values = [values_of(view, name) for name in self.names]
        known = [sum(one is not None for one in column) for column in values]
        space.save(STEP, piece.number, np.array([list(map(kinds_of, values)), known]))

    def finished(self, span: int, view: pa.Table, space: Space) -> Result:
        """Return what the division itself does."""
        return self.division.finished(span, self._with_own(view, space), space)

    def _with_own(self, view: pa.Table, space: Space) -> pa.Table:
        kinds, known = space.load(f"{STEP} of all").tolist()
        for name, kind, there in zip(self.names, kinds, known, strict=True):
            if there:
                view = view.append_column(name, typed(values_of(view, name), kind))
        return view
