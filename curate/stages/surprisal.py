"""How rare each row is among all of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.methods.density import intrinsic_dimension, knn_surprisal
from curate.stage import Context, Result
from curate.stages.new_column import NewColumn, OfVectors
from curate.stages.pooled import Drawn
from curate.stages.reduced import Values

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

    def neighbours(self, size: int, pooled: int) -> int:
        """Return `k`, or as many as there are; 0 where those are too few for an estimate."""
        k = min(self.k, pooled - 1)
        return k if k >= LEAST else 0

    def decided(
        self, found: Mapping[str, Values], drawn: Drawn, ctx: Context
    ) -> Mapping[str, Values]:
        """Return the numbers, NaN without one. Raises StageError where rows equal `k` others."""
        full = np.full(len(found["id"]), np.nan)
        if drawn.graph is not None:
            distance = drawn.graph.distance
            dimensions = self.dimensions or intrinsic_dimension(distance)
            full[drawn.rows] = surprisal = knn_surprisal(
                distance[:, -1], dimensions, distance.shape[1]
            )
            ctx.counts["dimensions_e4"] = round(dimensions * 10_000)
            ctx.counts["entropy_e4"] = round(float(surprisal.mean()) * 10_000)
        return {"surprisal": full}

    def finished(self, view: pa.Table, decided: Mapping[str, Values]) -> Result:
        """Return the numbers."""
        return {self.to: pa.array(np.asarray(decided["surprisal"]), pa.float32(), from_pandas=True)}
