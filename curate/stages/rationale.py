"""Why the chosen answer is better: one rationale per live pair, for training or for reading."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.arrays import lengths, lists, messages_of
from curate.engines.contract import Completion, Request
from curate.prompts import Template, load_template
from curate.stage import Context, EngineRole, Result, Stage
from curate.stages.calls import Varied, VariedSampling, chat, fenced, pair_texts, transcript
from curate.stages.judge_pairs import live_pairs
from curate.stages.verdicts import is_refusal, pair_verdict, without_reasoning

_SENTENCE_END = re.compile(r"[.!?][\"')\]]{0,2}(?=\s|\Z)")


class Rationale(Stage, name="rationale"):
    """Write one rationale per live pair, aligned with the pairs; null for dropped pairs.

    Which answer is shown as A is drawn from the row's seed and kept in `rationale_orders` ("ab":
    the chosen one came first), so that position says nothing about the label. The data half of
    RDPO (Just et al. 2024), whose published code always shows the chosen answer first. A refusal,
    a failure and a text that ends in a verdict for the rejected answer give null; a text cut off
    at a limit is kept up to its last whole sentence.
    """

    engine: Annotated[str, EngineRole(("chat",))]
    """The engine's name."""
    detail: Literal["general", "specific"] = "general"
    """One overall reason, or reasons that cite the answers."""
    sampling: Varied = VariedSampling()
    """How to draw; the temperature is 0.7 where not given."""
    max_error_rate: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of failed calls above which the shard is given up."""

    needs = ("id", "prompt", "candidates", "pairs")
    writes = ("rationales", "rationale_orders")
    seeded = True

    def identity(self) -> dict[str, Any]:
        """The fields and the template's text."""
        return super().identity() | {"template": self._template().text}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the rationales and their orders. Raises StageError above `max_error_rate`."""
        found = live_pairs(view["pairs"])
        ids, conversations = view["id"].to_pylist(), messages_of(view["prompt"])
        candidates, template = list(pair_texts(view["candidates"])), self._template()
        counts = lengths(view["pairs"])
        texts: list[str | None] = [None] * int(np.sum(counts))
        orders: list[str | None] = [None] * len(texts)
        requests = []
        for row, place, chosen, rejected in found:
            seed = ctx.row_seed(f"rationale\0{self.detail}\0{ids[row]}\0{chosen}\0{rejected}", 0)
            chosen_first = seed % 2 == 0
            orders[place] = "ab" if chosen_first else "ba"
            first, second = (chosen, rejected) if chosen_first else (rejected, chosen)
            messages = template.messages(
                prompt=fenced(transcript(conversations[row]), "conversation", seed),
                first=fenced(candidates[row][first], "answer", seed),
                second=fenced(candidates[row][second], "answer", seed),
                preferred="A" if chosen_first else "B",
            )
            requests.append(Request(messages, self.sampling, seed))
        what = f"rationale with {self.engine}"
        answers = chat(ctx.engine(self.engine), requests, ctx, self.max_error_rate, what)
        for (_, place, _, _), answer in zip(found, answers, strict=True):
            texts[place] = usable_rationale(answer, "A" if orders[place] == "ab" else "B")
            if texts[place] is None:
                orders[place] = None
                ctx.counts["unusable_rationales"] += 1
        return {
            "rationales": lists(counts, pa.array(texts, pa.string())),
            "rationale_orders": lists(counts, pa.array(orders, pa.string())),
        }

    def _template(self) -> Template:
        return load_template(f"rationale_{self.detail}")


def usable_rationale(answer: Completion, preferred: Literal["A", "B"]) -> str | None:
    """Return the rationale's text, or None where there is none that supports `preferred`."""
    if answer.status not in ("ok", "truncated"):
        return None
    visible = without_reasoning(answer.text)
    if visible is None or is_refusal(visible):
        return None
    if answer.status == "truncated":
        ends = [m.end() for m in _SENTENCE_END.finditer(visible)]
        visible = visible[: ends[-1]] if ends else ""
    if pair_verdict(visible) not in (None, preferred):
        return None
    return visible.strip() or None
