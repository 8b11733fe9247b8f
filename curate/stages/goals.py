"""The score of each answer as something that its prompt asks for."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator, model_validator

from curate.arrays import Floats, flat, lengths, lists, map_distinct, owners
from curate.errors import StageError
from curate.methods.judgments import true
from curate.stage import Context, Result, Stage

_TOP, _HELD = 10.0, "{goal}"


class Goals(Stage, name="goals"):
    """Write for each candidate the sentence that asks for an answer of its score, to `goals`.

    Reward-augmented data (Zhang et al. 2024): the export form `goals` makes two records of a
    pair, one that asks for the better score and prefers the better answer, and one that asks for
    the lower score and prefers the other. Scores are put on a scale from 1 to 10, to one decimal.
    At inference ask for 10. With `names` a score is asked for by its name: the classes of C-RLFT
    (OpenChat, Wang et al. 2023), which the form `scored` exports. Null without a score, and in
    splits other than `splits`, which stay as they are.
    """

    low: float = Field(default=1.0, allow_inf_nan=False)
    """The lowest score there is."""
    high: float = Field(default=10.0, allow_inf_nan=False)
    """The highest."""
    text: str = "Write an answer that a strict reviewer would rate {goal} out of 10."
    """The sentence; `{goal}` stands for the number, or for the name."""
    names: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(default_factory=dict)
    """Names of scores; answers of other scores than these then get no goal."""
    splits: tuple[str, ...] = ("train",)
    """The splits that get goals; all rows where there are no splits."""

    needs = ("candidates", "scores")
    uses = ("split",)
    writes = ("goals",)

    @field_validator("text")
    @classmethod
    def _one_goal(cls, text: str) -> str:
        if text.count(_HELD) != 1:
            raise ValueError("text: write {goal} once, where the number goes")
        return text

    @model_validator(mode="after")
    def _ordered(self) -> Goals:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the sentences. Raises StageError for a score outside `low` to `high`."""
        counts, scores = lengths(view["scores"]), flat(view["scores"])
        if counts.tolist() != lengths(view["candidates"]).tolist():
            raise StageError("goals: `scores` must hold one number a candidate; run `combine`")
        value = np.asarray(scores.to_numpy(zero_copy_only=False), dtype=np.float64)
        outside = np.flatnonzero((value < self.low) | (value > self.high))
        if len(outside) and not self.names:
            raise StageError(
                f"goals: a score is {value[outside[0]]:g}, outside {self.low:g} to {self.high:g}; "
                "set low and high to the scale of the scores"
            )
        wanted = self._wanted(view)[owners(counts)] & ~np.isnan(value)
        if self.names:
            said = self._named(np.where(wanted, value, np.nan))
            wanted = true(said.is_valid())
        else:
            goal = np.round(1 + (_TOP - 1) * (value - self.low) / (self.high - self.low), 1)
            said = map_distinct(pa.array(goal, mask=~wanted), self._said, pa.string())
        ctx.counts["goals"] += int(wanted.sum())
        return {"goals": lists(counts, said)}

    def _wanted(self, view: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        if "split" not in view.column_names:
            return np.ones(len(view), dtype=bool)
        inside = pc.is_in(view["split"], pa.array(self.splits, pa.string()))
        return np.asarray(inside.to_numpy(), dtype=bool)

    def _named(self, value: Floats) -> pa.Array:
        """Return each score's sentence by its name; of two that close by the first counts."""
        texts = [self.text.replace(_HELD, name) for name in self.names]
        apart = np.abs(value[:, None] - np.array(list(self.names.values())))
        near = (apart <= 1e-6).argmax(axis=1)
        unnamed = ~(apart <= 1e-6).any(axis=1)
        return pa.array(texts, pa.string()).take(pa.array(near, mask=unnamed))

    def _said(self, goal: float | None) -> str | None:
        return None if goal is None else self.text.replace(_HELD, f"{goal:g}")
