"""Pairwise judging in both orders, so that a leaning to one position shows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from curate.arrays import concat, join_texts, mix, places_of, take_rows
from curate.engines.contract import Completions, Requests
from curate.methods.judgments import LOG_ODDS, of_view
from curate.methods.noise import agreed
from curate.methods.verdicts import slight_wins_tied
from curate.methods.votes import by_name, pair_votes
from curate.prompts import load_template
from curate.stage import Context, Result
from curate.stages.calls import choice_logs, count_replies, of_calls, readings, token_status
from curate.stages.forms import Comparison, Form, pair_form
from curate.stages.judging import Judging
from curate.stages.live import judged, live_candidates, live_pairs, text_lengths
from curate.stages.pair_edits import read_pairs
from curate.stages.questions import aspect_names, load_rubric, several
from curate.stages.row_texts import row_texts
from curate.stages.shown import count_steering, fenced, material, shown_answers


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
    samples: int = Field(default=1, ge=1)
    """Answers to each call, drawn at a temperature above 0: together one judge's vote, or a
    committee where `consensus` is told so."""
    examples: str | None = None
    """A column of texts, one a row, that the judge is shown beside the criterion: what people
    decided elsewhere, as `retrieve` writes it."""
    unless: tuple[str, ...] = ()
    """Judges by name: a pair whose chosen answer all of them prefer is not asked about."""

    version = 4

    @model_validator(mode="after")
    def _consistent(self) -> JudgePairs:
        if self.max_longer is not None and self.verdict != "five":
            raise ValueError("max_longer is for slight wins; set verdict: five")
        if self.verdict == "log_odds" and self.structured:
            raise ValueError("verdict: log_odds asks for one token; drop structured")
        if self.samples > 1 and self.verdict == "log_odds":
            raise ValueError("verdict: log_odds is exact, so more samples are the same")
        if self.samples > 1 and self.sampling.temperature == 0.0:
            raise ValueError("several samples at temperature 0 are one; raise sampling.temperature")
        self._criteria()
        self._form()
        return self

    def needed(self) -> tuple[str, ...]:
        """Need the examples, and judgments of pairs where some are left out for them."""
        more = (self.examples,) if self.examples else ()
        return (*self.needs, *more, *(("pairs", "judgments") if self.unless else ()))

    def used(self) -> tuple[str, ...]:
        """The pairs, and the reference unless `use_reference` is off."""
        return (*(() if self.unless else ("pairs",)), *super().used())

    def reads_probabilities(self) -> bool:
        """Whether `verdict` is log_odds."""
        return self.verdict == "log_odds"

    def identity(self) -> dict[str, Any]:
        """The fields and the texts that the judge is shown."""
        form, reference = self._form(), load_template("judge_reference")
        texts = [form.frame.text, form.ending, reference.text, *self._criteria().values()]
        if self.examples:
            texts.append(load_template("judge_examples").text)
        return super().identity() | {"templates": texts}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the new judgments. Raises StageError above `max_error_rate`."""
        asked, criteria = self._asked(view, ctx), self._criteria()
        count_steering(ctx, live_candidates(view["candidates"]).texts)
        requests = self._requests(view, asked, ctx)
        answers = self.ask(requests, ctx)
        first_wins, status = self._read(answers)
        count_replies(ctx, status)
        # Calls lie by rubric, comparison and sample; a row's judgments by comparison first.
        size, each = len(asked.row), len(criteria) * self.samples
        at = (
            np.arange(size * each).reshape(len(criteria), size, self.samples).swapaxes(0, 1).ravel()
        )
        shown = asked.take(np.repeat(np.arange(size), each))
        score = np.where(shown.a_first, 1.0, -1.0) * first_wins[at]
        if self.max_longer is not None:
            long = [text_lengths(view["candidates"], shown.row, k) for k in (shown.a, shown.b)]
            score = slight_wins_tied(score, long[0] - long[1], self.max_longer)
        names = pa.array(list(criteria))
        return {
            "judgments": judged(
                len(view),
                shown.row,
                judge=self.name or f"{self.engine}:{'+'.join(criteria)}:pairs",
                aspect=names.take(
                    pa.array(np.tile(np.repeat(np.arange(len(names)), self.samples), size))
                ),
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

    def _asked(self, view: pa.Table, ctx: Context) -> Asked:
        if "pairs" in view.column_names:
            pairs = live_pairs(view["pairs"])
            row, a, b = pairs.row, pairs.chosen, pairs.rejected
            if self.unless:
                left = np.flatnonzero(~self._settled(view)[pairs.place])
                ctx.counts["pairs not asked about"] += len(row) - len(left)
                row, a, b = row[left], a[left], b[left]
        else:
            live = live_candidates(view["candidates"])
            row, a, b = every_two(live.row, live.place, live.counts)
        once = Asked(row, a, b, np.ones(len(row), dtype=bool))
        return once.take(np.repeat(np.arange(len(row)), 2))._replace(
            a_first=np.arange(2 * len(row)) % 2 == 0
        )

    def _settled(self, view: pa.Table) -> npt.NDArray[np.bool_]:
        """Return (pairs,) where all judges of `unless` prefer the chosen answer."""
        pairs = read_pairs(view)
        found = of_view(view, self.unless)
        size = int(pairs.counts.sum())
        margin = pair_votes(found, pairs.chosen, pairs.rejected, size).margin
        return agreed(by_name(found.judges, margin, self.unless))

    def _requests(self, view: pa.Table, asked: Asked, ctx: Context) -> Requests:
        form, criteria, size = self._form(), self._criteria(), len(asked.row)
        seeds = ctx.row_seeds(view["id"], "judge")
        first = np.where(asked.a_first, asked.a, asked.b)
        second = np.where(asked.a_first, asked.b, asked.a)
        shown = material(view, asked.row, seeds, self.use_reference) | {
            "first": shown_answers(view["candidates"], asked.row, first, seeds),
            "second": shown_answers(view["candidates"], asked.row, second, seeds),
            "ending": form.ending,
            "examples": self._examples(view, asked.row, seeds),
        }
        conversations = concat(
            [
                form.frame.conversations(size, form.prefix or None, criterion=text, **shown)
                for text in criteria.values()
            ]
        )
        which = seeded = None
        if self.sampling.temperature:
            own = ctx.row_seeds(view["id"], f"judge\0{self.name}\0{self.engine}\0{self.rubric}")
            which = np.repeat(np.arange(size * len(criteria)), self.samples)
            seeded = mix(own[asked.row], first, second)[which % max(size, 1)]
            seeded = mix(seeded, which // max(size, 1))
            sample = np.tile(np.arange(self.samples), size * len(criteria))
            seeded = np.where(sample > 0, mix(seeded, sample), seeded) >> np.uint64(1)
        draw = self.sampling
        if form.choices:
            draw = draw.model_copy(update={"max_tokens": 1})
        return Requests(conversations, draw, which, seeded, form.choices, self.held(form.schema))

    def _examples(
        self, view: pa.Table, row: npt.NDArray[np.int64], seeds: npt.NDArray[np.uint64]
    ) -> str | pa.Array:
        if self.examples is None:
            return ""
        shown = fenced(row_texts(view, self.examples), "examples", seeds)
        filled = load_template("judge_examples").column(examples=shown)
        return take_rows(pc.fill_null(join_texts("\n", filled, "\n"), ""), row)

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
    step = places_of(after)
    return row[a], place[a], place[a + 1 + step]
