"""How rare each row is among all of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.methods.density import intrinsic_dimension, knn_surprisal
from curate.methods.neighbours import exact_graph
from curate.stage import Context, Result
from curate.stages.budget import has_vector, pool_of
from curate.stages.new_column import NewColumn, OfVectors

LEAST = 3  # neighbours that an estimate of the dimension takes


class Surprisal(OfVectors, name="surprisal"):
    """Write how rare each row is: the negative log density at its embedding, in nats.

    From the distance to the `k`-th nearest neighbour (Kozachenko and Leonenko 1987): low in a
    crowd, high for what stands alone. `bound` drops by it, `diverse` and `cover` can go by it as
    `quality`. The mean over all rows is the entropy, which the counts hold: compare it between
    sets of one size and encoder only. Null without an embedding. Dedup first: copies of a row
    have no density.
    """

    k: int = Field(10, ge=LEAST)
    """The neighbour whose distance counts."""
    dimensions: float | None = Field(None, gt=0.0, allow_inf_nan=False)
    """Dimensions that the rows fill, fewer than an embedding has numbers; estimated from the
    distances to the `k` neighbours where not given (Levina and Bickel 2004)."""
    to: NewColumn = "surprisal"
    """The column to write, of float32."""

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the numbers. Raises StageError where rows equal `k` others."""
        everything = pool_of(view, self.embedding, None, None)
        pool = everything.where(has_vector(everything))
        k = min(self.k, len(pool.rows) - 1)
        full = np.full(len(view), np.nan)
        if k >= LEAST:
            distance = exact_graph(pool.vectors, k).distance
            dimensions = self.dimensions or intrinsic_dimension(distance)
            full[pool.rows] = found = knn_surprisal(distance[:, -1], dimensions, k)
            ctx.counts["dimensions_e4"] = round(dimensions * 10_000)
            ctx.counts["entropy_e4"] = round(float(found.mean()) * 10_000)
        return {self.to: pa.array(full, pa.float32(), from_pandas=True)}
