"""Judgments that go in circles: a beats b, b beats c, and c beats a."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrays import Bools, Ints, lengths, starts_of
from curate.methods.games import cycles, games_of, hodge_rank, margins_of, win_tables
from curate.methods.judgments import of_view
from curate.schema import DROP
from curate.stage import Context, Result, Stage, reasons
from curate.stages.pair_edits import Pairs, edited, read_pairs


class Transitivity(Stage, name="transitivity"):
    """Find triples of answers that were judged a > b > c > a, and drop what rests on them.

    Writes `cycles` (int32, triples a row) and `cyclic_share` (float32, see `hodge_rank`; null
    without comparisons). Pairs whose preference is part of a triple are dropped unless
    `drop_pairs` is off; so are rows whose cyclic share is above `max_share`.
    """

    version = 2
    needs = ("candidates", "judgments")
    writes = ("cycles", "cyclic_share")

    judges: tuple[str, ...] = Field((), description="comparing judges that count; empty: all")
    drop_pairs: bool = Field(True, description="drop pairs on a triple; needs pairs")
    max_share: float = Field(1.0, ge=0, le=1, description="largest cyclic share kept")

    def needed(self) -> tuple[str, ...]:
        """Need pairs where some may be dropped."""
        return (*self.needs, "pairs") if self.drop_pairs else self.needs

    def written(self) -> tuple[str, ...]:
        """Write pairs where some may be dropped."""
        return (*self.writes, "pairs") if self.drop_pairs else self.writes

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the columns, and the pairs where they are asked for."""
        counts = lengths(view["candidates"])
        found = np.zeros(len(counts), dtype=np.int32)
        share = np.full(len(counts), np.nan)
        pairs = read_pairs(view) if self.drop_pairs else None
        on_cycle = np.zeros(0 if pairs is None else len(pairs.row), dtype=bool)
        for rows, wins in win_tables(counts, *games_of(of_view(view, self.judges))):
            found[rows], edges = cycles(wins)
            share[rows] = hodge_rank(*margins_of(wins)).cyclic_share
            if pairs is not None:
                _mark(on_cycle, pairs, rows, edges)
        ctx.counts["intransitive triples"] += int(found.sum())
        result: dict[str, pa.Array] = {
            "cycles": pa.array(found),
            "cyclic_share": pa.array(share.astype(np.float32), mask=np.isnan(share)),
        }
        why = reasons(pa.array(share > self.max_share + 1e-6), "judgments too cyclic")
        if pairs is None:
            return {**result, DROP: why}
        changed = edited(pairs, pairs.values, [(on_cycle, "on an intransitive triple")])
        return {**result, **changed, DROP: pc.coalesce(why, changed[DROP])}


def _mark(on_cycle: Bools, pairs: Pairs, rows: Ints, edges: Bools) -> None:
    """Set, for the pairs of `rows`, whether either direction is an edge (rows, n, n) on a cycle."""
    place = np.full(len(pairs.counts), -1)
    place[rows] = np.arange(len(rows))
    mine = np.flatnonzero(place[pairs.row] >= 0)
    start = starts_of(pairs.counts)[pairs.row[mine]]
    table = place[pairs.row[mine]]
    one, two = pairs.chosen[mine] - start, pairs.rejected[mine] - start
    on_cycle[mine] = edges[table, one, two] | edges[table, two, one]
