"""Listwise judging: all candidates of a prompt ranked or graded in one call, shuffled."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from curate.arrays import join_texts, mix, one_chunk, owners, places_of, starts_of
from curate.engines.contract import Requests
from curate.prompts import load_template
from curate.stage import Context, Result
from curate.stages.calls import count_replies, of_calls, readings
from curate.stages.forms import Form, grades_form, list_form
from curate.stages.judging import Judging
from curate.stages.live import LiveCandidates, judged, live_candidates
from curate.stages.questions import aspect_names, load_rubric, only_applicable, several
from curate.stages.shown import count_steering, material, paragraphs, shown_answers


class Shown(NamedTuple):
    """Answers as the calls show them: call after call, each in its own order."""

    call_row: npt.NDArray[np.int64]  # (calls,) the row that each call asks about
    sizes: npt.NDArray[np.int64]  # (calls,) how many answers it shows
    row: npt.NDArray[np.int64]  # (answers shown,)
    place: npt.NDArray[np.int64]  # (answers shown,) index within the row's candidates


class JudgeList(Judging, name="judge_list"):
    """Append judgments of all live candidates of a prompt, shown together in one call.

    "rank": the score is the share of the other answers that an answer beats, in [0, 1], an equal
    counting half. A ranking counts as a whole: one that leaves out or repeats an answer is a
    `parse_error` of all. "grades": a whole number from `low` to `high` for each answer, as
    UltraFeedback (Cui et al. 2023) asks for; a grade that cannot be read is that answer's alone.
    Several rubrics are aspects of one judge, each asked about in a call of its own.

    Judges lean to positions in lists as well, so the order is drawn from the row's seed, for each
    rubric anew, and several orders average the leaning out; a call's judgments stand in the order
    shown. Prompts with fewer than two live candidates get none.
    """

    rubric: str | tuple[str, ...] = "helpfulness"
    """A built-in rubric (helpfulness, correctness, honesty, instructions, overall, truthfulness)
    or a path to a Markdown file, or several."""
    score: Literal["rank", "grades"] = "rank"
    """Ask for a ranking, or for a grade of each answer."""
    low: int = Field(default=1, ge=0)
    """grades: the worst score."""
    high: int = Field(default=5, le=100)
    """grades: the best score."""
    not_applicable: tuple[str, ...] = ()
    """grades: rubrics for which the judge may write N/A; such an answer gets no score on them."""
    orders: int = Field(default=1, ge=1)
    """Calls per prompt and rubric, each with the answers shuffled anew."""

    version = 2

    @model_validator(mode="after")
    def _consistent(self) -> JudgeList:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        if self.score == "rank" and self.not_applicable:
            raise ValueError("not_applicable is for score: grades; a ranking holds every answer")
        if unknown := set(self.not_applicable) - set(several(self.rubric)):
            raise ValueError(f"not_applicable names no rubric of this judge: {sorted(unknown)}")
        aspect_names(several(self.rubric))
        for rubric in several(self.rubric):
            load_rubric(rubric)
            self._form(rubric)
        return self

    def identity(self) -> dict[str, Any]:
        """The fields and the texts that the judge is shown."""
        texts: list[str] = []
        for rubric in several(self.rubric):
            form, others = (
                self._form(rubric),
                (load_rubric(rubric), load_template("judge_reference")),
            )
            texts += [form.frame.text, form.ending, *(template.text for template in others)]
        # Lists are held to their size since; a version would redo what has none, too.
        listed = {"listed": True} if self.structured else {}
        return super().identity() | {"templates": texts} | listed

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the new judgments. Raises StageError above `max_error_rate`."""
        live = live_candidates(view["candidates"])
        count_steering(ctx, live.texts)
        rubrics = several(self.rubric)
        asked = [self._asked(view, live, rubric, ctx) for rubric in rubrics]
        form = self._form(next(iter(self.not_applicable), rubrics[0]))
        conversations = one_chunk(pa.chunked_array([calls for _, calls, _ in asked]))
        seeds = np.concatenate([seeds for *_, seeds in asked]) if self._draws() else None
        shown = [each for each, *_ in asked]
        sizes, row, place = (
            np.concatenate([getattr(each, name) for each in shown])
            for name in ("sizes", "row", "place")
        )
        schemas = self.schemas(form, sizes)
        requests = Requests(conversations, self.sampling, None, seeds, json_schema=schemas)
        answers = self.ask(requests, ctx)
        score, status = readings(answers, self._form(rubrics[0]).read, sizes)
        aspect = np.repeat(np.arange(len(rubrics)), [len(each.row) for each in shown])
        status = only_applicable(status, aspect, rubrics, self.not_applicable)
        count_replies(ctx, status)
        order = np.argsort(row, kind="stable")  # by row; then rubric, call, order shown
        at, aspects = pa.array(order), aspect_names(rubrics)
        suffix = "list" if self.score == "rank" else self.score
        return {
            "judgments": judged(
                len(view),
                row[order],
                judge=self.name or f"{self.engine}:{'+'.join(aspects)}:{suffix}",
                aspect=pa.array(aspects).take(pa.array(aspect[order])),
                a=pa.array(place[order]),
                score=score.take(at),
                status=status.take(at),
                **of_calls(answers, np.repeat(np.arange(len(answers)), sizes)[order]),
            )
        }

    def _form(self, rubric: str) -> Form:
        if self.score == "rank":
            return list_form(self.structured)
        return grades_form(self.low, self.high, self.structured, rubric in self.not_applicable)

    def _draws(self) -> bool:
        return bool(self.sampling.temperature)

    def _asked(
        self, view: pa.Table, live: LiveCandidates, rubric: str, ctx: Context
    ) -> tuple[Shown, pa.Array, npt.NDArray[np.uint64]]:
        """Return what the calls about one rubric show, their conversations and their seeds."""
        own = ctx.row_seeds(view["id"], f"judge\0{self.name}\0{self.engine}\0{rubric}")
        shown = shuffled(live, self.orders, own)
        form, seeds = self._form(rubric), ctx.row_seeds(view["id"], "judge")
        position = places_of(shown.sizes)
        number = pa.array(position + 1).cast(pa.large_string())
        texts = shown_answers(view["candidates"], shown.row, shown.place, seeds)
        scale = {"low": str(self.low), "high": str(self.high)} if self.score == "grades" else {}
        conversations = form.frame.conversations(
            len(shown.call_row),
            form.prefix or None,
            criterion=load_rubric(rubric).render(),
            answers=paragraphs(shown.sizes, join_texts("Answer ", number, ":\n", texts)),
            ending=form.ending,
            **material(view, shown.call_row, seeds, self.use_reference),
            **scale,
        )
        order = np.arange(len(shown.call_row)) % self.orders
        return shown, conversations, mix(own[shown.call_row], order) >> np.uint64(1)


def shuffled(live: LiveCandidates, orders: int, seeds: npt.NDArray[np.uint64]) -> Shown:
    """Return the candidates of every row with at least two, in `orders` orders of its seed.

    `seeds` (rows,). A row's orders depend on nothing else than its seed and its candidates.
    """
    call_row = np.repeat(np.flatnonzero(live.counts > 1), orders)
    sizes = live.counts[call_row]
    call, position = owners(sizes), places_of(sizes)
    at = starts_of(live.counts)[call_row][call] + position
    key = mix(seeds[live.row[at]], live.place[at], call % orders)
    at = at[np.lexsort((key, call))]
    return Shown(call_row, sizes, live.row[at], live.place[at])
