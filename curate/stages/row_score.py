"""One number a row from several, to rank rows by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from curate.methods.row_scores import How, row_scores
from curate.methods.vectors import best_of
from curate.stage import Context, Result, Scope
from curate.stages.dedup_items import with_ranking
from curate.stages.new_column import NewColumn
from curate.stages.reduced import Reduced, Values


class RowScore(Reduced, name="row_score"):
    """Write to `to` one number made of several numbers of the row, for other stages to rank by.

    Their product (DEITA ranks by complexity times quality, Liu et al. 2024), or their weighted
    sum, as they are or in standard deviations over all rows. Of a list, such as `scores`, the
    highest counts. Null where one of them is missing.
    """

    of: tuple[str, ...] = Field(min_length=1)
    """Columns of numbers or of lists of numbers, "meta.KEY", or "margin", "p_correct", "weight" of
    the row's best pair."""
    how: How = "product"
    """The product, or the sum."""
    weights: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(default_factory=dict)
    """What a number is multiplied by in a sum, or raised to in a product; 1 where not named."""
    standardise: bool = False
    """Put each number in standard deviations from its mean over all rows."""
    to: NewColumn = "row_score"
    """The column to write, of float64."""

    @model_validator(mode="after")
    def _named(self) -> RowScore:
        if unknown := sorted(set(self.weights) - set(self.of)):
            raise ValueError(f"weights names {unknown}, which `of` does not")
        return self

    def needed(self) -> tuple[str, ...]:
        """Return the columns that the numbers are read from."""
        columns: tuple[str, ...] = ()
        for name in self.of:
            columns = with_ranking(columns, name)
        return columns

    def view_scope(self) -> Scope:
        """See every row where the set sets the scale."""
        return "dataset" if self.standardise else "shard"

    def named(self) -> tuple[str, ...]:
        """Return the columns that the numbers are read from."""
        return self.of

    def reduced(self, view: pa.Table, ctx: Context) -> Mapping[str, Values]:
        """Return the rows' numbers (names, rows). Raises StageError where they are none."""
        numbers = np.stack([best_of(view, name) for name in self.of])
        numbers[np.isinf(numbers)] = np.nan
        return {"numbers": numbers}

    def decided(self, found: Mapping[str, Values], ctx: Context) -> Mapping[str, Values]:
        """Return the rows' scores."""
        weights = [self.weights.get(name, 1.0) for name in self.of]
        score = row_scores(np.asarray(found["numbers"]), self.how, weights, self.standardise)
        ctx.counts["rows without a score"] += int(np.isnan(score).sum())
        return {"score": score}

    def finished(self, view: pa.Table, decided: Mapping[str, Values]) -> Result:
        """Return the column."""
        return {self.to: pa.array(np.asarray(decided["score"]), pa.float64(), from_pandas=True)}
