"""Why the chosen answer is better: one rationale per live pair, for training or for reading."""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.arrays import concat, lengths, lists, mix
from curate.engines.contract import Requests
from curate.methods.answers import json_object
from curate.methods.verdicts import Verdict, closing_verdict, is_refusal, without_reasoning
from curate.prompts import Template, load_template
from curate.schema import JudgmentStatus
from curate.stage import Context, Result
from curate.stages.calls import Varied, VariedSampling, count_replies
from curate.stages.forms import object_schema
from curate.stages.judging import AskingInForm
from curate.stages.live import LivePairs, live_pairs
from curate.stages.pair_edits import edited, read_pairs
from curate.stages.shown import fenced, shown_answers, transcripts

_SCHEMA = object_schema(
    {"rationale": {"type": "string"}, "better": {"type": "string", "enum": ["A", "B"]}}
)


class Rationale(AskingInForm, name="rationale"):
    """Write one rationale per live pair, aligned with the pairs; null for dropped pairs.

    Which answer is shown as A is drawn from the row's seed and kept in `rationale_orders` ("ab":
    the chosen one came first), so that position says nothing about the label. The data half of
    RDPO (Just et al. 2024), whose published code always shows the chosen answer first, and whose
    two kinds of rationale are "general" and "specific". The writer ends with the answer that its
    reasons speak for, which is read as a judge's verdict is and is no part of the rationale: where
    it is not the chosen answer, or not there, or the text was cut off or refused, there is none.
    """

    detail: Literal["general", "specific", "both"] = "general"
    """One overall reason, or reasons that cite the answers, or a call for each of them: then the
    second kind is in `specific_rationales`, and saw the answers in the same order."""
    sampling: Varied = VariedSampling()
    """How to draw; the temperature is 0.7 where not given."""
    required: bool = False
    """Drop the pairs without a usable rationale, of either kind."""

    version = 4
    needs = ("id", "prompt", "candidates", "pairs")
    writes = ("rationales", "rationale_orders")

    def written(self) -> tuple[str, ...]:
        """Write the second kind where both are asked for, and the pairs where some may go."""
        both = ("specific_rationales",) if self.detail == "both" else ()
        return (*self.writes, *both, *(("pairs",) if self.required else ()))

    def identity(self) -> dict[str, Any]:
        """The fields and the templates' texts."""
        texts = [self._template(kind).text for kind in self._kinds()]
        return super().identity() | {"templates": [*texts, self._ending().text]}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the rationales and their orders. Raises StageError above `max_error_rate`."""
        found, kinds = live_pairs(view["pairs"]), self._kinds()
        seeds = ctx.row_seeds(view["id"], f"rationale\0{kinds[0]}")
        drawn = mix(seeds[found.row], found.chosen, found.rejected) >> np.uint64(1)
        chosen_first = drawn % np.uint64(2) == 0
        answers = self.ask(self._requests(view, found, seeds, drawn, chosen_first), ctx)
        preferred = np.where(chosen_first, "A", "B").tolist() * len(kinds)
        read = [
            usable_rationale(text, status, side, self.structured)
            for text, status, side in zip(
                answers.text.to_pylist(), answers.status.to_pylist(), preferred, strict=True
            )
        ]
        count_replies(ctx, (status for _, status in read))
        texts = np.array([text for text, _ in read], dtype=object).reshape(len(kinds), -1)
        told = np.array([text is not None for text, _ in read], dtype=bool).reshape(texts.shape)
        orders = np.where(chosen_first, "ab", "ba").astype(object)
        orders[~told.any(axis=0)] = None
        counts = lengths(view["pairs"])
        columns = {"rationale_orders": _of_pairs(counts, found, orders)}
        for name, own in zip(("rationales", "specific_rationales"), texts, strict=False):
            columns[name] = _of_pairs(counts, found, own)
        if not self.required:
            return columns
        pairs, lost = read_pairs(view), np.zeros(int(counts.sum()), dtype=bool)
        lost[found.place] = ~told.all(axis=0)
        reasons = [(lost, "no rationale that supports the label")]
        return {**columns, **edited(pairs, pairs.values, reasons)}

    def _requests(
        self,
        view: pa.Table,
        found: LivePairs,
        seeds: npt.NDArray[np.uint64],
        drawn: npt.NDArray[np.uint64],
        chosen_first: npt.NDArray[np.bool_],
    ) -> Requests:
        """Return the calls, kind after kind, with the answers of a pair in one order."""
        preferred = pa.array(np.where(chosen_first, "A", "B").tolist(), pa.large_string())
        first = np.where(chosen_first, found.chosen, found.rejected)
        second = np.where(chosen_first, found.rejected, found.chosen)
        shown = {
            "prompt": fenced(transcripts(view["prompt"]), "conversation", seeds).take(found.row),
            "first": shown_answers(view["candidates"], found.row, first, seeds),
            "second": shown_answers(view["candidates"], found.row, second, seeds),
            "preferred": preferred,
            "ending": self._ending().column(preferred=preferred),
        }
        kinds = self._kinds()
        asked = [self._template(kind).conversations(len(drawn), **shown) for kind in kinds]
        own = [drawn, *(mix(drawn, k) >> np.uint64(1) for k in range(1, len(kinds)))]
        calls, seeded = concat(asked), np.concatenate(own)
        return Requests(calls, self.sampling, seeds=seeded, json_schema=self.held(_SCHEMA))

    def _ending(self) -> Template:
        return load_template("end_rationale_json" if self.structured else "end_rationale")

    def _kinds(self) -> tuple[str, ...]:
        return ("general", "specific") if self.detail == "both" else (self.detail,)

    def _template(self, kind: str) -> Template:
        return load_template(f"rationale_{kind}")


def usable_rationale(
    text: str, status: str, preferred: Verdict, structured: bool = False
) -> tuple[str | None, JudgmentStatus | Literal["contradiction"]]:
    """Return the rationale in an answer and "ok", or None and why there is none.

    A usable one ends in the verdict `preferred`, which is taken off; a `structured` one says it
    beside the rationale. Another verdict is a contradiction, and none at all a parse_error.
    """
    if status != "ok":
        return None, cast("JudgmentStatus", status)
    visible = text if structured else without_reasoning(text)
    if visible is None:
        return None, "truncated"
    closing = _told(text) if structured else closing_verdict(visible)
    if closing is None or not closing[0]:
        return None, "refused" if is_refusal(visible) else "parse_error"
    body, verdict = closing
    if is_refusal(body):
        return None, "refused"
    return (body, "ok") if verdict == preferred else (None, "contradiction")


def _told(text: str) -> tuple[str, Verdict] | None:
    """Return the rationale and the verdict of a JSON object, or None where one is missing."""
    found, _ = json_object(text)
    said, better = (found or {}).get("rationale"), (found or {}).get("better")
    if not isinstance(said, str) or better not in ("A", "B"):
        return None
    worded = any(map(str.isalnum, said))  # small models copy the form's dots
    return said.strip() if worded else "", cast("Verdict", better)


def _of_pairs(
    counts: npt.NDArray[np.int64], found: LivePairs, values: npt.NDArray[np.object_]
) -> pa.Array:
    """Return list<string>, one value a pair, null for those that are not live."""
    every = np.full(int(counts.sum()), None, dtype=object)
    every[found.place] = values
    return lists(counts, pa.array(every.tolist(), pa.string()))
