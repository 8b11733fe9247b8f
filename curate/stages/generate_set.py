"""Several answers from one call, written to differ from one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.arrays import flat, lengths, lists, mix, one_chunk, structs
from curate.engines.contract import Requests
from curate.methods.answers import json_object, unfenced
from curate.prompts import load_template
from curate.schema import CANDIDATE, DROP, FAIL, PROMPT
from curate.stage import Context, Result
from curate.stages.calls import Varied, VariedSampling, count_replies
from curate.stages.forms import object_schema
from curate.stages.generate import Generate
from curate.stages.judging import AskingInForm


def answer_set(text: str, n: int) -> list[str] | None:
    """Return the `n` different answers in a JSON object {"answers": [...]}, else None.

    The object may stand in a fenced block, as chat models like to put it.
    """
    found, _ = json_object(unfenced(text))
    answers = None if found is None else found.get("answers")
    if not isinstance(answers, list) or len(answers) != n:
        return None
    texts = [one.strip() for one in answers if isinstance(one, str)]
    texts = [text for text in texts if any(map(str.isalnum, text))]  # the form's dots are none
    return texts if len(set(texts)) == n else None


class GenerateSet(AskingInForm, name="generate_set"):
    """Append `n` answers to each prompt's candidates that one call wrote to differ in values.

    Independent samples of one model agree about values that people disagree about; answers asked
    for together spread out (negatively correlated sampling, Community Alignment, Zhang et al.
    2025). The order is shuffled by the row's seed, as later answers tend to be weaker. Where
    the set cannot be read the answers are sampled one by one, as `generate` does;
    `answered_together` says which rows have a set. Not for questions with one right answer.
    """

    n: int = Field(default=4, ge=2, le=26)
    """Answers per prompt."""
    system: str | None = None
    """A system message for conversations that have none of their own."""
    sampling: Varied = VariedSampling()
    """How to draw; the temperature is 0.7 where not given. `max_tokens` holds for all answers
    of a set together."""

    needs = ("id", "prompt")
    writes = ("answered_together",)
    appends = ("candidates",)

    def identity(self) -> dict[str, Any]:
        """The fields and the text that asks for a set."""
        return super().identity() | {"template": load_template("answer_set").text}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the candidates and which rows have a set. Raises StageError as `generate`."""
        rows = len(view)
        sets = self._sets(view, ctx)
        alone = np.array([not texts for texts in sets], dtype=bool)
        ctx.counts["sets that could not be read"] += int(alone.sum())
        single = Generate(
            engine=self.engine, n=self.n, system=self.system, sampling=self.sampling,
            max_error_rate=self.max_error_rate,
        )  # fmt: skip
        sampled = single.apply(view.filter(pa.array(alone)), ctx)
        rest = one_chunk(sampled["candidates"])
        sizes = np.array([len(texts) for texts in sets], dtype=np.int64)
        together = structs(
            CANDIDATE,
            int(sizes.sum()),
            text=[text for texts in sets for text in texts],
            model=ctx.engine(self.engine).model,
            finish_reason="stop",
        )
        counts = sizes.copy()
        counts[alone] = lengths(rest)
        owner = [np.repeat(np.flatnonzero(~alone), sizes[~alone])]
        owner.append(np.repeat(np.flatnonzero(alone), counts[alone]))
        order = np.argsort(np.concatenate(owner), kind="stable")
        values = pa.concat_arrays([together, flat(rest)]).take(pa.array(order))
        at = np.full(rows, -1)
        at[alone] = np.arange(alone.sum())
        lost = {n: one_chunk(sampled[n]).take(pa.array(at, mask=at < 0)) for n in (DROP, FAIL)}
        return {
            "candidates": lists(counts, values),
            "answered_together": pa.array(~alone),
            **lost,
        }

    def _sets(self, view: pa.Table, ctx: Context) -> list[Sequence[str]]:
        """Return each row's set, shuffled by its seed; empty where there is none."""
        asked, turns = self._asked(view)
        sets: list[Sequence[str]] = [()] * len(view)
        seeds = ctx.row_seeds(view["id"], f"{self.kind}\0{self.engine}\0{self.n}\0{self.system}")
        schema = self.held(self._schema())
        requests = Requests(
            pa.array(turns, PROMPT), self.sampling, seeds=seeds[asked], json_schema=schema
        )
        answers = self.ask(requests, ctx)
        status = answers.status.to_pylist()
        for call, (row, text) in enumerate(zip(asked, answers.text.to_pylist(), strict=True)):
            found = answer_set(text, self.n) if status[call] == "ok" else None
            if found is not None:
                order = np.argsort(mix(seeds[row], np.arange(self.n)), kind="stable")
                sets[row] = [found[place] for place in order]
            elif status[call] == "ok":
                status[call] = "parse_error"
        count_replies(ctx, status)
        return sets

    def _schema(self) -> dict[str, Any]:
        texts: dict[str, Any] = {
            "type": "array",
            "items": {"type": "string"},
            "minItems": self.n,
            "maxItems": self.n,
        }
        return object_schema({"answers": texts})

    def _asked(self, view: pa.Table) -> tuple[list[int], list[list[dict[str, str]]]]:
        """Return the rows that end in a user's turn, and their conversations that ask for a set."""
        ending = load_template("answer_set").render(n=str(self.n))
        rows, found = [], []
        for row, turns in enumerate(view["prompt"].to_pylist()):
            if not turns or turns[-1]["role"] != "user":
                continue
            if self.system is not None and turns[0]["role"] != "system":
                turns = [{"role": "system", "content": self.system}, *turns]
            said = f"{turns[-1]['content'] or ''}\n\n{ending}"
            rows.append(row)
            found.append([*turns[:-1], {"role": "user", "content": said}])
        return rows, found
