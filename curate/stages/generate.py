"""Answers to the prompts, from one engine or several."""

from __future__ import annotations

from typing import Annotated

import orjson
import pyarrow as pa
import xxhash
from pydantic import Field

from curate.arrays import lists, messages_of, structs
from curate.engines.contract import Completion, Message, Request
from curate.schema import CANDIDATE, FAIL
from curate.stage import Context, EngineRole, Result, Stage
from curate.stages.calls import Varied, VariedSampling, chat, one_line

_FINISH = {"truncated": "length", "refused": "refusal", "api_error": "error"}


class Generate(Stage, name="generate"):
    """Append `n` sampled answers per engine to each prompt's candidates.

    An answer that failed is a candidate with a drop reason, never a missing one; a prompt
    whose every answer failed is a failed row. Several engines give candidates of differing
    quality, which widens the margins (as UltraFeedback does, Cui et al. 2023).
    """

    engine: Annotated[str | tuple[str, ...], EngineRole(("chat",))]
    """The engine's name, or several; each gives `n` answers."""
    n: int = Field(default=4, ge=1)
    """Answers per prompt and engine."""
    system: str | None = None
    """A system message for conversations that have none of their own."""
    sampling: Varied = VariedSampling()
    """How to draw; the temperature is 0.7 where not given."""
    drop_truncated: bool = False
    """Drop answers that were cut off at a length limit."""
    max_error_rate: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of failed calls above which the shard is given up."""

    needs = ("id", "prompt")
    appends = ("candidates",)
    seeded = True

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the new candidates. Raises StageError above `max_error_rate`."""
        ids = view["id"].to_pylist()
        conversations = [self._opened(turns) for turns in messages_of(view["prompt"])]
        engines = (self.engine,) if isinstance(self.engine, str) else self.engine
        salt = xxhash.xxh3_64_hexdigest(orjson.dumps(self.identity(), option=orjson.OPT_SORT_KEYS))
        per_engine: list[list[Completion]] = []
        for role in engines:
            requests = [
                Request(turns, self.sampling, ctx.row_seed(f"{salt}\0{role}\0{row_id}", sample))
                for row_id, turns in zip(ids, conversations, strict=True)
                if turns
                for sample in range(self.n)
            ]
            what = f"generate with {role}"
            per_engine.append(chat(ctx.engine(role), requests, ctx, self.max_error_rate, what))
        models = [ctx.engine(role).model for role in engines]
        return self._columns(conversations, per_engine, models)

    def _opened(self, turns: list[Message]) -> list[Message]:
        if self.system is None or not turns or turns[0]["role"] == "system":
            return turns
        return [{"role": "system", "content": self.system}, *turns]

    def _columns(
        self,
        conversations: list[list[Message]],
        per_engine: list[list[Completion]],
        models: list[str],
    ) -> Result:
        answers: list[Completion] = []
        counts: list[int] = []
        errors: list[str | None] = []
        place = 0
        for turns in conversations:
            if not turns:
                counts.append(0)
                errors.append("the prompt is empty")
                continue
            own = [a for given in per_engine for a in given[place : place + self.n]]
            place += self.n
            answers += own
            counts.append(len(own))
            failed = all(a.status == "api_error" for a in own)
            first = f"all {len(own)} answers failed; first: {one_line(own[0].error)}"
            errors.append(first if failed else None)
        of_model = [model for model in models for _ in range(self.n)]
        values = structs(
            CANDIDATE,
            len(answers),
            text=[a.text if a.status in ("ok", "truncated") else "" for a in answers],
            model=of_model * (len(answers) // len(of_model)),
            finish_reason=[_FINISH.get(a.status, a.finish_reason) for a in answers],
            tokens=[a.tokens if a.status in ("ok", "truncated") else None for a in answers],
            drop=[self._reason(a) for a in answers],
        )
        return {"candidates": lists(counts, values), FAIL: pa.array(errors, pa.string())}

    def _reason(self, answer: Completion) -> str | None:
        if answer.status == "api_error":
            return f"api_error: {one_line(answer.error)}"
        if answer.status == "refused":
            return "refused"
        if answer.status == "truncated" and self.drop_truncated:
            return "truncated"
        return None if answer.text.strip() else "empty"
