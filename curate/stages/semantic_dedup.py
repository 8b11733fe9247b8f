"""Drop prompts that say the same in other words, by their embeddings."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from curate.arrays import Ints, join_texts
from curate.division import Division
from curate.errors import StageError
from curate.methods.clustered import (
    Cells,
    ClusteredSearch,
    cells_of,
    centroid_order,
    centroids,
    sampled_recall,
)
from curate.methods.copies import percent, reorder
from curate.methods.similarity import CosineSearch, keep_greedily
from curate.methods.vectors import unit_rows
from curate.stage import Context, Result, Stage
from curate.stages.dedup_items import (
    Items,
    drop_items,
    item_order,
    items_of,
    names_of,
    with_ranking,
)
from curate.stages.vector_division import SemanticCopies


class Ranked(NamedTuple):
    """The rows from best to worst: their unit vectors, their order, and their clusters if used.

    `clusters` counts those.
    """

    vectors: npt.NDArray[np.float32]
    order: Ints
    cells: Cells | None = None
    clusters: int = 0


class SemanticDedup(Stage, name="semantic_dedup"):
    """Drop rows whose embedding has a cosine of `threshold` or more to a row that stays.

    Up to `exact_up_to` rows every pair is looked at. Above, the vectors are clustered as in
    SemDeDup (Abbas et al. 2023), but each row is looked up in the `probes` nearest clusters and
    not in its own alone, so duplicates on both sides of a border are found. Of the rows similar to
    1,000 sampled ones `counts` reports how many there are ("similar pairs of sampled rows") and how
    many were found ("similar pairs of sampled rows that clusters find"); where these are fewer than
    `min_recall`, the stage stops. Unlike in SemDeDup nothing is dropped for being similar to a row
    that is itself dropped.

    The cosine that means "the same" differs from encoder to encoder: `sweep` counts what other
    thresholds would keep ("rows kept at 0.9"), and `curate.methods.threshold_sweep` shows pairs.
    """

    version = 3
    scope = "dataset"
    needs = ("id",)
    embedding: str = "embedding"
    """The column of vectors."""
    threshold: float = Field(0.85, gt=0.0, le=1.0)
    """Cosine from which to drop."""
    keep_by: str | None = None
    """What stays among similar ones: the best by this column of numbers (a list's largest counts,
    as with "scores") or number of the pairs (margin, p_correct)."""
    keep: Literal["first", "farthest", "nearest"] = "first"
    """Without `keep_by`: the first, or the one farthest from (as SemDeDup does: the rare case)
    or nearest to the centroid of its cluster."""
    clusters: int | None = Field(None, ge=1)
    """Clusters; by default the square root of the number of rows."""
    exact_up_to: int = Field(50_000, ge=0)
    """Up to so many rows every pair is looked at."""
    probes: int = Field(16, ge=1)
    """Clusters in which a row is looked up, above that."""
    min_recall: float = Field(0.95, ge=0.0, le=1.0)
    """Stop where the clusters find a smaller share of the similar pairs of a sample."""
    sweep: tuple[Annotated[float, Field(gt=0.0, le=1.0)], ...] = ()
    """Other thresholds of which to count the rows they would keep; each costs a search."""

    @model_validator(mode="after")
    def _one_order(self) -> SemanticDedup:
        if self.keep_by is not None and self.keep != "first":
            raise ValueError("give `keep_by` or `keep`, not both")
        return self

    def needed(self) -> tuple[str, ...]:
        """Return the embedding's column and the one that ranks rows."""
        return with_ranking((*self.needs, self.embedding), self.keep_by)

    def division(self) -> Division:
        """Clusters, or stretches of rows, are compared wherever there is room."""
        return SemanticCopies(self)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the reason for each duplicate: the row that stays, and the cosine to it."""
        items = items_of(view, "prompt")
        ranked = self._ranked(view, items, ctx)
        for threshold in self.sweep:
            gone = keep_greedily(self._search(ranked, threshold))[0] >= 0
            ctx.counts[f"rows kept at {threshold:g}"] = len(view) - int(gone.sum())
        twin, cosine = reorder(*keep_greedily(self._search(ranked, self.threshold)), ranked.order)
        which = np.flatnonzero(twin >= 0)
        name = names_of(view, "prompt", items, twin[which])
        why = join_texts("semantic duplicate of ", name, percent(cosine[which]))
        return drop_items(view, "prompt", items, which, why)

    def _ranked(self, view: pa.Table, items: Items, ctx: Context) -> Ranked:
        order = item_order(view, "prompt", items, self.keep_by)
        vectors = unit_rows(view[self.embedding], order)
        if self.keep != "first":
            inner = centroid_order(vectors, self.cluster_count(len(view)), self.keep)
            vectors, order = vectors[inner], order[inner]
        if len(view) <= self.exact_up_to or not len(view):
            return Ranked(vectors, order)
        clusters = self.cluster_count(len(view))
        middle = centroids(vectors, clusters)
        self.enough(sampled_recall(vectors, self.loosest, middle, self.probes), ctx.counts)
        return Ranked(vectors, order, cells_of(vectors, middle, self.probes), clusters)

    def _search(self, ranked: Ranked, threshold: float) -> CosineSearch:
        if ranked.cells is None:
            return CosineSearch(ranked.vectors, threshold)
        return ClusteredSearch(ranked.vectors, threshold, ranked.clusters, ranked.cells)

    @property
    def loosest(self) -> float:
        """The lowest cosine that is looked for."""
        return min(self.threshold, *self.sweep) if self.sweep else self.threshold

    def cluster_count(self, rows: int) -> int:
        """Return how many clusters so many rows get."""
        return min(self.clusters or max(1, round(rows**0.5)), max(rows, 1))

    def enough(self, recall: tuple[int, int], counts: Counter[str]) -> None:
        """Count what `sampled_recall` found. Raises StageError where clusters find too little."""
        there, found = recall
        counts["similar pairs of sampled rows"] = there
        counts["similar pairs of sampled rows that clusters find"] = found
        if found < self.min_recall * there:
            raise StageError(
                f"the clusters found {found} of {there} similar pairs of a sample, less than "
                f"min_recall {self.min_recall:g}; raise `probes` or `exact_up_to`"
            )
