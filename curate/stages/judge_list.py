"""Listwise judging: all candidates of a prompt ranked in one call, in shuffled orders."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from curate.arrays import join_texts, mix
from curate.engines.contract import Requests
from curate.prompts import load_template
from curate.stage import Context, Result
from curate.stages.calls import of_calls, readings
from curate.stages.forms import Form, list_form
from curate.stages.judging import Judging
from curate.stages.live import LiveCandidates, judged, live_candidates, within
from curate.stages.questions import aspect_names, load_rubric
from curate.stages.shown import count_steering, material, paragraphs, shown_answers


class Shown(NamedTuple):
    """Answers as the calls show them: call after call, each in its own order."""

    call_row: npt.NDArray[np.int64]  # (calls,) the row that each call asks about
    sizes: npt.NDArray[np.int64]  # (calls,) how many answers it shows
    row: npt.NDArray[np.int64]  # (answers shown,)
    place: npt.NDArray[np.int64]  # (answers shown,) index within the row's candidates


class JudgeList(Judging, name="judge_list"):
    """Append one judgment per live candidate and order: its rank among the prompt's answers.

    The score is the share of the other answers that it beats, in [0, 1], an equal counting half.
    A ranking counts as a whole: one that leaves out or repeats an answer is a `parse_error` of
    all. Judges lean to positions in lists as well, so the order is drawn from the row's seed,
    and several orders average the leaning out; the judgments stand in the order shown. Prompts
    with fewer than two live candidates get none.
    """

    rubric: str = "helpfulness"
    """A built-in rubric (helpfulness, correctness, honesty, instructions, truthfulness) or a
    path to a Markdown file."""
    orders: int = Field(default=1, ge=1)
    """Calls per prompt, each with the answers shuffled anew."""

    version = 2

    @model_validator(mode="after")
    def _consistent(self) -> JudgeList:
        load_rubric(self.rubric)
        self._form()
        return self

    def identity(self) -> dict[str, Any]:
        """The fields and the texts that the judge is shown."""
        form, others = self._form(), (load_rubric(self.rubric), load_template("judge_reference"))
        texts = [form.frame.text, form.ending, *(template.text for template in others)]
        return super().identity() | {"templates": texts}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the new judgments. Raises StageError above `max_error_rate`."""
        live = live_candidates(view["candidates"])
        count_steering(ctx, live.texts)
        own = ctx.row_seeds(view["id"], f"judge\0{self.name}\0{self.engine}\0{self.rubric}")
        shown = shuffled(live, self.orders, own)
        requests = self._requests(view, shown, own, ctx)
        answers = self.ask(requests, ctx)
        score, status = readings(answers, self._form().read, shown.sizes)
        (aspect,) = aspect_names([self.rubric])
        return {
            "judgments": judged(
                len(view),
                shown.row,
                judge=self.name or f"{self.engine}:{aspect}:list",
                aspect=aspect,
                a=pa.array(shown.place),
                score=score,
                status=status,
                **of_calls(answers, np.repeat(np.arange(len(answers)), shown.sizes)),
            )
        }

    def _form(self) -> Form:
        return list_form(self.structured)

    def _requests(
        self, view: pa.Table, shown: Shown, own: npt.NDArray[np.uint64], ctx: Context
    ) -> Requests:
        form, seeds = self._form(), ctx.row_seeds(view["id"], "judge")
        _, position = within(shown.sizes)
        number = pa.array(position + 1).cast(pa.large_string())
        texts = shown_answers(view["candidates"], shown.row, shown.place, seeds)
        answers = paragraphs(shown.sizes, join_texts("Answer ", number, ":\n", texts))
        conversations = form.frame.conversations(
            len(shown.call_row),
            form.prefix or None,
            criterion=load_rubric(self.rubric).render(),
            answers=answers,
            ending=form.ending,
            **material(view, shown.call_row, seeds, self.use_reference),
        )
        seeded = None
        if self.sampling.temperature:
            order = np.arange(len(shown.call_row)) % self.orders
            seeded = mix(own[shown.call_row], order) >> np.uint64(1)
        return Requests(conversations, self.sampling, None, seeded, json_schema=form.schema)


def shuffled(live: LiveCandidates, orders: int, seeds: npt.NDArray[np.uint64]) -> Shown:
    """Return the candidates of every row with at least two, in `orders` orders of its seed.

    `seeds` (rows,). A row's orders depend on nothing else than its seed and its candidates.
    """
    call_row = np.repeat(np.flatnonzero(live.counts > 1), orders)
    sizes = live.counts[call_row]
    call, position = within(sizes)
    at = (np.cumsum(live.counts) - live.counts)[call_row][call] + position
    key = mix(seeds[live.row[at]], live.place[at], call % orders)
    at = at[np.lexsort((key, call))]
    return Shown(call_row, sizes, live.row[at], live.place[at])
