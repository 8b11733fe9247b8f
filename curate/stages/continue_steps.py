"""Solutions completed anew from each of their steps, to see what the steps are worth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrays import concat_lists, lists, mix, one_chunk, structs
from curate.engines.contract import Completions, Requests
from curate.methods.steps import By, path_of, steps_of
from curate.schema import CANDIDATE, PROMPT
from curate.stage import Context, EngineRole, Result
from curate.stages.calls import Varied, VariedSampling, candidate_reasons
from curate.stages.check_answer import ends_right, reference_answers
from curate.stages.judging import Asking
from curate.stages.live import live_candidates
from curate.stages.system_message import opened

SEPARATOR = {"line": "\n", "paragraph": "\n\n"}


class Begun(NamedTuple):
    """A beginning of a solution: its row, and its text up to where the next step starts."""

    row: int
    text: str


class ContinueSteps(Asking, name="continue_steps"):
    """Append `n` completions of each beginning of a wrong solution to the candidates.

    A beginning is a solution's first k steps, for every k but all of them; the engine writes on
    from there, and the whole (beginning and completion) is a further candidate. How many of the
    solutions through a step end right is what the step is worth (Math-Shepherd, Wang et al. 2024):
    `check_answer` and `combine` say how each ends, then `label_steps` or `pair_steps` count.
    What solutions of a row begin with alike is continued once.
    """

    engine: Annotated[str, EngineRole(("chat",))]
    """The engine's name; as a rule the policy itself."""
    n: int = Field(default=4, ge=1)
    """Completions a beginning; Math-Shepherd has 8."""
    system: str | None = None
    """The system message that the solutions were written under, which `generate` puts before
    conversations without one of their own."""
    only_wrong: bool = True
    """Continue only solutions whose answer is not the row's reference: the steps of a right one
    are proven right by it, unless a share of the completions shall count."""
    by: By = "line"
    """What a step is: a line, or a paragraph."""
    most: int = Field(default=16, ge=2)
    """Solutions with more steps than this are not continued."""
    sampling: Varied = VariedSampling()
    """How to draw; the temperature is 0.7 where not given."""

    needs = ("id", "prompt", "candidates")
    appends = ("candidates",)

    def needed(self) -> tuple[str, ...]:
        """Need the reference too where it tells the wrong solutions."""
        return (*self.needs, "reference") if self.only_wrong else self.needs

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the new candidates. Raises StageError above `max_error_rate`."""
        begun = list(self._beginnings(view))
        row = np.array([one.row for one in begun], dtype=np.int64)
        texts = pa.array([one.text for one in begun], pa.string())
        told = pa.array([self.system] * len(view), pa.large_string())
        asked = opened(one_chunk(view["prompt"]), told).cast(PROMPT).take(pa.array(row))
        said = [[{"role": "assistant", "content": one.text}] for one in begun]
        asked = concat_lists(asked, pa.array(said, PROMPT))
        which = np.repeat(np.arange(len(begun)), self.n)
        first = np.searchsorted(row, row)  # the rows come in order
        seeds = ctx.row_seeds(view["id"], f"{self.kind}\0{self.engine}")[row]
        seeds = mix(seeds, np.arange(len(row)) - first)
        seeds = mix(seeds[which], np.arange(len(which)) % self.n) >> np.uint64(1)
        requests = Requests(asked, self.sampling, which, seeds)
        answers = self.ask(requests, ctx)
        made = _candidates(answers, texts.take(pa.array(which)), ctx.engine(self.engine).model, ctx)
        return {"candidates": lists(np.bincount(row[which], minlength=len(view)), made)}

    def _beginnings(self, view: pa.Table) -> Iterator[Begun]:
        """Yield the distinct beginnings in order of row, solution and length."""
        live = live_candidates(view["candidates"])
        wanted = reference_answers(view) if self.only_wrong else [None] * len(view)
        seen: set[tuple[int, tuple[str, ...]]] = set()
        for row, text in zip(live.row.tolist(), live.texts.to_pylist(), strict=True):
            steps = steps_of(text, self.by)
            right = self.only_wrong and ends_right(text, wanted[row]) is not False
            if right or len(steps) > self.most:
                continue
            path = path_of(text, self.by)
            for size in range(1, len(steps)):
                if (row, path[:size]) not in seen:
                    seen.add((row, path[:size]))
                    yield Begun(row, text[: steps[size - 1].end] + SEPARATOR[self.by])


def _candidates(answers: Completions, begun: pa.Array, model: str, ctx: Context) -> pa.StructArray:
    """Return the whole solutions; what failed, or added nothing, has a reason to be dropped."""
    usable = pc.is_in(answers.status, pa.array(["ok", "truncated"]))
    return structs(
        CANDIDATE,
        len(answers),
        text=pc.binary_join_element_wise(begun, pc.if_else(usable, answers.text, ""), ""),
        model=model,
        finish_reason=answers.finish_reason,
        drop=candidate_reasons(answers, ctx),
    )
