"""Pairwise judging in both orders, so that a leaning to one position shows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from curate.arrays import mix
from curate.engines.contract import Completions, Requests
from curate.methods.judgments import LOG_ODDS
from curate.methods.verdicts import slight_wins_tied
from curate.prompts import load_template
from curate.stage import Context, Result
from curate.stages.calls import choice_logs, of_calls, readings, token_status
from curate.stages.forms import Comparison, Form, pair_form
from curate.stages.judging import Judging
from curate.stages.live import judged, live_candidates, live_pairs, text_lengths, within
from curate.stages.questions import aspect_names, load_rubric, several
from curate.stages.shown import count_steering, material, shown_answers


class Asked(NamedTuple):
    """Comparisons as columns: candidates a and b of a row, each pair in both orders in turn."""

    row: npt.NDArray[np.int64]
    a: npt.NDArray[np.int64]
    b: npt.NDArray[np.int64]
    a_first: npt.NDArray[np.bool_]

    def take(self, at: npt.NDArray[np.int64]) -> Asked:
        """Return the comparisons at those places."""
        return Asked(self.row[at], self.a[at], self.b[at], self.a_first[at])


class JudgePairs(Judging, name="judge_pairs"):
    """Append two judgments per pair and rubric, one in each order; positive scores favour a.

    Judges the live pairs where the rows have pairs, else every two live candidates. "three"
    gives 1, 0 (a tie) or -1, after MT-Bench (Zheng et al. 2023); "five" also gives 0.5 and -0.5
    for slight wins, after Arena-Hard (Li et al. 2024); "log_odds" is log P(a) - log P(b) as the
    judge's next token, after SALMON (Sun et al. 2023). Both orders are kept apart: that a judge
    contradicts itself and that it sees a tie mean different things.
    """

    rubric: str | tuple[str, ...] = "helpfulness"
    """A built-in rubric (helpfulness, correctness, honesty, instructions, truthfulness) or a
    path to a Markdown file, or several, one call each."""
    verdict: Comparison = "three"
    """Three grades, five grades, or the log odds of the two answers."""
    max_longer: int | None = Field(default=None, ge=0)
    """"five": a slight win of an answer that is longer by more characters than this is a tie
    (WildBench, Lin et al. 2024)."""
    min_mass: float = Field(default=0.9, ge=0.0, le=1.0)
    """"log_odds": least probability that the two verdicts hold together."""

    version = 4

    @model_validator(mode="after")
    def _consistent(self) -> JudgePairs:
        if self.max_longer is not None and self.verdict != "five":
            raise ValueError("max_longer is for slight wins; set verdict: five")
        if self.verdict == "log_odds" and self.structured:
            raise ValueError("verdict: log_odds asks for one token; drop structured")
        self._criteria()
        self._form()
        return self

    def used(self) -> tuple[str, ...]:
        """The pairs, and the reference unless `use_reference` is off."""
        return ("pairs", *super().used())

    def reads_probabilities(self) -> bool:
        """Whether `verdict` is log_odds."""
        return self.verdict == "log_odds"

    def identity(self) -> dict[str, Any]:
        """The fields and the texts that the judge is shown."""
        form, reference = self._form(), load_template("judge_reference")
        texts = [form.frame.text, form.ending, reference.text, *self._criteria().values()]
        return super().identity() | {"templates": texts}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the new judgments. Raises StageError above `max_error_rate`."""
        asked, criteria = self._asked(view), self._criteria()
        count_steering(ctx, live_candidates(view["candidates"]).texts)
        requests = self._requests(view, asked, ctx)
        answers = self.ask(requests, ctx)
        first_wins, status = self._read(answers)
        # Calls lie by rubric, then comparison; a row's judgments by pair first.
        at = np.arange(len(answers)).reshape(len(criteria), -1).T.ravel()
        shown = asked.take(np.repeat(np.arange(len(asked.row)), len(criteria)))
        score = np.where(shown.a_first, 1.0, -1.0) * first_wins[at]
        if self.max_longer is not None:
            size = [text_lengths(view["candidates"], shown.row, k) for k in (shown.a, shown.b)]
            score = slight_wins_tied(score, size[0] - size[1], self.max_longer)
        names = pa.array(list(criteria))
        return {
            "judgments": judged(
                len(view),
                shown.row,
                judge=self.name or f"{self.engine}:{'+'.join(criteria)}:pairs",
                aspect=names.take(pa.array(np.tile(np.arange(len(names)), len(asked.row)))),
                a=pa.array(shown.a),
                b=pa.array(shown.b),
                order=pc.if_else(pa.array(shown.a_first), "ab", "ba"),
                score=pa.array(score + 0.0, mask=np.isnan(score)),
                status=status.take(pa.array(at)),
                scale=LOG_ODDS if self.verdict == "log_odds" else None,
                **of_calls(answers, at),
            )
        }

    def _criteria(self) -> dict[str, str]:
        """Return each rubric's text by its aspect."""
        rubrics = several(self.rubric)
        return {
            n: load_rubric(r).render() for n, r in zip(aspect_names(rubrics), rubrics, strict=True)
        }

    def _form(self) -> Form:
        return pair_form(self.verdict, self.structured)

    def _asked(self, view: pa.Table) -> Asked:
        if "pairs" in view.column_names:
            pairs = live_pairs(view["pairs"])
            row, a, b = pairs.row, pairs.chosen, pairs.rejected
        else:
            live = live_candidates(view["candidates"])
            row, a, b = every_two(live.row, live.place, live.counts)
        once = Asked(row, a, b, np.ones(len(row), dtype=bool))
        return once.take(np.repeat(np.arange(len(row)), 2))._replace(
            a_first=np.arange(2 * len(row)) % 2 == 0
        )

    def _requests(self, view: pa.Table, asked: Asked, ctx: Context) -> Requests:
        form, criteria, size = self._form(), self._criteria(), len(asked.row)
        seeds = ctx.row_seeds(view["id"], "judge")
        first = np.where(asked.a_first, asked.a, asked.b)
        second = np.where(asked.a_first, asked.b, asked.a)
        shown = material(view, asked.row, seeds, self.use_reference) | {
            "first": shown_answers(view["candidates"], asked.row, first, seeds),
            "second": shown_answers(view["candidates"], asked.row, second, seeds),
            "ending": form.ending,
        }
        conversations = pa.concat_arrays(
            form.frame.conversations(size, form.prefix or None, criterion=text, **shown)
            for text in criteria.values()
        )
        seeded = None
        if self.sampling.temperature:
            own = ctx.row_seeds(view["id"], f"judge\0{self.name}\0{self.engine}\0{self.rubric}")
            call = np.arange(size * len(criteria))
            seeded = mix(own[asked.row], first, second)
            seeded = mix(seeded[call % max(size, 1)], call // max(size, 1)) >> np.uint64(1)
        draw = self.sampling
        if form.choices:
            draw = draw.model_copy(update={"max_tokens": 1})
        return Requests(conversations, draw, None, seeded, form.choices, form.schema)

    def _read(self, answers: Completions) -> tuple[npt.NDArray[np.float64], pa.Array]:
        """Return how far each call favours the answer shown first (NaN: unknown), and statuses."""
        form = self._form()
        if not form.choices:
            scores, status = readings(answers, form.read)
            return np.asarray(scores.to_numpy(zero_copy_only=False), dtype=np.float64), status
        held = choice_logs(answers)
        status, lost = token_status(answers, np.exp(held).sum(axis=1), self.min_mass)
        with np.errstate(invalid="ignore"):
            odds = held[:, 0] - held[:, 1]
        lost |= ~np.isfinite(odds)  # a server's short list may hold only one of the two
        unread = pc.and_(pa.array(lost), pc.equal(status, "ok"))
        status = pc.if_else(unread, "parse_error", status)
        return np.where(lost, np.nan, odds), status


def every_two(
    row: npt.NDArray[np.int64], place: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return (row, a, b) for every two candidates of a row, a before b, in order."""
    after = np.repeat(np.cumsum(counts), counts) - np.arange(len(row)) - 1
    a = np.repeat(np.arange(len(row)), after)
    _, step = within(after)
    return row[a], place[a], place[a + 1 + step]
