"""Make tags one that mean the same, and leave out rare ones."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrays import Column, Ints, flat, lengths, lists, one_chunk, owners
from curate.encoders import Precision, check_encoder, load_encoder
from curate.errors import StageError
from curate.methods.similarity import CosineSearch, keep_greedily
from curate.methods.tags import associated, folded, once_each, rows_of
from curate.stage import Context, Result
from curate.stages.reduced import Reduced, Values


class MergeTags(Reduced, name="merge_tags"):
    """Replace each row's tags by common ones, so that like rows share tags.

    As InsTag (Lu et al. 2024) normalises open tags, in this order: upper case and signs go; a tag
    that is like a more frequent one by its embedding becomes that one (`threshold`); tags in fewer
    than `min_rows` rows go; a tag that nearly always comes with another becomes that one
    (`confidence`). InsTag sends rare tags away first; here their spellings are added up before.
    No chains by likeness: a tag is like the one that it becomes, not like a third.
    """

    scope = "dataset"
    column: str = "tags"
    """The column of lists of texts to read and to write."""
    threshold: float | None = Field(0.9, gt=0.0, le=1.0)
    """Cosine from which two tags are one; null: none are, and no encoder is needed."""
    model: str = "packaged:minilm"
    """The encoder of the tags, as for `embed`."""
    precision: Precision = "bf16"
    """Of its matrix products: bf16, or fp32 for processors that do not multiply bfloat16."""
    min_rows: int = Field(1, ge=1)
    """Fewest rows that a tag must be in."""
    confidence: float | None = Field(None, gt=0.5, le=1.0)
    """Share of a tag's rows that must have the other tag too for it to become that one; null: none
    does."""
    support: int = Field(40, ge=1)
    """`confidence`: rows that a tag must be in."""

    def needed(self) -> tuple[str, ...]:
        """Need the column of tags."""
        return (self.column,)

    def written(self) -> tuple[str, ...]:
        """Write it anew."""
        return (self.column,)

    def ready(self) -> None:
        """Raise ConfigError without the encoder's package or folder."""
        if self.threshold is not None:
            check_encoder(self.model)

    def reduced(self, view: pa.Table, ctx: Context) -> Mapping[str, Values]:
        """Return the rows' tags as numbers, and each different tag once."""
        column = tag_lists(view, self.column)
        there = np.asarray(column.is_valid())
        return {"there": there, "sizes": lengths(column), "tags": flat(column).dictionary_encode()}

    def decided(self, found: Mapping[str, Values], ctx: Context) -> Mapping[str, Values]:
        """Return the tags, each once a row, in the order of its first."""
        coded, sizes = one_chunk(found["tags"]), np.asarray(found["sizes"])
        spelt = pa.array([folded(tag) or None for tag in coded.dictionary.to_pylist()], pa.string())
        names = np.array(sorted(set(spelt.drop_null().to_pylist())), dtype=object)
        number = pc.index_in(spelt, pa.array(names, pa.string())).take(coded.indices)
        code = np.asarray(number.fill_null(-1)).astype(np.int64)
        row, tag = once_each(owners(sizes), code)
        ctx.counts["distinct tags before"] = len(coded.dictionary)
        ctx.counts["distinct tags spelt differently"] = len(names)
        for target in (partial(self._alike, ctx), self._frequent, self._apart):
            row, tag = once_each(row, target(names, row, tag)[tag])
        left = np.unique(tag)
        ctx.counts["distinct tags after"] = len(left)
        code = pa.array(np.searchsorted(left, tag), pa.int32())
        kept = pa.DictionaryArray.from_arrays(code, pa.array(names[left], pa.string()))
        made = lists(np.bincount(row, minlength=len(sizes)), kept)
        return {"tags": made, "there": np.asarray(found["there"])}

    def finished(self, view: pa.Table, decided: Mapping[str, Values]) -> Result:
        """Return the tags as texts; null stays null."""
        coded = one_chunk(decided["tags"])
        made = lists(lengths(coded), flat(coded).cast(pa.string()))
        there = pa.array(np.asarray(decided["there"]))
        return {self.column: pc.if_else(there, made, pa.scalar(None, made.type))}

    def _alike(self, ctx: Context, names: npt.NDArray[np.object_], row: Ints, tag: Ints) -> Ints:
        """Return the more frequent tag that each is like; else itself."""
        target = np.arange(len(names))
        if self.threshold is None or len(names) < 2:
            return target
        order = np.argsort(-rows_of(tag, len(names)), kind="stable")
        encoder = load_encoder(self.model, self.precision)
        vectors = ctx.encode(encoder, names[order].tolist())
        twin, _ = keep_greedily(CosineSearch(vectors, self.threshold))
        gone = twin >= 0
        target[order[gone]] = order[twin[gone]]
        return target

    def _frequent(self, names: npt.NDArray[np.object_], row: Ints, tag: Ints) -> Ints:
        """Return each tag, -1 for those in too few rows."""
        often = rows_of(tag, len(names)) >= self.min_rows
        return np.where(often, np.arange(len(names)), -1)

    def _apart(self, names: npt.NDArray[np.object_], row: Ints, tag: Ints) -> Ints:
        """Return the tag that each nearly always comes with; else itself."""
        if self.confidence is None:
            return np.arange(len(names))
        return associated(row, tag, len(names), self.support, self.confidence)


def tag_lists(view: pa.Table, name: str) -> pa.Array:
    """Return a column of lists of texts. Raises StageError where it holds something else."""
    kind = view[name].type
    if not (pa.types.is_list(kind) and kind.value_type in (pa.string(), pa.large_string())):
        raise StageError(f"{name!r} must hold lists of texts, as `tag` writes; it holds {kind}")
    column: Column = view[name]
    return one_chunk(column)
