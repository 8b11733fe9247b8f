"""Answers to the prompts, from one engine or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import Field, model_validator

from curate.arrays import (
    concat,
    join_texts,
    lengths,
    lists,
    map_distinct,
    mix,
    one_chunk,
    starts_of,
    structs,
    take_rows,
)
from curate.engines.contract import Completions, Requests
from curate.methods.judgments import true
from curate.schema import CANDIDATE, DROP, FAIL
from curate.stage import Context, EngineRole, Result, Stage
from curate.stages.calls import (
    TOO_LONG,
    ErrorRate,
    Varied,
    VariedSampling,
    candidate_reasons,
    chat,
)
from curate.stages.questions import several
from curate.stages.row_texts import row_texts, source_of
from curate.stages.system_message import opened

_TEXT = pa.large_string()
_FINISH = {
    "truncated": "length", "refused": "refusal", "api_error": "error", TOO_LONG: TOO_LONG,
}  # fmt: skip


class Generate(Stage, name="generate"):
    """Append `n` sampled answers per engine to each prompt's candidates.

    An answer that failed is a candidate with a drop reason, never a missing one; a prompt
    whose every answer failed is a failed row, and one that is too long for every engine's window
    is dropped. Several engines give candidates of differing
    quality, which widens the margins (as UltraFeedback does, Cui et al. 2023).
    """

    engine: Annotated[str | tuple[str, ...], EngineRole(("chat",))]
    """The engine's name, or several; each gives `n` answers."""
    draw: int | None = Field(default=None, ge=1)
    """How many of the engines answer each prompt, drawn by the row's seed; all where not given."""
    n: int = Field(default=4, ge=1)
    """Answers per prompt and engine."""
    system: str | tuple[str, ...] | None = None
    """A system message for conversations that have none of their own; of several, such as the
    principles of UltraFeedback, each answer draws one by the row's seed (a text that is given
    twice is drawn twice as often)."""
    system_column: str | None = None
    """A column with a text for each row's own system message, put after that of `system`. Only
    the answers are written with it in view; to make it part of the prompt use `system_message`."""
    sampling: Varied = VariedSampling()
    """How to draw; the temperature is 0.7 where not given."""
    drop_truncated: bool = False
    """Drop answers that were cut off at a length limit."""
    max_error_rate: ErrorRate = 0.1

    needs = ("id", "prompt")
    appends = ("candidates",)
    seeded = True

    @model_validator(mode="after")
    def _consistent(self) -> Generate:
        if self.draw is not None and self.draw > len(self._engines()):
            raise ValueError(f"draw: {self.draw} engines of {len(self._engines())}")
        if self.system == ():
            raise ValueError("system: give a text or several, or leave it out")
        return self

    def needed(self) -> tuple[str, ...]:
        """Id and prompt, and the column of `system_column`."""
        own = () if self.system_column is None else (source_of(self.system_column),)
        return tuple(dict.fromkeys((*self.needs, *own)))

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the new candidates. Raises StageError above `max_error_rate`."""
        rows, texts = len(view), (self.system,) if self.system is None else several(self.system)
        prompts = one_chunk(view["prompt"])
        opening = [prompts if s is None else opened(prompts, s) for s in self._systems(view, texts)]
        conversations = concat(opening)
        there = lengths(prompts) > 0  # an empty prompt is not sent
        salt = xxhash.xxh3_64_hexdigest(orjson.dumps(self.identity(), option=orjson.OPT_SORT_KEYS))
        drawn = self._drawn(view["id"], ctx, salt)
        given, owner = [], []
        for role, mine in zip(self._engines(), drawn, strict=True):
            which = np.repeat(np.flatnonzero(there & mine), self.n)
            sample = np.arange(len(which)) % self.n
            seeds = mix(ctx.row_seeds(view["id"], f"{salt}\0{role}")[which], sample) >> np.uint64(1)
            shown = mix(seeds, len(texts)) % np.uint64(len(texts))
            asked = which + rows * shown.astype(np.int64)
            requests = Requests(conversations, self.sampling, asked, seeds)
            what = f"generate with {role}"
            answers = chat(ctx.engine(role), requests, ctx, self.max_error_rate, what)
            given.append(self._candidates(answers, ctx.engine(role).model, ctx))
            owner.append(which)
        return _columns(there, np.concatenate(owner), concat(given))

    def _engines(self) -> tuple[str, ...]:
        return several(self.engine)

    def _systems(self, view: pa.Table, texts: Sequence[str | None]) -> list[pa.Array | None]:
        """Return each text with the row's own after it (large_string); None where neither is."""
        rows = len(view)
        said = [None if t is None else pa.repeat(pa.scalar(t, _TEXT), rows) for t in texts]
        if self.system_column is None:
            return said
        own = row_texts(view, self.system_column)
        both = [t if t is None else join_texts(t, "\n\n", own) for t in said]
        return [own if b is None else pc.coalesce(b, s) for b, s in zip(both, said, strict=True)]

    def _drawn(self, ids: pa.ChunkedArray, ctx: Context, salt: str) -> npt.NDArray[np.bool_]:
        """Return (engines, rows) which engines answer each row's prompt."""
        size = len(self._engines())
        if self.draw in (None, size):
            return np.ones((size, len(ids)), dtype=bool)
        seeds = ctx.row_seeds(ids, f"{salt}\0engines")
        order = mix(seeds[None, :], np.arange(size)[:, None])
        place = np.argsort(order, axis=0, kind="stable").argsort(axis=0)
        return np.asarray(place < self.draw)

    def _candidates(self, answers: Completions, model: str, ctx: Context) -> pa.StructArray:
        finish = map_distinct(answers.status, _FINISH.get, pa.string())
        usable = pc.is_in(answers.status, pa.array(["ok", "truncated"]))
        return structs(
            CANDIDATE,
            len(answers),
            text=pc.if_else(usable, answers.text, ""),
            model=model,
            finish_reason=pc.coalesce(finish, answers.finish_reason),
            tokens=pc.if_else(usable, answers.tokens, pa.scalar(None, pa.int32())),
            drop=candidate_reasons(answers, ctx, self.drop_truncated),
        )


def _columns(
    there: npt.NDArray[np.bool_], owner: npt.NDArray[np.int64], given: pa.StructArray
) -> Result:
    """Lay the answers side by side in the rows that own them; note where every one failed.

    `there` (rows,) says which prompts were sent, `owner` (answers,) each answer's row.
    """
    values = take_rows(given, np.argsort(owner, kind="stable"))
    counts = np.bincount(owner, minlength=len(there))
    row, starts = np.repeat(np.arange(len(there)), counts), starts_of(counts)
    finish = pc.struct_field(values, "finish_reason")

    def how_many(reason: str) -> npt.NDArray[np.int64]:
        found = true(pc.equal(finish, reason))
        return np.bincount(row[found], minlength=len(there))

    failed, too_long = how_many("error"), how_many(TOO_LONG)
    errors, dropped = (np.full(len(there), None, dtype=object) for _ in range(2))
    errors[~there] = "the prompt is empty"
    for at in np.flatnonzero(there & (failed + too_long == counts)).tolist():
        reasons = values.slice(int(starts[at]), int(counts[at])).field("drop").to_pylist()
        first = next((r for r in reasons if r.startswith("api_error: ")), None)
        if first is None:
            dropped[at] = reasons[0]
        else:
            first = first.removeprefix("api_error: ")
            errors[at] = f"all {counts[at]} answers failed; first: {first}"
    return {
        "candidates": lists(counts, values),
        DROP: pa.array(dropped, pa.string()),
        FAIL: pa.array(errors, pa.string()),
    }
