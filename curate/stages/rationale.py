"""Why the chosen answer is better: one rationale per live pair, for training or for reading."""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import flat, lengths, lists, mix
from curate.engines.contract import Completions, Requests
from curate.methods.verdicts import is_refusal, pair_verdict, without_reasoning
from curate.prompts import Template, load_template
from curate.stage import Context, Result
from curate.stages.calls import Varied, VariedSampling
from curate.stages.judging import Asking
from curate.stages.live import LivePairs, live_pairs
from curate.stages.pair_edits import edited, read_pairs
from curate.stages.shown import fenced, shown_answers, transcripts

_BETTER = re.compile(
    r"\b(?:answer|response) (?P<one>[ab]) (?:is|was)"
    r"(?: (?!not |no |never |hardly )[a-z]{1,12}){0,2}"
    r" (?:better|best|preferable|preferred|stronger|superior)\b",
    re.I | re.A,
)
_SENTENCE_END = re.compile(r"[.!?][\"')\]]{0,2}(?=\s|\Z)")


class Rationale(Asking, name="rationale"):
    """Write one rationale per live pair, aligned with the pairs; null for dropped pairs.

    Which answer is shown as A is drawn from the row's seed and kept in `rationale_orders` ("ab":
    the chosen one came first), so that position says nothing about the label. The data half of
    RDPO (Just et al. 2024), whose published code always shows the chosen answer first. A refusal,
    a failure and a text that argues for the rejected answer give null (see `contradicts`); a text
    cut off at a limit is kept up to its last whole sentence.
    """

    detail: Literal["general", "specific"] = "general"
    """One overall reason, or reasons that cite the answers."""
    sampling: Varied = VariedSampling()
    """How to draw; the temperature is 0.7 where not given."""
    required: bool = False
    """Drop the pairs without a usable rationale."""

    version = 3
    needs = ("id", "prompt", "candidates", "pairs")
    writes = ("rationales", "rationale_orders")

    def written(self) -> tuple[str, ...]:
        """Write the pairs too where one without a rationale is dropped."""
        return (*self.writes, "pairs") if self.required else self.writes

    def identity(self) -> dict[str, Any]:
        """The fields and the template's text."""
        return super().identity() | {"template": self._template().text}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the rationales and their orders. Raises StageError above `max_error_rate`."""
        found, rows = live_pairs(view["pairs"]), view["id"]
        seeds = ctx.row_seeds(rows, f"rationale\0{self.detail}")
        drawn = mix(seeds[found.row], found.chosen, found.rejected) >> np.uint64(1)
        chosen_first = drawn % np.uint64(2) == 0
        first = np.where(chosen_first, found.chosen, found.rejected)
        second = np.where(chosen_first, found.rejected, found.chosen)
        prompts = fenced(transcripts(view["prompt"]), "conversation", seeds)
        asked = self._template().conversations(
            len(drawn),
            prompt=prompts.take(pa.array(found.row)),
            first=shown_answers(view["candidates"], found.row, first, seeds),
            second=shown_answers(view["candidates"], found.row, second, seeds),
            preferred=pa.array(np.where(chosen_first, "A", "B").tolist(), pa.large_string()),
        )
        requests = Requests(asked, self.sampling, seeds=drawn)
        answers = self.ask(requests, ctx)
        columns = self._columns(lengths(view["pairs"]), found, chosen_first.tolist(), answers, ctx)
        return {**columns, **self._pairs(view, columns["rationales"])} if self.required else columns

    def _pairs(self, view: pa.Table, rationales: pa.Array) -> Result:
        none = pc.is_null(flat(rationales)).to_numpy(zero_copy_only=False)
        pairs = read_pairs(view)
        return edited(pairs, pairs.values, [(none, "no rationale that supports the label")])

    def _columns(
        self,
        counts: npt.NDArray[np.int64],
        found: LivePairs,
        chosen_first: list[bool],
        answers: Completions,
        ctx: Context,
    ) -> dict[str, pa.Array]:
        texts: list[str | None] = [None] * int(counts.sum())
        orders: list[str | None] = [None] * len(texts)
        given = zip(answers.text.to_pylist(), answers.status.to_pylist(), strict=True)
        for place, first, (text, status) in zip(
            found.place.tolist(), chosen_first, given, strict=True
        ):
            texts[place] = usable_rationale(text, status, "A" if first else "B")
            orders[place] = ("ab" if first else "ba") if texts[place] is not None else None
            ctx.counts["unusable_rationales"] += texts[place] is None
        return {
            "rationales": lists(counts, pa.array(texts, pa.string())),
            "rationale_orders": lists(counts, pa.array(orders, pa.string())),
        }

    def _template(self) -> Template:
        return load_template(f"rationale_{self.detail}")


def usable_rationale(text: str, status: str, preferred: Literal["A", "B"]) -> str | None:
    """Return the rationale in an answer, or None where there is none that supports `preferred`."""
    if status not in ("ok", "truncated"):
        return None
    visible = without_reasoning(text)
    if visible is None or is_refusal(visible):
        return None
    if status == "truncated":
        ends = [m.end() for m in _SENTENCE_END.finditer(visible)]
        visible = visible[: ends[-1]] if ends else ""
    if pair_verdict(visible) not in (None, preferred) or contradicts(visible, preferred):
        return None
    return visible.strip() or None


def contradicts(text: str, preferred: Literal["A", "B"]) -> bool:
    """Whether a text calls the other answer the better one, and never the preferred one.

    Only plain statements are read, such as "Answer B is clearly better": a text that names both
    as better somewhere is left to its reader.
    """
    named = {found["one"].upper() for found in _BETTER.finditer(text)}
    return bool(named) and preferred not in named
