"""Pointwise grading: one answer at a time, a score or a typed reason why there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from curate.arrays import concat, mix, take_rows
from curate.engines.contract import Requests, Sampling
from curate.prompts import load_template
from curate.stage import Context, Result
from curate.stages.calls import count_replies, expected_scores, of_calls, readings
from curate.stages.forms import checklist_form
from curate.stages.judging import Judging
from curate.stages.live import LiveCandidates, judged, live_candidates
from curate.stages.questions import (
    Question,
    checked,
    expected,
    graded,
    only_applicable,
    row_items,
    several,
)
from curate.stages.shown import count_steering, fenced, material

_SEVERAL_TEMPERATURE = 0.7


class Judge(Judging, name="judge"):
    """Append one judgment per live candidate, rubric and sample.

    "parsed" reads the number at the end of a written assessment (absolute grading of
    Prometheus 2, Kim et al. 2024). "expected" takes the mean over the probabilities of the
    score tokens, with their standard deviation as the spread (G-Eval, Liu et al. 2023): finer,
    one token a call, but without reasons; where an engine has no token probabilities, take the
    mean of several samples instead. "checklist" scores the share of yes among yes-or-no
    questions (WildBench, Lin et al. 2024). Several rubrics are aspects of one judge: keep them
    apart or average them later. An unusable answer is a status and a null score.
    """

    rubric: str | tuple[str, ...] = "helpfulness"
    """A built-in rubric (helpfulness, correctness, honesty, instructions, overall, truthfulness;
    checklist) or a path to a Markdown file, or several: UltraFeedback's four aspects are
    [instructions, honesty, truthfulness, helpfulness]."""
    together: bool = False
    """Ask for all rubrics in one call instead of one call each: cheaper, but aspects then sway
    each other."""
    low: int = Field(default=1, ge=0)
    """The worst score."""
    high: int = Field(default=5, le=100)
    """The best score."""
    not_applicable: tuple[str, ...] = ()
    """"parsed": rubrics for which the judge may write N/A; such an answer gets no score on them."""
    score: Literal["parsed", "expected", "checklist"] = "parsed"
    """Read the score from text, take the expectation over the score tokens, or count yeses."""
    items: str | None = None
    """"checklist": a column of lists of texts with each row's own questions, in place of a
    rubric's; rows without any get no judgment."""
    samples: int = Field(default=1, ge=1)
    """Calls per candidate; several need a temperature (0.7 where not given)."""
    min_mass: float = Field(default=0.9, ge=0.0, le=1.0)
    """"expected": least probability that the score tokens hold together."""

    version = 3

    @model_validator(mode="after")
    def _consistent(self) -> Judge:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        if self.score == "expected" and self.high > 9:
            raise ValueError("score: expected needs one-digit scores; set high to 9 or less")
        if self.score == "expected" and self.samples > 1:
            raise ValueError(
                "score: expected is exact, so more samples are the same; set samples: 1"
            )
        if self.score == "expected" and (self.structured or self.together):
            raise ValueError("score: expected asks for one token; drop structured and together")
        if self.score == "checklist" and self.together:
            raise ValueError("score: checklist asks for one list a call; drop together")
        if self.not_applicable and self.score != "parsed":
            raise ValueError("not_applicable is for score: parsed")
        if unknown := sorted(set(self.not_applicable) - set(several(self.rubric))):
            raise ValueError(f"not_applicable names no rubric of this judge: {unknown}")
        if self.items is not None and self.score != "checklist":
            raise ValueError("items are for score: checklist")
        if self.samples > 1 and self._draw().temperature == 0.0:
            raise ValueError("several samples at temperature 0 are one; raise sampling.temperature")
        self._questions()
        return self

    def needed(self) -> tuple[str, ...]:
        """Id, prompt and candidates, and the column of `items`."""
        return self.needs if self.items is None else (*self.needs, self.items)

    def reads_probabilities(self) -> bool:
        """Whether `score` is expected."""
        return self.score == "expected"

    def identity(self) -> dict[str, Any]:
        """The fields and the texts that the judge is shown."""
        texts = [load_template("judge_reference").text]
        for question in self._questions():
            texts += [question.form.frame.text, question.criterion, question.form.ending]
        # Lists are held to their size since; a version would redo what has none, too.
        listed = {"listed": True} if self._questions()[0].form.listed else {}
        return super().identity() | {"templates": texts} | listed

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the new judgments. Raises StageError above `max_error_rate`."""
        live, own = live_candidates(view["candidates"]), None
        if self.items is not None:
            own = row_items(view[self.items], self.items)
            live = live.of_rows(own[1] > 0)
        count_steering(ctx, live.texts)
        questions, form = self._questions(), self._questions()[0].form
        sizes = [own[1][live.row]] if own else [np.full(len(live.row), q.size) for q in questions]
        each_call = np.repeat(np.concatenate(sizes), self.samples)
        asked = self._requests(view, live, own and own[0], ctx)
        answers = self.ask(replace(asked, json_schema=self.schemas(form, each_call)), ctx)
        if self.score == "expected":
            score, spread, status = expected_scores(answers, self.low, self.high, self.min_mass)
        else:
            (score, status), spread = readings(answers, form.read, each_call), None
        aspects = [aspect for question in questions for aspect in question.aspects]
        # Calls lie by question, candidate, sample; a row's judgments by candidate first.
        shape = (len(questions), len(live.row), self.samples, len(questions[0].aspects))
        at = np.arange(len(score)).reshape(shape).transpose(1, 0, 3, 2).ravel()
        each = len(aspects) * self.samples
        named = np.tile(np.repeat(np.arange(len(aspects)), self.samples), len(live.row))
        status = take_rows(status, at)
        if self.score == "parsed":
            status = only_applicable(status, named, several(self.rubric), self.not_applicable)
        count_replies(ctx, status)
        values = judged(
            len(view),
            np.repeat(live.row, each),
            judge=self.name or f"{self.engine}:{'+'.join(aspects)}",
            aspect=pa.array(aspects).take(pa.array(named)),
            a=pa.array(np.repeat(live.place, each)),
            score=take_rows(score, at),
            spread=None if spread is None else take_rows(spread, at),
            status=status,
            **of_calls(answers, at // shape[3]),
        )
        return {"judgments": values}

    def _questions(self) -> list[Question]:
        """Return what is asked of every candidate; the criterion of `items` is in the rows."""
        if self.items is not None:
            return [Question("", (self.items,), checklist_form(self.structured))]
        rubrics = several(self.rubric)
        if self.score == "checklist":
            return checked(rubrics, self.structured)
        if self.score == "expected":
            return expected(rubrics, self.low, self.high)
        return graded(
            rubrics, self.low, self.high, structured=self.structured, together=self.together,
            may_skip=self.not_applicable,
        )  # fmt: skip

    def _draw(self) -> Sampling:
        if self.score == "expected":
            return self.sampling.model_copy(update={"max_tokens": 1})
        if self.samples > 1 and "temperature" not in self.sampling.model_fields_set:
            return self.sampling.model_copy(update={"temperature": _SEVERAL_TEMPERATURE})
        return self.sampling

    def _requests(
        self, view: pa.Table, live: LiveCandidates, own: pa.Array | None, ctx: Context
    ) -> Requests:
        """Return the calls of all questions; `own` holds the rows' own checklists."""
        seeds, size = ctx.row_seeds(view["id"], "judge"), len(live.row)
        shown = material(view, live.row, seeds, self.use_reference)
        shown["candidate"] = fenced(live.texts, "answer", mix(seeds[live.row], live.place))
        if self.score != "checklist":
            shown |= {"low": str(self.low), "high": str(self.high)}
        questions, asked = self._questions(), []
        items = None if own is None else fenced(own, "questions", seeds).take(live.row)
        for criterion, _, form, _ in questions:
            shown |= {"criterion": items or criterion, "ending": form.ending}
            asked.append(form.frame.conversations(size, form.prefix or None, **shown))
        draw, which, drawn = self._draw(), None, None
        if draw.temperature:
            which = np.repeat(np.arange(size * len(questions)), self.samples)
            sample = np.tile(np.arange(self.samples), size * len(questions))
            purpose = f"judge\0{self.name}\0{self.engine}\0{self.rubric}\0{self.items}"
            mine = mix(ctx.row_seeds(view["id"], purpose)[live.row], live.place)
            drawn = mix(mine[which % size], which // size, sample) >> np.uint64(1)
        return Requests(concat(asked), draw, which, drawn, questions[0].form.choices)
