"""Keep rows whose tags between them say everything."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.arrays import flat, lengths, one_chunk, owners
from curate.methods.tags import covering_rounds, once_each
from curate.methods.vectors import best_of, warn_unranked
from curate.schema import DROP
from curate.stage import Context, Result
from curate.stages.budget import Keep, by_id, rows_to_keep
from curate.stages.dedup_items import with_ranking
from curate.stages.merge_tags import tag_lists
from curate.stages.reduced import Reduced, Values


class Cover(Reduced, name="cover"):
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

    def named(self) -> tuple[str, ...]:
        """Return the name that rows are ranked by."""
        return (self.quality,) if self.quality else ()

    def reduced(self, view: pa.Table, ctx: Context) -> Mapping[str, Values]:
        """Return each row's id, rank and number of tags, and all tags, each row's once."""
        column = tag_lists(view, self.column)
        coded = flat(column).dictionary_encode()
        code = np.asarray(coded.indices.fill_null(-1)).astype(np.int64)
        row, tag = once_each(owners(lengths(column)), code)
        sizes = np.bincount(row, minlength=len(view))
        rank = sizes if self.quality is None else best_of(view, self.quality)
        tags = pa.DictionaryArray.from_arrays(pa.array(tag.astype(np.int32)), coded.dictionary)
        return {"id": view["id"], "rank": rank, "sizes": sizes, "tags": tags}

    def decided(self, found: Mapping[str, Values], ctx: Context) -> Mapping[str, Values]:
        """Return the reason for each row that is not taken."""
        rank, sizes = np.asarray(found["rank"]), np.asarray(found["sizes"])
        if self.quality is not None:
            warn_unranked(rank, "cover", self.quality)
        row, tag = owners(sizes), np.asarray(one_chunk(found["tags"]).indices, dtype=np.int64)
        order = by_id(one_chunk(found["id"]))
        order = order[np.argsort(-rank[order], kind="stable")]
        turn = covering_rounds(order, row, tag, len(sizes))
        tagged = order[turn[order] >= 0]
        keep = rows_to_keep(self.keep, len(sizes))
        chosen = tagged[np.argsort(turn[tagged], kind="stable")][:keep]
        taken = np.zeros(len(sizes), dtype=bool)
        taken[chosen] = True
        ctx.counts["distinct tags"] = len(np.unique(tag))
        ctx.counts["distinct tags of the rows kept"] = len(np.unique(tag[taken[row]]))
        ctx.counts["rounds"] = int(turn[chosen].max(initial=-1)) + 1
        why = [f"not among the {len(chosen)} rows that cover the tags", f"no {self.column}"]
        code = pa.array(np.where(turn < 0, 1, 0).astype(np.int8), mask=taken)
        return {"why": pa.DictionaryArray.from_arrays(code, pa.array(why))}

    def finished(self, view: pa.Table, decided: Mapping[str, Values]) -> Result:
        """Return the reasons as texts."""
        return {DROP: one_chunk(decided["why"]).cast(pa.string())}
