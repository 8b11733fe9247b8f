"""How likely models find each answer, or what a user says next: evidence without a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import model_validator

from curate.arrays import Floats, messages_of
from curate.engines.contract import Continuation, Message
from curate.errors import StageError
from curate.methods.judgments import true
from curate.schema import JudgmentStatus
from curate.stage import Context, EngineRole, Result, Stage
from curate.stages.calls import ErrorRate, check_errors, count_replies, tally
from curate.stages.live import judged, live_candidates


class Read(NamedTuple):
    """What one model finds of n answers, with m texts each."""

    logprob: Floats  # (n, m) in nats, NaN where there is none
    tokens: Floats  # (n, m)
    status: list[JudgmentStatus]  # (n,) the first that is not ok, of the m calls


def likelihood_score(
    logprob: Floats, tokens: Floats, minus: Floats, positive: int, normalize: bool
) -> Floats:
    """Return (n,) scores from log probabilities (n, m) of m texts for each of n answers.

    A text counts logprob - minus (`minus` 0 where there is no second model), divided by its
    `tokens` under the first model where `normalize`. The score is the mean over the first
    `positive` texts less the mean over the others, where there are any.
    """
    value = logprob - minus
    if normalize:
        value = value / tokens
    against = value[:, positive:].mean(axis=1) if value.shape[1] > positive else 0.0
    return np.asarray(value[:, :positive].mean(axis=1) - against)


class Likelihood(Stage, name="likelihood"):
    """Append the log probability of every live candidate as a judgment; higher is better.

    In nats, divided by the number of tokens where `normalize` is "tokens": a sum favours short
    answers (the length-normalised form is CREAM's reference-free reward, Wang et al. 2024).
    - With `minus`, the log ratio of two models, each with its own tokenizer and template: a
      tuned model against the one it came from is a reward (density ratio; CDR, whose form has
      `normalize: none`). With `system`, under an instruction; `minus` may name the same engine,
      to ask what the instruction changes.
    - With `positive` or `negative` follow-ups, the likelihood of what a user would say next:
      the mean over the positive ones less the mean over the negative ones (follow-up
      likelihood, FLR; here over all of their tokens). An answer is read once for all of them.
    Empty answers get no judgment, since nothing has no likelihood.
    """

    engine: Annotated[str, EngineRole(("loglikelihood",))]
    """The engine's name."""
    system: str | None = None
    """An instruction put before every conversation, after the system message it may have."""
    minus: Annotated[str | None, EngineRole(("loglikelihood",))] = None
    """The engine whose log probability is taken off."""
    minus_system: str | None = None
    """The instruction under `minus`; `system` counts for `engine` alone."""
    positive: tuple[str, ...] = ()
    """What a user says after a good answer, such as "Thanks, that is what I needed."."""
    negative: tuple[str, ...] = ()
    """What a user says after a bad answer."""
    normalize: Literal["tokens", "none"] = "tokens"
    """Divide by the number of tokens, or not."""
    name: str | None = None
    """The judge's name in the judgments; by default `engine:likelihood`, or as it is asked."""
    max_error_rate: ErrorRate = 0.1

    needs = ("prompt", "candidates")
    appends = ("judgments",)

    @model_validator(mode="after")
    def _consistent(self) -> Likelihood:
        if self.minus_system is not None and self.minus is None:
            raise ValueError("minus_system is for minus")
        if self.minus == self.engine and self.minus_system == self.system:
            raise ValueError("minus: the same engine with the same instruction is always 0")
        if self.negative and not self.positive:
            raise ValueError("negative needs positive follow-ups to compare with")
        return self

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the new judgments. Raises StageError above `max_error_rate`."""
        live = live_candidates(view["candidates"])
        filled = pc.not_equal(pc.utf8_trim_whitespace(live.texts), "")
        keep = true(filled)
        rows, texts = live.row[keep], live.texts.filter(filled).to_pylist()
        read = self._read(view["prompt"], rows, texts, self.engine, self.system, ctx)
        minus, status = np.zeros_like(read.logprob), read.status
        if self.minus is not None:
            other = self._read(view["prompt"], rows, texts, self.minus, self.minus_system, ctx)
            minus = other.logprob
            status = [a if a != "ok" else b for a, b in zip(status, other.status, strict=True)]
        positive = len(self.positive) or 1
        score = likelihood_score(
            read.logprob, read.tokens, minus, positive, self.normalize == "tokens"
        )
        lost = np.array([s != "ok" for s in status], dtype=bool)
        return {
            "judgments": judged(
                len(view),
                rows,
                judge=self.name or self._named(),
                aspect="follow_ups" if self.positive else "likelihood",
                a=pa.array(live.place[keep]),
                score=pa.array(score, mask=lost),
                status=status,
                text="",
            )
        }

    def _named(self) -> str:
        """Name the judge by what it is asked, so that two such stages are two judges."""
        model = self.engine if self.minus is None else f"{self.engine}-{self.minus}"
        return f"{model}:{'follow_ups' if self.positive else 'likelihood'}"

    def _read(
        self,
        prompts: pa.ChunkedArray,
        rows: npt.NDArray[np.int64],
        texts: Sequence[str],
        engine: str,
        system: str | None,
        ctx: Context,
    ) -> Read:
        conversations = [instructed(turns, system) for turns in messages_of(prompts)]
        follow_ups = (*self.positive, *self.negative)
        asked: list[Continuation] = []
        for row, text in zip(rows.tolist(), texts, strict=True):
            if not follow_ups:
                asked.append(Continuation(conversations[row], text))
                continue
            turns = [*conversations[row], {"role": "assistant", "content": text}]
            asked += [Continuation(turns, said, "user") for said in follow_ups]
        return self._ask(engine, asked, (len(texts), len(follow_ups) or 1), ctx)

    def _ask(
        self, engine: str, asked: list[Continuation], shape: tuple[int, int], ctx: Context
    ) -> Read:
        what = f"likelihood with {engine}"
        answers = ctx.engine(engine).loglikelihood(asked) if asked else []
        if len(answers) != len(asked):
            raise StageError(f"{what}: {len(answers)} answers to {len(asked)} requests")
        # An answer's tokens are read here, not written, so they count as prompt tokens.
        tally(ctx, len(answers), sum(a.prompt_tokens + a.tokens for a in answers), 0)
        ctx.counts["cached_tokens"] += sum(a.cached_tokens for a in answers)
        statuses = pa.array([a.status for a in answers], pa.string())
        errors = pa.array([a.error for a in answers], pa.string())
        check_errors(statuses, errors, ctx, self.max_error_rate, what)
        found = [(a.logprob, a.tokens) if a.status == "ok" else (None, 0) for a in answers]
        logprob, tokens = np.array(found, dtype=np.float64).reshape(-1, 2).T
        unusable = ~np.isfinite(logprob) | (tokens < 1)
        each: list[JudgmentStatus] = [
            "parse_error" if bad and a.status == "ok" else a.status
            for a, bad in zip(answers, unusable.tolist(), strict=True)
        ]
        count_replies(ctx, each)
        m = shape[1]
        status: list[JudgmentStatus] = [
            next((s for s in each[i : i + m] if s != "ok"), "ok") for i in range(0, len(each), m)
        ]
        logprob, tokens = np.where(unusable, np.nan, logprob), np.maximum(tokens, 1)
        return Read(logprob.reshape(shape), tokens.reshape(shape), status)


def instructed(turns: Sequence[Message], system: str | None) -> list[Message]:
    """Return the conversation with an instruction in, or as, its system message."""
    if system is None:
        return list(turns)
    if turns and turns[0]["role"] == "system":
        return [{"role": "system", "content": f"{turns[0]['content']}\n\n{system}"}, *turns[1:]]
    return [{"role": "system", "content": system}, *turns]
