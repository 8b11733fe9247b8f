"""FiFA: keep the pairs that are clear, good and unlike the others, all at once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.methods.columns import column_of
from curate.methods.fifa import FLOOR, fifa_greedy, fifa_scores
from curate.methods.neighbours import exact_graph
from curate.methods.similarity import Floats, Ints
from curate.methods.vectors import best_of
from curate.schema import DROP
from curate.stage import Context, Result, Stage
from curate.stages.budget import (
    NO_EMBEDDING,
    Keep,
    Split,
    account,
    has_vector,
    pool_of,
    rows_to_keep,
    tally_report,
)
from curate.stages.dedup_items import with_ranking


class Fifa(Stage, name="fifa"):
    """Keep the rows with the highest sum of margin, quality and distance to their neighbours.

    Each is put on one scale first (z-scores over the rows that have all of them): the widest
    margin of a row's pairs, `quality` (a numeric column or "scores"; nothing where not named),
    and the logarithm of the distance to the `k`-th nearest neighbour, whose mean is the k-NN
    entropy. After FiFA (Yang et al. 2024); weights and scaling are our own, not the paper's.
    Rows that lack a margin, a quality or an embedding are dropped for that reason.
    """

    scope = "dataset"
    needs = ("id", "pairs")
    writes = ("fifa_margin", "fifa_quality", "fifa_knn_logdist", "fifa_score")
    keep: Keep
    quality: str | None = None
    """A numeric column or "scores"; nothing where not named."""
    quality_weight: float = Field(0.5, ge=0.0)
    """Weight of the quality, beside 1 for the margin."""
    entropy_weight: float = Field(0.5, ge=0.0)
    """Weight of the distance to the neighbours, beside 1 for the margin."""
    k: int = Field(5, ge=1, description="the neighbour whose distance counts")
    absolute: bool = Field(
        False, description="count a wide negative margin as clear: it keeps wrong labels"
    )
    rescore: bool = Field(
        False, description="let rows kept already count as neighbours: no two alike are kept"
    )
    group: str | None = Field(None, description="column whose values share the places")
    split: Split = Field("equal", description="equal, proportional, or most rows a group")
    topic: str | None = Field(
        None, description="column whose values the report counts among the rows kept, and by chance"
    )
    embedding: str = "embedding"
    """The column of vectors."""

    def needed(self) -> tuple[str, ...]:
        """Return the columns of id, pairs, embedding, quality and group."""
        columns = with_ranking((*self.needs, self.embedding), self.quality)
        return with_ranking(with_ranking(columns, self.group), self.topic)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the reason for each row that is not chosen, and what each was ranked by."""
        everything = pool_of(view, self.embedding, self.quality, self.group)
        margin = best_of(view, "margin")[everything.rows]
        there, clear = has_vector(everything), np.isfinite(margin)
        good = np.isfinite(everything.quality) if self.quality else np.ones(len(there), dtype=bool)
        unusable = {
            f"no {self.quality} to rank it by": everything.rows[~good],
            "no margin to rank it by": everything.rows[~clear],
            NO_EMBEDDING: everything.rows[~there],
        }
        pool = everything.where(there & clear & good)
        margin = margin[there & clear & good]
        quality = pool.quality if self.quality else np.zeros(len(margin))
        distance = exact_graph(pool.vectors, self.k).distance[:, -1:].sum(axis=1)
        weights = self.quality_weight, self.entropy_weight
        clearness = np.abs(margin) if self.absolute else margin
        score = fifa_scores(clearness, quality, distance, *weights)
        keep = rows_to_keep(self.keep, len(view))
        quota = pool.quota(keep, self.split)
        if self.rescore:
            parts = clearness, quality, distance
            chosen = fifa_greedy(pool.vectors, *parts, keep, *weights, quota=quota)
        else:
            chosen = quota.first(np.argsort(-score, kind="stable"), keep)
        topic = column_of(view, self.topic, required=True) if self.topic else None
        tally_report(ctx, pool, chosen, topic)
        why = f"not among the {len(chosen)} of highest FiFA score"
        numbers = margin, pool.quality, np.log(distance + FLOOR), score
        return {
            DROP: account(len(view), pool, chosen, why, unusable),
            **{
                name: _column(len(view), pool.rows, number)
                for name, number in zip(self.writes, numbers, strict=True)
            },
        }


def _column(n: int, rows: Ints, numbers: Floats) -> pa.Array:
    """Return `numbers` (m) at `rows` (m) of n, null elsewhere and where infinite."""
    full = np.full(n, np.nan)
    full[rows] = np.where(np.isfinite(numbers), numbers, np.nan)
    return pa.array(full, pa.float64(), from_pandas=True)
