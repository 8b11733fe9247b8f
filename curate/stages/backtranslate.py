"""Texts to the requests that they answer."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrays import conversations, large, last_turn
from curate.engines.contract import Completions, Requests
from curate.prompts import load_template
from curate.schema import DROP, PROMPT
from curate.stage import Context, EngineRole, Result, Stage
from curate.stages.calls import Greedy, GreedySampling, chat, token_status
from curate.stages.filters import below
from curate.stages.shown import fenced


class Backtranslate(Stage, name="backtranslate"):
    """Take each prompt's last turn for a text, and write the request that it answers.

    Afterwards `prompt` is the request and `reference` the text. The engine then says how likely
    the text answers the request in full and the request is understood alone; `answered` is the
    probability of yes against no, and rows below `at_least` are dropped, as are those without a
    request. Texts that people wrote so become prompts with references (instruction
    backtranslation, Li et al. 2023; with the check PUGC, Tan et al. 2025).
    """

    engine: Annotated[str, EngineRole(("chat", "token_probs"))]
    """The engine's name."""
    at_least: float = Field(0.5, ge=0, le=1)
    """The least probability that the text answers the request."""
    sampling: Greedy = GreedySampling()
    """How to draw the request; greedy where no temperature is given."""
    min_mass: float = Field(default=0.5, ge=0.0, le=1.0)
    """Least probability that yes and no hold together."""
    max_error_rate: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of failed calls above which the shard is given up."""

    version = 2
    needs = ("id", "prompt")
    writes = ("prompt", "reference", "answered")
    seeded = True

    def identity(self) -> dict[str, Any]:
        """The fields and the texts that the engine is shown."""
        texts = [load_template(name).text for name in ("request_for", "request_answered")]
        return super().identity() | {"templates": texts}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the columns and who is dropped. Raises StageError above `max_error_rate`."""
        seeds, engine = ctx.row_seeds(view["id"], self.kind), ctx.engine(self.engine)
        texts = pc.fill_null(large(last_turn(view["prompt"])), "")
        shown = fenced(texts, "text", seeds)
        asked = load_template("request_for").conversations(len(view), text=shown)
        own = seeds if self.sampling.temperature > 0 else None
        requests = Requests(asked, self.sampling, seeds=own)
        made = chat(engine, requests, ctx, self.max_error_rate, f"{self.kind} with {self.engine}")
        said = pc.utf8_trim_whitespace(made.text)
        there = pc.and_(pc.equal(made.status, "ok"), pc.not_equal(said, ""))
        keep = np.flatnonzero(there.to_numpy(zero_copy_only=False))
        probability, status = np.full(len(view), np.nan), ["no request"] * len(view)
        if len(keep):
            at = pa.array(keep)
            answered, found = self._check(said.take(at), shown.take(at), seeds[keep], ctx)
            probability[keep] = answered
            for row, name in zip(keep.tolist(), found.to_pylist(), strict=True):
                status[row] = "" if name == "ok" else f"no check of the request: {name}"
        column = pa.array(probability.astype(np.float32), mask=np.isnan(probability))
        low = pc.if_else(
            pa.array(below(probability, self.at_least)),
            "the text does not answer its request",
            None,
        )
        reason = pc.if_else(pc.is_null(column), pa.array(status), low.cast(pa.string()))
        written = pc.if_else(there, said.cast(pa.string()), "")
        return {
            "prompt": conversations(["user"], [[large(written)]], len(view)).cast(PROMPT),
            "reference": texts.cast(pa.string()),
            "answered": column,
            DROP: reason,
        }

    def _check(
        self, said: pa.Array, shown: pa.Array, seeds: npt.NDArray[np.uint64], ctx: Context
    ) -> tuple[npt.NDArray[np.float64], pa.Array]:
        """Return (n,) the probability of yes, NaN where there is none, and each call's status."""
        asked = load_template("request_answered").conversations(
            len(said), "Answer:", request=fenced(large(said), "request", seeds), text=shown
        )
        draw = GreedySampling(max_tokens=1)
        requests = Requests(asked, draw, choices=("Yes", "No"))
        what = f"{self.kind} with {self.engine}"
        answers: Completions = chat(
            ctx.engine(self.engine), requests, ctx, self.max_error_rate, what
        )
        held = np.exp(np.where(np.isnan(answers.choice_logprobs), -np.inf, answers.choice_logprobs))
        mass = held.sum(axis=1)
        status, lost = token_status(answers, mass, self.min_mass)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(lost, np.nan, held[:, 0] / mass), status
