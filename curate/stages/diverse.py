"""Keep the most diverse rows, by their embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from curate.arrays import Bools, Floats, Ints
from curate.errors import StageError
from curate.methods.columns import column_of
from curate.methods.coverage import Quota, facility_location, farthest_first, first_of, mmr
from curate.methods.density import distance_from_mean, mean_distance
from curate.methods.entropy import entropy_greedy
from curate.methods.neighbours import Graph, ivf_graph
from curate.methods.ranked import clusters, deita, in_turn
from curate.methods.row_scores import to_unit_interval
from curate.methods.spread import determinantal
from curate.methods.vectors import best_of, warn_unranked
from curate.schema import DROP
from curate.stage import Context, Result
from curate.stages.budget import (
    NO_EMBEDDING,
    Keep,
    Pool,
    Split,
    account,
    numbers_of,
    rows_to_keep,
    tally_report,
)
from curate.stages.dedup_items import with_ranking
from curate.stages.pooled import Drawn, Pooled
from curate.stages.reduced import Values

Method = Literal[
    "farthest_first", "facility_location", "clusters", "mmr", "dpp",
    "knn_density", "knn_entropy", "deita",
]  # fmt: skip
# Quality is a term, so that a row without one is out:
BY_GRAPH = ("knn_density", "knn_entropy", "facility_location")
ADDED = ("mmr", "facility_location", "dpp", "knn_entropy")


class Diverse(Pooled, name="diverse"):
    """Keep a diverse subset of `keep` rows; the other rows are dropped.

    Methods: "farthest_first" adds, one after another, the row farthest from all rows chosen so
    far, starting at the best one by `quality` (or the one nearest the mean): it spreads out, and
    takes outliers. "facility_location" chooses rows that the others are near to, on the graph of
    `k` nearest neighbours: it represents the crowd. "clusters" takes the best row (or the one
    nearest the middle) of each of `clusters` k-means clusters, then the second best, and so on.
    "mmr" adds the row of highest `balance` * quality - (1 - `balance`) * cosine to the nearest
    row chosen. "dpp" adds the row that the chosen ones together tell least about: the greedy most
    probable set of a determinantal point process (Chen et al. 2018), in 8 bytes for each row
    times each row kept, at most 4 GiB. "knn_density" keeps the rows whose `k` nearest neighbours
    are farthest away.
    "knn_entropy" adds the row of highest `quality` + `entropy_weight` * the logarithm, in standard
    deviations, of its distance to the `k`-th neighbour or to the nearest row chosen, if that is
    nearer (FiFA, Yang et al. 2024, with the `quality` that `row_score` makes of margin and quality
    in standard deviations). "deita" takes rows from best to worst by `quality` and skips those
    whose cosine to a row already taken is above `threshold`, so it may keep fewer. `quality` is
    "margin", "scores" or a numeric column; in a tie the better row wins, then the lower id.

    With `group`, a column, places are split among its values: "equal", "proportional", or at most
    a number each. Rows without an embedding are dropped for that reason.
    """

    version = 3
    keep: Keep
    method: Method = "farthest_first"
    """See above."""
    quality: str | None = None
    """"margin", "scores" or a numeric column; the better row wins where it counts."""
    k: int = Field(10, ge=1, description="neighbours, for knn_* and facility_location")
    threshold: float = Field(0.9, gt=-1.0, le=1.0, description="highest cosine, for deita")
    balance: float = Field(
        0.5, ge=0.0, lt=1.0, description="weight of quality, for mmr, facility_location and dpp"
    )
    width: float = Field(
        1.0, gt=0.0, allow_inf_nan=False, description="distance up to which rows are alike, for dpp"
    )
    entropy_weight: float = Field(
        0.5, ge=0.0, allow_inf_nan=False, description="weight of the distance, for knn_entropy"
    )
    clusters: int | None = Field(
        None, ge=1, description="for clusters; if null, as many as rows are kept, at most 1,000"
    )
    group: str | None = Field(None, description="column whose values share the places")
    split: Split = Field("equal", description="equal, proportional, or most rows a group")
    graph: Literal["exact", "ivf"] = Field("exact", description="ivf is approximate and faster")
    min_recall: float = Field(
        0.95, ge=0.0, le=1.0, description="stop where ivf finds a smaller share of neighbours"
    )
    topic: str | None = Field(
        None, description="column whose values the report counts among the rows kept, and by chance"
    )

    @model_validator(mode="after")
    def _complete(self) -> Diverse:
        if self.method in ("mmr", "knn_entropy") and self.quality is None:
            raise ValueError(
                f"{self.method} weighs quality against likeness; name the `quality` column"
            )
        if self.method == "deita" and self.quality is None:
            raise ValueError(
                "deita takes rows from best to worst; name the `quality` column: scores, margin, "
                "or one that `row_score` or `judge_prompts` writes"
            )
        return self

    def needed(self) -> tuple[str, ...]:
        """Return the columns of id, embedding, quality and group."""
        columns = with_ranking((*self.needs, self.embedding), self.quality)
        return with_ranking(with_ranking(columns, self.group), self.topic)

    def named(self) -> tuple[str, ...]:
        """Return the columns of quality, group and topic."""
        return tuple(filter(None, (self.quality, self.group, self.topic)))

    def facts(self, view: pa.Table) -> Mapping[str, Values]:
        """Return the rows' quality, group and topic, those of them that count."""
        found: dict[str, Values] = {}
        if self.quality:
            found["quality"] = best_of(view, self.quality, required=True)
        for name, column in (("group", self.group), ("topic", self.topic)):
            if column:
                found[name] = column_of(view, column, required=True)
        return found

    def usable(self, found: Mapping[str, Values]) -> Bools | bool:
        """Leave out rows without a quality where that is a term of what is maximised."""
        return ~np.isinf(np.asarray(found["quality"])) if self._adds_quality() else True

    def neighbours(self, size: int, pooled: int) -> int:
        """Return `k` where the method goes by the exact graph and leaves some rows out."""
        by_graph = self.method in BY_GRAPH and self.graph == "exact"
        return self.k if by_graph and self._leaves_out(size, pooled) else 0

    def decided(
        self, found: Mapping[str, Values], drawn: Drawn, ctx: Context
    ) -> Mapping[str, Values]:
        """Return the reason for each row that is not chosen."""
        rows, size, there = drawn.rows, len(found["id"]), np.asarray(found["there"])
        quality = np.asarray(found["quality"]) if self.quality else np.full(size, -np.inf)
        group = numbers_of(found["group"]) if self.group else np.zeros(size, dtype=np.int64)
        unusable = {NO_EMBEDDING: ~there}
        if self.quality and not self._adds_quality():
            warn_unranked(quality, "diverse", self.quality)
        if self._adds_quality():
            unusable[f"no {self.quality} to rank it by"] = there & np.isinf(quality)
        pool = Pool(rows, drawn.vectors, quality[rows], group[rows])
        keep = rows_to_keep(self.keep, size)
        if self._leaves_out(size, len(rows)):
            quota = pool.quota(keep, self.split)
            chosen = self._choose(pool, min(keep, len(rows)), quota, drawn.graph, ctx)
        else:
            chosen = np.arange(len(rows))
        tally_report(ctx, pool, chosen, found.get("topic"))
        why = f"not among the {len(chosen)} most diverse"
        return {"why": account(size, rows[chosen], why, unusable)}

    def finished(self, view: pa.Table, decided: Mapping[str, Values]) -> Result:
        """Return the reason for each row that is not chosen."""
        return {DROP: decided["why"]}

    def _leaves_out(self, size: int, pooled: int) -> bool:
        """Return whether of `size` rows, of which `pooled` are usable, some may not be chosen."""
        few = rows_to_keep(self.keep, size) < pooled
        return few or self.group is not None or self.method == "deita"

    def _adds_quality(self) -> bool:
        return self.quality is not None and self.method in ADDED

    def _choose(
        self, pool: Pool, keep: int, quota: Quota, graph: Graph | None, ctx: Context
    ) -> Ints:
        vectors, quality = pool.vectors, pool.quality
        if self.method == "deita":
            if len(quality) and np.isinf(quality).all():
                raise StageError(
                    f"deita takes rows from best to worst, and none of the {len(quality)} rows has "
                    f"a number in {self.quality!r}; fill it by an earlier stage, or map it with "
                    "`columns` of the source"
                )
            order = np.argsort(-quality, kind="stable")
            return deita(order, vectors, self.threshold, keep, quota)
        if self.method == "mmr":
            return mmr(vectors, to_unit_interval(quality), keep, self.balance, quota)
        if self.method == "clusters":
            count = self.clusters or min(keep, 1000)
            number, away = clusters(vectors, count)
            return quota.first(in_turn(number, quality if self.quality else -away), keep)
        if self.method == "farthest_first":
            better = quality if self.quality else -distance_from_mean(vectors)
            return farthest_first(vectors, keep, first_of(better, quota), quota)[0]
        if self.method == "dpp":
            return determinantal(vectors, keep, self.width, self._bonus(quality), quota)
        if graph is None:
            graph = self._graph(pool, ctx)
        if self.method == "knn_density":
            order = np.lexsort((-quality, -mean_distance(graph)))
            return quota.first(np.asarray(order, dtype=np.int64), keep)
        if self.method == "knn_entropy":
            distance = graph.distance[:, -1:].sum(axis=1)  # all 0 for a row without neighbours
            return entropy_greedy(vectors, quality, distance, keep, self.entropy_weight, quota)
        similarity = np.clip(graph.cosine, 0.0, 1.0)
        return facility_location(graph, similarity, keep, self._bonus(quality), quota)[0]

    def _bonus(self, quality: Floats) -> Floats | None:
        """Return what quality adds to the gain of a row, whose gain by likeness counts 1."""
        if self.quality is None:
            return None
        return to_unit_interval(quality) * self.balance / (1 - self.balance)

    def _graph(self, pool: Pool, ctx: Context) -> Graph:
        """Return the approximate graph. Raises StageError where it misses too much."""
        graph, recall = ivf_graph(pool.vectors, self.k)
        ctx.counts["graph_recall_e4"] = int(recall * 10_000)
        if recall < self.min_recall:
            raise StageError(
                f"the ivf graph found {recall:.3f} of the true neighbours of a sample, less than "
                f"min_recall {self.min_recall:g}; use `graph: exact`, or lower min_recall"
            )
        return graph
