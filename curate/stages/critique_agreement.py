"""Whether each pair's rationale makes the arguments that a judge makes by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrays import flat, lengths, lists, mix, one_chunk, owners, starts_of
from curate.engines.contract import Requests
from curate.errors import StageError
from curate.methods.critiques import read_f1
from curate.methods.judgments import floats, true
from curate.methods.verdicts import without_reasoning
from curate.prompts import load_template
from curate.stage import Context, Result
from curate.stages.calls import Greedy, GreedySampling, count_replies, readings
from curate.stages.filters import below
from curate.stages.forms import object_schema
from curate.stages.judging import AskingInForm
from curate.stages.pair_edits import Pairs, edited, read_pairs
from curate.stages.shown import fenced

_MOST = 12  # arguments of a critique whose list is held to a form


class CritiqueAgreement(AskingInForm, name="critique_agreement"):
    """Write how far each pair's rationale and a judge's critique agree, and drop pairs below.

    The judge compared the two answers without being told which is preferred (`judge_pairs`); of
    its two critiques the one counts that saw the answers in the rationale's order. The engine
    lists the arguments of both texts and which are the same; `critique_f1`, aligned with the
    pairs, is their F1, null where there is no rationale, no critique or no readable list. A label
    can be right for wrong reasons, and this looks at the reasons (after RM-NLHF, Wang et al.
    2026); whether the judge prefers the same answer is for `verify` to say.
    """

    judge: str | None = None
    """The judge whose critiques count; by default the first that compared a pair."""
    at_least: float | None = Field(0.5, ge=0, le=1)
    """The least F1 kept; none is dropped where null."""
    sampling: Greedy = GreedySampling()
    """How to draw; greedy where no temperature is given."""

    version = 2
    needs = ("id", "candidates", "judgments", "pairs", "rationales")
    uses = ("rationale_orders",)
    writes = ("critique_f1", "pairs")

    def identity(self) -> dict[str, Any]:
        """The fields and the text that asks for the arguments."""
        return super().identity() | {"template": load_template("critique_arguments").text}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the column and the pairs. Raises StageError above `max_error_rate`."""
        pairs = read_pairs(view)
        rationales = _aligned(view, "rationales", pairs)
        critiques = self._critiques(view, pairs)
        live = pairs.live
        at = np.array(
            [k for k, text in enumerate(rationales) if live[k] and text and critiques[k]],
            dtype=np.int64,
        )
        f1 = np.full(len(rationales), np.nan)
        f1[at] = self._ask(view, pairs, at, rationales, critiques, ctx)
        column = pa.array(f1.astype(np.float32), mask=np.isnan(f1))
        masks = []
        if self.at_least is not None:
            masks = [
                (np.array([not text for text in rationales], dtype=bool), "no rationale"),
                (np.array([not text for text in critiques], dtype=bool), "no critique by a judge"),
                (np.isnan(f1), "the critiques' arguments could not be read"),
                (below(f1, self.at_least), f"critique F1 below {self.at_least:g}"),
            ]
        return {"critique_f1": lists(pairs.sizes, column), **edited(pairs, pairs.values, masks)}

    def _ask(
        self,
        view: pa.Table,
        pairs: Pairs,
        at: np.ndarray,
        rationales: list[str | None],
        critiques: list[str | None],
        ctx: Context,
    ) -> np.ndarray:
        """Return the F1 of the pairs at those places, NaN where it could not be read."""
        row = pairs.row[at]
        own = mix(ctx.row_seeds(view["id"], self.kind)[row], pairs.chosen[at], pairs.rejected[at])
        first, second = (
            fenced(pa.array([texts[k] for k in at.tolist()], pa.large_string()), "critique", seeds)
            for texts, seeds in ((rationales, mix(own, 1)), (critiques, mix(own, 2)))
        )
        asked = load_template("critique_arguments").conversations(
            len(at), first=first, second=second
        )
        schema = self.held(_schema())
        seeds = own >> np.uint64(1) if self.sampling.temperature else None
        requests = Requests(asked, self.sampling, seeds=seeds, json_schema=schema)
        answers = self.ask(requests, ctx)
        found, status = readings(answers, lambda text, _: [read_f1(text)])
        count_replies(ctx, status)
        return floats(found)

    def _critiques(self, view: pa.Table, pairs: Pairs) -> list[str | None]:
        """Return what the judge said of each pair in the rationale's order."""
        values, sizes = flat(view["judgments"]), lengths(view["judgments"])
        names = ("judge", "a", "b", "order", "status", "text")
        columns = [pc.struct_field(values, name).to_pylist() for name in names]
        said: dict[tuple[int, int, int], str] = {}
        for row, judge, a, b, order, status, text in zip(
            owners(sizes).tolist(), *columns, strict=True
        ):
            if b is None or status != "ok" or self.judge not in (None, judge):
                continue
            shown = (a, b) if order == "ab" else (b, a)
            visible = (without_reasoning(text or "") or "").strip()
            if visible:
                said.setdefault((row, *shown), visible)
        starts = starts_of(pairs.counts)
        first, second = pairs.chosen - starts[pairs.row], pairs.rejected - starts[pairs.row]
        orders = _aligned(view, "rationale_orders", pairs)
        found = []
        for row, chosen, rejected, order in zip(
            pairs.row.tolist(), first.tolist(), second.tolist(), orders, strict=True
        ):
            shown = (rejected, chosen) if order == "ba" else (chosen, rejected)
            found.append(said.get((row, *shown)))
        return found


def _aligned(view: pa.Table, name: str, pairs: Pairs) -> list[str | None]:
    """Return a column of one text a pair, flattened; all null where it is not there.

    Raises StageError where it is not aligned with the pairs.
    """
    if name not in view.column_names:
        return [None] * len(pairs.values)
    column = one_chunk(view[name])
    there = true(pc.is_valid(column))
    if (lengths(column) != pairs.sizes)[there].any():
        raise StageError(
            f"critique_agreement: {name!r} is not aligned with the pairs; run `rationale` after "
            "the stage that made them"
        )
    rows = zip(column.to_pylist(), pairs.sizes.tolist(), strict=True)
    return [text for row, size in rows for text in (row if row is not None else [None] * size)]


def _schema() -> dict[str, Any]:
    arguments = {"type": "array", "items": {"type": "string"}, "maxItems": _MOST}
    number = {"type": "integer", "enum": list(range(1, _MOST + 1))}
    pair = {"type": "array", "items": number, "minItems": 2, "maxItems": 2}
    same = {"type": "array", "items": pair, "maxItems": _MOST}
    return object_schema({"first": arguments, "second": arguments, "same": same})
