"""Judging by who wrote the answer."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, Field, model_validator

from curate.arrays import flat
from curate.methods.judgments import true
from curate.stage import Context, Result, Stage
from curate.stages.live import judged, live_candidates


def _distinct(order: tuple[str | None, ...]) -> tuple[str | None, ...]:
    if len(set(order)) < len(order):
        raise ValueError("a model stands in the order twice")
    return order


class RankModels(Stage, name="rank_models"):
    """Append to each live candidate the place of its model in `order` as a judgment.

    The last model's answers score 0, the one before it 1, and so on, or what `values` says;
    answers of other models get no judgment. Pairs of a stronger over a weaker model's answer
    teach, whether or not each one is right, and cost no judge (delta learning, Geng et al.
    2025); with `values` models become classes of answers (C-RLFT, Wang et al. 2023).
    """

    needs = ("candidates",)
    appends = ("judgments",)

    order: Annotated[tuple[str | None, ...], AfterValidator(_distinct)] = Field(min_length=2)
    """The models' names as the candidates carry them, the strongest first; null stands for answers
    that name none."""
    values: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] | None = None
    """What the answers of each model score, in the same order: a class's reward or weight."""
    name: str = "model_order"
    """The judge's name in the judgments."""

    @model_validator(mode="after")
    def _one_a_model(self) -> RankModels:
        if self.values is not None and len(self.values) != len(self.order):
            raise ValueError(f"{len(self.values)} values for {len(self.order)} models")
        return self

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the new judgments."""
        live = live_candidates(view["candidates"])
        here = np.asarray(pc.is_null(flat(view["candidates"], "drop")))
        models = flat(view["candidates"], "model").filter(pa.array(here))
        place = pc.index_in(models, pa.array(self.order, models.type))
        known = true(place.is_valid())
        values = self.values or range(len(self.order) - 1, -1, -1)
        score = np.array(values, dtype=np.float32)[place.drop_null().to_numpy()]
        ctx.counts["answers of other models"] += int((~known).sum())
        return {
            "judgments": judged(
                len(view),
                live.row[known],
                judge=self.name,
                aspect="model",
                a=pa.array(live.place[known]),
                score=pa.array(score),
                status="ok",
                text="",
            )
        }
