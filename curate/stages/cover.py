"""Keep rows whose tags between them say everything."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.arrays import flat, lengths, owners
from curate.methods.tags import covering_rounds, once_each
from curate.methods.vectors import best_of
from curate.schema import DROP
from curate.stage import Context, Result, Stage
from curate.stages.budget import Keep, rows_to_keep
from curate.stages.dedup_items import with_ranking
from curate.stages.merge_tags import tag_lists


class Cover(Stage, name="cover"):
    """Keep `keep` rows that have the most tags and between them all tags; the others are dropped.

    Complexity-first diverse sampling of InsTag (Lu et al. 2024): from the row with the most tags
    down, a row is taken if it brings a tag that none of this round has; then the next round begins
    with the rows left. Rare tags are in the first round, so a small part of the rows has them all.
    A row without tags is never taken. In a tie the lower id wins.
    """

    scope = "dataset"
    needs = ("id",)
    keep: Keep
    column: str = Field("tags", description="the column of lists of texts")
    quality: str | None = Field(
        None, description='"margin", "scores" or a numeric column to go by; else the number of tags'
    )

    def needed(self) -> tuple[str, ...]:
        """Return the columns of id, tags and quality."""
        return with_ranking((*self.needs, self.column), self.quality)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the reason for each row that is not taken."""
        column = tag_lists(view, self.column)
        coded = flat(column).dictionary_encode()
        code = np.asarray(coded.indices.fill_null(-1)).astype(np.int64)
        row, tag = once_each(owners(lengths(column)), code)
        sizes = np.bincount(row, minlength=len(view))
        rank = sizes if self.quality is None else best_of(view, self.quality)
        by_id = np.argsort(np.array(view["id"].to_pylist(), dtype=object), kind="stable")
        order = by_id[np.argsort(-rank[by_id], kind="stable")]
        turn = covering_rounds(order, row, tag, len(view))
        tagged = order[turn[order] >= 0]
        keep = rows_to_keep(self.keep, len(view))
        chosen = tagged[np.argsort(turn[tagged], kind="stable")][:keep]
        why = np.full(len(view), f"not among the {len(chosen)} rows that cover the tags", object)
        why[turn < 0] = f"no {self.column}"
        why[chosen] = None
        taken = np.zeros(len(view), dtype=bool)
        taken[chosen] = True
        ctx.counts["distinct tags"] = len(np.unique(tag))
        ctx.counts["distinct tags of the rows kept"] = len(np.unique(tag[taken[row]]))
        ctx.counts["rounds"] = int(turn[chosen].max(initial=-1)) + 1
        return {DROP: pa.array(why, pa.string())}
