"""Drop rows by a number: of their own, or the mean of those that are like them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from curate.arrays import Column, flat, lengths, one_chunk, owners, text_of
from curate.errors import StageError
from curate.methods.judgments import Floats, floats
from curate.schema import DROP
from curate.stage import Context, Result, Scope, Stage
from curate.stages.filters import above, below
from curate.stages.new_column import NewColumn


class Bound(Stage, name="bound"):
    """Drop rows whose number in `column` is below `at_least`, above `at_most`, or missing.

    A text counts its characters (a prompt those of its turns), a list what it holds (of candidates
    and pairs those that nothing has dropped). With `mean_by` the number is the mean of all rows
    that have the same value there: weak topics go as a whole (BenchBuilder, Li et al. 2024).
    """

    column: str
    """The column of numbers, texts or lists."""
    at_least: float | None = Field(None, allow_inf_nan=False)
    """The smallest number kept."""
    at_most: float | None = Field(None, allow_inf_nan=False)
    """The largest number kept."""
    mean_by: str | None = None
    """Column of the groups whose mean counts; rows without a number are not in it."""
    to: NewColumn | None = None
    """Column to write the number to, of float32."""

    @model_validator(mode="after")
    def _ordered(self) -> Bound:
        low, high = self.at_least, self.at_most
        if low is None and high is None:
            raise ValueError("give at_least, at_most or both")
        if low is not None and high is not None and high < low:
            raise ValueError(f"at_most ({high}) is less than at_least ({low})")
        return self

    def needed(self) -> tuple[str, ...]:
        """Return the column and that of the groups."""
        return (self.column,) if self.mean_by is None else (self.column, self.mean_by)

    def written(self) -> tuple[str, ...]:
        """Return the column that `to` names."""
        return () if self.to is None else (self.to,)

    def view_scope(self) -> Scope:
        """A mean takes all rows."""
        return "shard" if self.mean_by is None else "dataset"

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the reason for each row that is out of bounds, and the numbers if asked for."""
        value, what = numbers(view[self.column], self.column), self.column
        reason = pa.nulls(len(view), pa.string())
        if self.mean_by is not None:
            value, what = group_means(value, view[self.mean_by]), f"mean {what} by {self.mean_by}"
        masks = [(np.isnan(value), f"no {what}")]
        if self.at_least is not None:
            masks.append((below(value, self.at_least), f"{what} below {self.at_least:g}"))
        if self.at_most is not None:
            masks.append((above(value, self.at_most), f"{what} above {self.at_most:g}"))
        for mask, why in masks:
            reason = pc.if_else(pa.array(mask), pa.scalar(why), reason)
        if self.to is None:
            return {DROP: reason}
        return {DROP: reason, self.to: pa.array(value, pa.float32(), from_pandas=True)}


def numbers(column: Column, name: str) -> Floats:
    """Return a column (n) of numbers, of texts or lists by their size; null is NaN.

    Raises StageError where it holds something else.
    """
    values, kind = one_chunk(column), column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return floats(pc.utf8_length(values))
    if pa.types.is_list(kind):
        size = lengths(values)
        if name == "prompt":
            size = np.asarray(pc.utf8_length(text_of(values)))
        elif pa.types.is_struct(kind.value_type) and kind.value_type.get_field_index(DROP) >= 0:
            live = np.asarray(flat(values, DROP).is_null())
            size = np.bincount(owners(size)[live], minlength=len(values))
        return np.where(np.asarray(values.is_valid()), size.astype(np.float64), np.nan)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return floats(values)
    raise StageError(f"bound: {name!r} holds {kind}; give a column of numbers, texts or lists")


def group_means(value: Floats, group: Column) -> Floats:
    """Return the mean (n) of the values (n) of each one's group, NaN left out.

    NaN for a group without any value, and where the group is null.
    """
    coded = one_chunk(group).dictionary_encode()
    number = np.asarray(coded.indices.fill_null(-1)).astype(np.int64) + 1
    known = ~np.isnan(value)
    size = np.bincount(number[known], minlength=len(coded.dictionary) + 1)
    total = np.bincount(number[known], value[known], len(coded.dictionary) + 1)
    with np.errstate(invalid="ignore"):
        mean = total / size
    mean[0] = np.nan
    return np.asarray(mean[number])
