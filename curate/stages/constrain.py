"""Conditions that a program can check: put into prompts, and checked in answers (ACT, IFEval)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import pyarrow as pa
from pydantic import AfterValidator, Field

from curate.arrays import one_chunk
from curate.errors import StageError, did_you_mean
from curate.methods.constraints import KINDS, drawn, satisfaction, worded
from curate.schema import PROMPT
from curate.stage import Context, Result, Stage
from curate.stages.live import judged_by

DRAWN = tuple(name for name, kind in KINDS.items() if kind.group)


def _known(kinds: tuple[str, ...]) -> tuple[str, ...]:
    for name in kinds:
        if name not in KINDS:
            raise ValueError(f"no kind of constraint {name!r}{did_you_mean(name, KINDS)}")
    return kinds


class Constrain(Stage, name="constrain"):
    """Ask for `n` conditions in each prompt's last turn, drawn by its seed, that can be checked.

    Writes `prompt`, and `constraints`: each row's conditions as JSON, for `check_constraints`.
    Conditions that may exclude each other (upper and lower case) are not put into one prompt. A
    conversation that does not end with the user's turn is left as it is.
    """

    needs = ("id", "prompt")
    writes = ("prompt", "constraints")
    seeded = True

    n: int = Field(2, ge=1)
    """Conditions a prompt."""
    kinds: Annotated[tuple[str, ...], AfterValidator(_known)] = ()
    """The kinds to draw from; empty: all that go together."""

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return both columns."""
        seeds = ctx.row_seeds(view["id"], self.kind).tolist()
        prompts: list[list[dict[str, str]]] = []
        given: list[list[str]] = []
        for turns, seed in zip(view["prompt"].to_pylist(), seeds, strict=True):
            asked = turns and turns[-1]["role"] == "user"
            chosen = drawn(seed, self.n, self.kinds or DRAWN) if asked else []
            if chosen:
                said = "\n".join([turns[-1]["content"] or "", "", *map(worded, chosen)])
                turns = [*turns[:-1], {"role": "user", "content": said}]
            prompts.append(turns)
            given.append([json.dumps(one) for one in chosen])
        return {
            "prompt": pa.array(prompts, PROMPT),
            "constraints": pa.array(given, pa.list_(pa.string())),
        }


class CheckConstraints(Stage, name="check_constraints"):
    """Append to each live candidate the share of its row's `constraints` that it keeps to.

    The judge is a program, so its score in [0, 1] is exact and says nothing else: a text without
    sense can keep to all. Put a floor of quality before it (`judge`, then `min_score`). Rows
    without constraints get no judgment (ACT, 2024; checks after IFEval, Zhou et al. 2023).
    """

    needs = ("candidates", "constraints")
    appends = ("judgments",)

    loose: bool = False
    """Also pass answers that would without asterisks, their first line or their last."""
    name: str = "constraints"
    """The judge's name in the judgments."""

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the new judgments. Raises StageError for constraints that cannot be read."""
        asked = [read_constraints(row) for row in one_chunk(view["constraints"]).to_pylist()]
        try:
            found = judged_by(
                partial(satisfaction, loose=self.loose), asked, view["candidates"],
                judge=self.name, aspect="satisfaction",
            )  # fmt: skip
        except ValueError as error:
            raise StageError(f"check_constraints: {error}") from None
        return {"judgments": found}


def read_constraints(row: Sequence[str | None] | None) -> list[list[Any]]:
    """Return a row's constraints, each as [kind, value...]. Raises StageError for other texts."""
    found = []
    for text in row or ():
        try:
            one = json.loads(text or "")
        except (ValueError, RecursionError):
            one = None
        if not (isinstance(one, list) and one and isinstance(one[0], str)):
            raise StageError(f"constraints: {str(text)[:80]!r} is no JSON list [kind, value]")
        found.append(one)
    return found
