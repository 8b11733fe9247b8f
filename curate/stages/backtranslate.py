"""Texts to the requests that they answer."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrays import Pieces, conversations, large, last_turn
from curate.engines.contract import Completions, Requests
from curate.prompts import load_template
from curate.schema import DROP, FAIL, PROMPT
from curate.stage import Context, EngineRole, Result, reasons
from curate.stages.calls import (
    Greedy,
    GreedySampling,
    count_replies,
    first_choice,
    lost_rows,
    unusable,
)
from curate.stages.filters import below
from curate.stages.judging import Asking
from curate.stages.shown import fenced


class Backtranslate(Asking, name="backtranslate"):
    """Take each prompt's last turn for a text, and write the request that it answers.

    Afterwards `prompt` is the request and `reference` the text. The engine then says how likely
    the text answers the request in full and the request is understood alone; `answered` is the
    probability of yes against no, and rows below `at_least` are dropped, as are those without a
    request; one with a call that failed is a failed row. Texts that people wrote so become prompts
    with references (instruction backtranslation, Li et al. 2023; with the check PUGC, Tan et al.
    2025).
    """

    engine: Annotated[str, EngineRole(("chat", "token_probs"))]
    """The engine's name."""
    at_least: float = Field(0.5, ge=0, le=1)
    """The least probability that the text answers the request."""
    sampling: Greedy = GreedySampling()
    """How to draw the request; greedy where no temperature is given."""
    min_mass: float = Field(default=0.5, ge=0.0, le=1.0)
    """Least probability that yes and no hold together."""

    version = 3
    needs = ("id", "prompt")
    writes = ("prompt", "reference", "answered")

    def identity(self) -> dict[str, Any]:
        """The fields and the texts that the engine is shown."""
        texts = [load_template(name).text for name in ("request_for", "request_answered")]
        return super().identity() | {"templates": texts}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the columns and who is dropped. Raises StageError above `max_error_rate`."""
        seeds = ctx.row_seeds(view["id"], self.kind)
        texts = pc.fill_null(large(last_turn(view["prompt"])), "")
        shown = fenced(texts, "text", seeds)
        asked = load_template("request_for").conversations(len(view), text=shown)
        own = seeds if self.sampling.temperature > 0 else None
        made = self.ask(Requests(asked, self.sampling, seeds=own), ctx)
        said = pc.utf8_trim_whitespace(made.text)
        there = pc.and_(pc.equal(made.status, "ok"), pc.not_equal(said, ""))
        keep = np.flatnonzero(there.to_numpy(zero_copy_only=False))
        checked = self._check(said.take(pa.array(keep)), shown.take(keep), seeds[keep], ctx)
        found, status = first_choice(checked, self.min_mass)
        probability = np.full(len(view), np.nan)
        probability[keep] = found
        empty = pc.and_(pc.equal(made.status, "ok"), pc.invert(there))
        count_replies(ctx, pc.if_else(empty, "empty", made.status))
        count_replies(ctx, status)
        unread = pc.if_else(pc.equal(made.status, "ok"), "empty", unusable(made))
        why = [f"no request: {word}" for word in unread.to_pylist()]
        for row, name in zip(keep.tolist(), status.to_pylist(), strict=True):
            why[row] = f"no check of the request: {name}"
        column = pa.array(probability.astype(np.float32), mask=np.isnan(probability))
        low = reasons(
            pa.array(below(probability, self.at_least)), "the text does not answer its request"
        )
        reason = pc.if_else(pc.is_null(column), pa.array(why), low)
        lost, unchecked = lost_rows(reason, made), lost_rows(reason, checked, keep)
        failed = pc.coalesce(lost[FAIL], unchecked[FAIL])
        written = pc.if_else(there, said.cast(pa.string()), "")
        return {
            "prompt": conversations(["user"], [[large(written)]], len(view)).cast(PROMPT),
            "reference": texts.cast(pa.string()),
            "answered": column,
            DROP: pc.if_else(failed.is_valid(), pa.scalar(None, pa.string()), reason),
            FAIL: failed,
        }

    def _check(
        self, said: pa.Array, shown: Pieces, seeds: npt.NDArray[np.uint64], ctx: Context
    ) -> Completions:
        """Ask whether each text answers the request in full, with the choices yes and no."""
        asked = load_template("request_answered").conversations(
            len(said), "Answer:", request=fenced(large(said), "request", seeds), text=shown
        )
        return self.ask(Requests(asked, GreedySampling(max_tokens=1), choices=("Yes", "No")), ctx)
