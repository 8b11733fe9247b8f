"""Sort rows into clusters of like embeddings: topics, without names."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.methods.ranked import clusters, gather_small
from curate.stage import Context, Result
from curate.stages.budget import has_vector, pool_of
from curate.stages.new_column import NewColumn, OfVectors


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

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the clusters' numbers."""
        everything = pool_of(view, self.embedding, None, None)
        there = has_vector(everything)
        pool = everything.where(there)
        count = self.clusters or max(1, round(math.sqrt(len(pool.rows) / 2)))
        own, _ = clusters(pool.vectors, count)
        own = gather_small(pool.vectors, own, self.min_rows)
        ctx.counts["clusters"] = len(np.unique(own))
        number = np.full(len(view), -1, dtype=np.int32)
        number[pool.rows] = own
        return {self.to: pa.array(number, mask=number < 0)}
