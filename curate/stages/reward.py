"""Rewards from trained reward models and cross-encoders, as evidence like any other."""

from __future__ import annotations

from typing import Annotated

import pyarrow as pa

from curate.arrays import messages_of
from curate.engines.contract import Continuation, Scorer
from curate.errors import ConfigError, StageError
from curate.stage import Context, EngineRole, Result, Stage
from curate.stages.calls import ErrorRate, check_errors, count_replies, tally
from curate.stages.live import judged, live_candidates


class Reward(Stage, name="reward"):
    """Append a reward model's score of every live candidate as a judgment; higher is better.

    The score is the model's raw output: comparable between the answers of one prompt, and on
    no scale that other models share (`combine` can standardise).
    """

    engine: Annotated[str, EngineRole(("score",))]
    """The engine's name: a `vllm_reward` or a `cross_encoder`."""
    name: str | None = None
    """The judge's name in the judgments; by default `engine:reward`."""
    max_error_rate: ErrorRate = 0.1

    needs = ("prompt", "candidates")
    appends = ("judgments",)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the new judgments. Raises StageError above `max_error_rate`."""
        live = live_candidates(view["candidates"])
        conversations = messages_of(view["prompt"])
        asked = [
            Continuation(conversations[row], text)
            for row, text in zip(live.row.tolist(), live.texts.to_pylist(), strict=True)
        ]
        engine, what = ctx.engine(self.engine), f"reward with {self.engine}"
        if not isinstance(engine, Scorer):
            raise ConfigError(
                f"{what}: this engine does not score; use a vllm_reward or cross_encoder"
            )
        rewards = engine.score(asked) if asked else []
        if len(rewards) != len(asked):
            raise StageError(f"{what}: {len(rewards)} rewards for {len(asked)} answers")
        tally(ctx, len(rewards), sum(r.prompt_tokens for r in rewards), 0)
        ctx.counts["cached_tokens"] += sum(r.cached_tokens for r in rewards)
        statuses = pa.array([r.status for r in rewards], pa.string())
        errors = pa.array([r.error for r in rewards], pa.string())
        check_errors(statuses, errors, ctx, self.max_error_rate, what)
        count_replies(ctx, statuses)
        values = judged(
            len(view),
            live.row,
            judge=self.name or f"{self.engine}:reward",
            aspect="reward",
            a=pa.array(live.place),
            score=[r.value if r.status == "ok" else None for r in rewards],
            status=statuses,
            text="",
        )
        return {"judgments": values}
