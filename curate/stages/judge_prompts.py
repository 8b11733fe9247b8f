"""Grading the prompts themselves, before anything is spent on their answers."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from curate.arrays import mix
from curate.engines.contract import Requests
from curate.prompts import load_template
from curate.stage import Context, Result
from curate.stages.calls import (
    Greedy,
    GreedySampling,
    count_replies,
    expected_scores,
    lost_rows,
    readings,
)
from curate.stages.filters import below
from curate.stages.forms import Form, expected_form, score_form
from curate.stages.judging import AskingInForm
from curate.stages.new_column import NewColumn
from curate.stages.questions import load_rubric
from curate.stages.shown import fenced, transcripts


class JudgePrompts(AskingInForm, name="judge_prompts"):
    """Write a judge's score of each prompt to a column, and drop the prompts below `at_least`.

    One call a prompt, before answers are paid for: COIG-P (2025) drops queries below 5 of 10,
    FiFA (Yang et al. 2024) weighs pairs by it. An unusable verdict is null; where there is a
    floor such a prompt is dropped, and the reason says that it has no score; one whose call failed
    is a failed row.
    """

    rubric: str = "request"
    """The built-in rubric for requests, or a path to a Markdown file."""
    at_least: float | None = Field(None, allow_inf_nan=False)
    """The least score kept; all are kept where not given."""
    low: int = Field(default=1, ge=0)
    """The worst score."""
    high: int = Field(default=10, le=100)
    """The best score."""
    score: Literal["parsed", "expected"] = "parsed"
    """Read the score from text, or take the expectation over the score tokens (`high` up to 9)."""
    to: NewColumn = "prompt_score"
    """The column to write, of float32."""
    sampling: Greedy = GreedySampling()
    """How to draw; greedy where no temperature is given."""
    min_mass: float = Field(default=0.9, ge=0.0, le=1.0)
    """"expected": least probability that the score tokens hold together."""

    version = 3
    needs = ("id", "prompt")

    @model_validator(mode="after")
    def _consistent(self) -> JudgePrompts:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        if self.score == "expected" and self.high > 9:
            raise ValueError("score: expected needs one-digit scores; set high to 9 or less")
        if self.score == "expected" and self.structured:
            raise ValueError("score: expected asks for one token; drop structured")
        load_rubric(self.rubric)
        return self

    def reads_probabilities(self) -> bool:
        """Whether `score` is expected."""
        return self.score == "expected"

    def identity(self) -> dict[str, Any]:
        """The fields and the texts that the judge is shown."""
        form = self._form()
        texts = [form.frame.text, load_rubric(self.rubric).text, form.ending]
        return super().identity() | {"templates": texts}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the scores and who is dropped. Raises StageError above `max_error_rate`."""
        seeds, form = ctx.row_seeds(view["id"], self.kind), self._form()
        answers = self.ask(self._requests(view, form, seeds), ctx)
        if form.choices:
            score, _, status = expected_scores(answers, self.low, self.high, self.min_mass)
        else:
            score, status = readings(answers, form.read)
        score = score.cast(pa.float32())
        count_replies(ctx, status)
        if self.at_least is None:
            return {self.to: score}
        reason = pa.scalar(f"prompt score below {self.at_least:g}")
        value = score.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
        low = pc.if_else(
            pa.array(below(value, self.at_least)), reason, pa.scalar(None, pa.string())
        )
        silent = pc.binary_join_element_wise("no prompt score", status, ": ")
        return {self.to: score, **lost_rows(pc.if_else(pc.is_null(score), silent, low), answers)}

    def _form(self) -> Form:
        frame = load_template("judge_prompt")
        if self.score == "expected":
            return expected_form(self.low, self.high)._replace(frame=frame)
        form = score_form(self.low, self.high, self.structured)._replace(frame=frame)
        return (
            form if self.structured else form._replace(ending=load_template("end_request").render())
        )

    def _requests(self, view: pa.Table, form: Form, seeds: npt.NDArray[np.uint64]) -> Requests:
        asked = form.frame.conversations(
            len(view),
            form.prefix or None,
            prompt=fenced(transcripts(view["prompt"]), "request", seeds),
            criterion=load_rubric(self.rubric).render(),
            low=str(self.low),
            high=str(self.high),
            ending=form.ending,
        )
        draw = self.sampling
        if form.choices:
            draw = draw.model_copy(update={"max_tokens": 1})
        own = mix(seeds, 1) >> np.uint64(1) if draw.temperature > 0 else None
        schema = self.held(form.schema)
        return Requests(asked, draw, seeds=own, choices=form.choices, json_schema=schema)
