"""Sort rows into clusters of like embeddings: topics, without names."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.methods.ranked import clusters, gather_small
from curate.stage import Context, Result
from curate.stages.new_column import NewColumn, OfVectors
from curate.stages.pooled import Drawn
from curate.stages.reduced import Values


class Cluster(OfVectors, name="cluster"):
    """Write the number of each row's k-means cluster; null where there is no embedding.

    The clusters of prompts are topics: a `group` for `diverse`, or for `bound` with `mean_by`.
    Clusters are numbered by their rows' ids, so the numbers say nothing and change with the rows.
    """

    clusters: int | None = Field(None, ge=1)
    """Clusters; by default the square root of half the number of rows, as CaR (Ge et al. 2024)."""
    min_rows: int = Field(1, ge=1)
    """Fewest rows of a cluster; those of smaller ones go to the nearest that is large enough."""
    to: NewColumn = "cluster"
    """The column to write, of int32."""

    def decided(
        self, found: Mapping[str, Values], drawn: Drawn, ctx: Context
    ) -> Mapping[str, Values]:
        """Return the clusters' numbers, -1 for a row without an embedding."""
        count = self.clusters or max(1, round(math.sqrt(len(drawn.rows) / 2)))
        own, _ = clusters(drawn.vectors, count)
        own = gather_small(drawn.vectors, own, self.min_rows)
        ctx.counts["clusters"] = len(np.unique(own))
        number = np.full(len(found["id"]), -1, dtype=np.int32)
        number[drawn.rows] = own
        return {"number": number}

    def finished(self, view: pa.Table, decided: Mapping[str, Values]) -> Result:
        """Return the clusters' numbers."""
        number = np.asarray(decided["number"])
        return {self.to: pa.array(number, mask=number < 0)}
