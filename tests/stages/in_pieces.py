"""What a stage that sees every row makes of a table, in one piece and in several."""

from collections import Counter

import numpy as np
import pyarrow as pa

from curate.division import Space
from curate.stage import Context


def in_spans(stage, table, cuts, folder):
    """The result of the stage's division over the table cut at `cuts`, every piece done twice."""
    names = [n for n in (*stage.needed(), *stage.used()) if n in table.column_names]
    edges = (0, *sorted(cuts), len(table))
    division, space = stage.division(), Space(folder, edges, seed=1)

    def view(span):
        return table.select(names).slice(edges[span], edges[span + 1] - edges[span])

    for step in division.steps(space):
        for piece in [*reversed(step), *step]:
            # From scratch each time, as a worker would.
            stage.division().work(piece, view(piece.number) if piece.reads else None, space)
    counts = Counter()
    found = [
        stage.division().result(span, view(span), space, counts) for span in range(space.spans)
    ]
    sizes = np.diff(edges).tolist()
    kinds = {name: column.type for part in found for name, column in part.items()}
    joined = {
        name: pa.concat_arrays(
            # A span may leave a column of reasons out where it has none.
            [one(part.get(name, pa.nulls(n, kind))) for part, n in zip(found, sizes, strict=True)]
        )
        for name, kind in kinds.items()
    }
    return joined, counts


def one(column):
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def whole(stage, table):
    ctx = Context(seed=1)
    names = [n for n in (*stage.needed(), *stage.used()) if n in table.column_names]
    result = stage.apply(table.select(names), ctx)
    return {name: one(column) for name, column in result.items()}, ctx.counts
