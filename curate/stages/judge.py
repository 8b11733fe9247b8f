"""Pointwise grading: one answer, one criterion, a score or a typed reason why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from curate.arrays import lists, messages_of, structs
from curate.engines.contract import Capability, Completion, Message, Request, Sampling
from curate.prompts import Template, load_template
from curate.schema import JUDGMENT, JudgmentStatus
from curate.stage import Context, EngineRole, Result, Stage
from curate.stages.calls import (
    Greedy,
    GreedySampling,
    LiveCandidates,
    chat,
    fenced,
    live_candidates,
    transcript,
)
from curate.stages.verdicts import expected_score, rubric_score

# What the engine continues, so that its next token is the number. It stands here and not in the
# template because its last character, a space, is one that editors strip.
_PREFIX = "Score: "
_SEVERAL_TEMPERATURE = 0.7


class Judge(Stage, name="judge"):
    """Append one judgment per live candidate and sample, on a rubric from `low` to `high`.

    "parsed" reads the number at the end of a written assessment (absolute grading of
    Prometheus 2, Kim et al. 2024). "expected" takes the mean over the probabilities of the
    score tokens, with their standard deviation as the spread (G-Eval, Liu et al. 2023): finer,
    one token a call, but without reasons. An unusable answer is a status and a null score.
    """

    engine: Annotated[str, EngineRole(("chat",))]
    """The engine's name."""
    rubric: str = "helpfulness"
    """A built-in rubric (helpfulness, correctness, instructions) or a path to a Markdown file."""
    low: int = Field(default=1, ge=0)
    """The worst score."""
    high: int = Field(default=5, le=100)
    """The best score."""
    score: Literal["parsed", "expected"] = "parsed"
    """Read the score from text, or take the expectation over the score tokens."""
    samples: int = Field(default=1, ge=1)
    """Calls per candidate; several need a temperature (0.7 where not given)."""
    sampling: Greedy = GreedySampling()
    """How to draw; greedy where no temperature is given."""
    min_mass: float = Field(default=0.9, ge=0.0, le=1.0)
    """"expected": least probability that the score tokens hold together."""
    use_reference: bool = True
    """Show the judge the row's reference answer where there is one."""
    name: str | None = None
    """The judge's name in the judgments; by default `engine:rubric`."""
    max_error_rate: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of failed calls above which the shard is given up."""

    needs = ("id", "prompt", "candidates")
    appends = ("judgments",)
    seeded = True

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
        if self.samples > 1 and self._draw().temperature == 0.0:
            raise ValueError("several samples at temperature 0 are one; raise sampling.temperature")
        self._templates()
        return self

    def used(self) -> tuple[str, ...]:
        """The reference, unless `use_reference` is off."""
        return ("reference",) if self.use_reference else ()

    def engine_roles(self) -> Iterator[tuple[str, tuple[Capability, ...]]]:
        """The judge, which must give token probabilities for `score: expected`."""
        yield self.engine, ("chat", "token_probs") if self.score == "expected" else ("chat",)

    def identity(self) -> dict[str, Any]:
        """The fields and the templates' texts."""
        return super().identity() | {"templates": [t.text for t in self._templates()]}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the new judgments. Raises StageError above `max_error_rate`."""
        live = live_candidates(view["candidates"])
        requests = self._requests(view, live, ctx)
        engine = ctx.engine(self.engine)
        answers = chat(engine, requests, ctx, self.max_error_rate, f"judge with {self.engine}")
        scores, spreads, statuses = (
            self._expected(answers) if self.score == "expected" else self._parsed(answers)
        )
        values = structs(
            JUDGMENT,
            len(answers),
            judge=self.name or f"{self.engine}:{Path(self.rubric).stem}",
            aspect=Path(self.rubric).stem,
            a=pa.array(np.repeat(live.place, self.samples)),
            score=scores,
            spread=spreads,
            status=statuses,
            text=[answer.text for answer in answers],
        )
        return {"judgments": lists(live.counts * self.samples, values)}

    def _templates(self) -> tuple[Template, Template, Template]:
        rubric = load_template(rubric_name(self.rubric))
        rubric.check(frozenset())
        return rubric, load_template(f"judge_{self.score}"), load_template("judge_reference")

    def _draw(self) -> Sampling:
        if self.score == "expected":
            return self.sampling.model_copy(update={"max_tokens": 1})
        if self.samples > 1 and "temperature" not in self.sampling.model_fields_set:
            return self.sampling.model_copy(update={"temperature": _SEVERAL_TEMPERATURE})
        return self.sampling

    def _requests(self, view: pa.Table, live: LiveCandidates, ctx: Context) -> list[Request]:
        rubric, frame, reference_frame = self._templates()
        criterion = rubric.render()
        ids, conversations = view["id"].to_pylist(), messages_of(view["prompt"])
        references = view["reference"].to_pylist() if self._has_reference(view) else None
        draw, samples = self._draw(), range(self.samples)
        greedy = draw.temperature == 0.0
        expected = self.score == "expected"
        choices = tuple(str(v) for v in range(self.low, self.high + 1)) if expected else ()
        ending: list[Message] = [{"role": "assistant", "content": _PREFIX}] if expected else []
        requests: list[Request] = []
        place = 0
        for row, count in enumerate(live.counts.tolist()):
            texts = live.texts[place : place + count]
            place += count
            if not texts:
                continue
            seed = ctx.row_seed(ids[row], 0)
            shown = references[row] if references else None
            known = "" if shown is None else fenced(shown, "reference", seed)
            (role, opening), (_, pieces) = frame.around(
                "candidate",
                criterion=criterion,
                low=str(self.low),
                high=str(self.high),
                prompt=fenced(transcript(conversations[row]), "conversation", seed),
                reference=f"\n{reference_frame.render(reference=known)}\n" if known else "",
            )
            system: Message = {"role": role, "content": "".join(opening)}
            for index, text in enumerate(texts):
                content = fenced(text, "answer", seed).join(pieces)
                messages = [system, {"role": "user", "content": content}, *ending]
                if greedy:
                    requests.append(Request(messages, draw, None, choices))
                    continue
                key = f"{self.name}\0{self.engine}\0{self.rubric}\0{ids[row]}\0{index}"
                requests += [
                    Request(messages, draw, ctx.row_seed(key, k), choices) for k in samples
                ]
        return requests

    def _has_reference(self, view: pa.Table) -> bool:
        return self.use_reference and "reference" in view.column_names

    def _parsed(
        self, answers: Sequence[Completion]
    ) -> tuple[list[float | None], None, list[JudgmentStatus]]:
        scores: list[float | None] = []
        statuses: list[JudgmentStatus] = []
        known: dict[str, tuple[float | None, JudgmentStatus]] = {}  # short answers repeat
        for answer in answers:
            if answer.status != "ok":
                scores.append(None)
                statuses.append(answer.status)
                continue
            found = known.get(answer.text)
            if found is None:
                found = known[answer.text] = rubric_score(answer.text, self.low, self.high)
            scores.append(found[0])
            statuses.append(found[1])
        return scores, None, statuses

    def _expected(
        self, answers: Sequence[Completion]
    ) -> tuple[pa.Array, pa.Array, list[JudgmentStatus]]:
        """Score from token probabilities; one token is asked for, so `truncated` is expected."""
        width = self.high - self.low + 1
        nothing = (-np.inf,) * width
        held = np.array([a.choice_logprobs or nothing for a in answers], dtype=np.float64)
        score = expected_score(held.reshape(len(answers), width), range(self.low, self.high + 1))
        enough = (score.mass >= self.min_mass) & (score.mass > 0.0)
        called = np.array([a.status in ("ok", "truncated") for a in answers], dtype=bool)
        usable = enough & called
        statuses: list[JudgmentStatus] = [
            "ok" if good else a.status if a.status in ("refused", "api_error") else "parse_error"
            for a, good in zip(answers, usable.tolist(), strict=True)
        ]
        return pa.array(score.mean, mask=~usable), pa.array(score.std, mask=~usable), statuses


def rubric_name(rubric: str) -> str:
    """Return the template's name: a path as it is, a built-in rubric with its prefix."""
    return rubric if "/" in rubric or rubric.endswith(".md") else f"rubric_{rubric}"
