"""Pairwise judging in both orders, so that a leaning to one position shows."""

from __future__ import annotations

from itertools import combinations
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.arrays import flat, lengths, lists, messages_of, structs
from curate.engines.contract import Request
from curate.prompts import Template, load_template
from curate.schema import JUDGMENT, JudgmentStatus
from curate.stage import Context, EngineRole, Result, Stage
from curate.stages.calls import Greedy, GreedySampling, chat, fenced, pair_texts, transcript
from curate.stages.judge import rubric_name
from curate.stages.verdicts import Verdict, pair_outcome

Order = Literal["ab", "ba"]
_ORDERS: tuple[Order, Order] = ("ab", "ba")
_FAVOURS_A: dict[tuple[Verdict, Order], float] = {
    ("A", "ab"): 1.0,
    ("B", "ab"): -1.0,
    ("A", "ba"): -1.0,
    ("B", "ba"): 1.0,
    ("tie", "ab"): 0.0,
    ("tie", "ba"): 0.0,
}


class Asked(NamedTuple):
    """One comparison: candidates a and b of a row, and which was shown first."""

    row: int
    a: int
    b: int
    order: Order


class JudgePairs(Stage, name="judge_pairs"):
    """Append two judgments per pair, one in each order; score 1 favours a, -1 favours b, 0 ties.

    Judges the live pairs where the rows have pairs, else every two live candidates. After
    MT-Bench (Zheng et al. 2023), with both verdicts kept apart: that a judge contradicts itself
    and that it sees a tie mean different things.
    """

    engine: Annotated[str, EngineRole(("chat",))]
    """The engine's name."""
    rubric: str = "helpfulness"
    """A built-in rubric (helpfulness, correctness, instructions) or a path to a Markdown file."""
    sampling: Greedy = GreedySampling()
    """How to draw; greedy where no temperature is given."""
    use_reference: bool = True
    """Show the judge the row's reference answer where there is one."""
    name: str | None = None
    """The judge's name in the judgments; by default `engine:rubric:pairs`."""
    max_error_rate: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of failed calls above which the shard is given up."""

    needs = ("id", "prompt", "candidates")
    appends = ("judgments",)
    seeded = True

    def model_post_init(self, context: Any, /) -> None:
        """Load the templates, so that a faulty one is an error before anything runs."""
        self._templates()

    def used(self) -> tuple[str, ...]:
        """The pairs, and the reference unless `use_reference` is off."""
        return ("pairs", "reference") if self.use_reference else ("pairs",)

    def identity(self) -> dict[str, Any]:
        """The fields and the templates' texts."""
        return super().identity() | {"templates": [t.text for t in self._templates()]}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the new judgments. Raises StageError above `max_error_rate`."""
        asked = self._asked(view)
        requests = self._requests(view, asked, ctx)
        what = f"judge_pairs with {self.engine}"
        answers = chat(ctx.engine(self.engine), requests, ctx, self.max_error_rate, what)
        scores: list[float | None] = []
        statuses: list[JudgmentStatus] = []
        for item, answer in zip(asked, answers, strict=True):
            verdict, status = (
                pair_outcome(answer.text) if answer.status == "ok" else (None, answer.status)
            )
            scores.append(None if verdict is None else _FAVOURS_A[verdict, item.order])
            statuses.append(status)
        aspect = self._templates()[0].name.removesuffix(".md").removeprefix("rubric_")
        values = structs(
            JUDGMENT,
            len(asked),
            judge=self.name or f"{self.engine}:{aspect}:pairs",
            aspect=aspect,
            a=[item.a for item in asked],
            b=[item.b for item in asked],
            order=[item.order for item in asked],
            score=scores,
            status=statuses,
            text=[answer.text for answer in answers],
        )
        rows = np.array([item.row for item in asked], dtype=np.int64)
        return {"judgments": lists(np.bincount(rows, minlength=len(view)), values)}

    def _templates(self) -> tuple[Template, Template, Template]:
        rubric = load_template(rubric_name(self.rubric))
        rubric.check(frozenset())
        return rubric, load_template("judge_pair"), load_template("judge_reference")

    def _asked(self, view: pa.Table) -> list[Asked]:
        if "pairs" in view.column_names:
            found = live_pairs(view["pairs"])
            return [Asked(row, a, b, order) for row, _, a, b in found for order in _ORDERS]
        drops = flat(view["candidates"], "drop").to_pylist()
        asked: list[Asked] = []
        start = 0
        for row, count in enumerate(lengths(view["candidates"]).tolist()):
            live = [i for i in range(count) if drops[start + i] is None]
            start += count
            asked += [
                Asked(row, a, b, order) for a, b in combinations(live, 2) for order in _ORDERS
            ]
        return asked

    def _requests(self, view: pa.Table, asked: list[Asked], ctx: Context) -> list[Request]:
        rubric, frame, reference_frame = self._templates()
        criterion = rubric.render()
        ids, conversations = view["id"].to_pylist(), messages_of(view["prompt"])
        candidates = list(pair_texts(view["candidates"]))
        with_reference = self.use_reference and "reference" in view.column_names
        references = view["reference"].to_pylist() if with_reference else [None] * len(ids)
        requests = []
        for row, a, b, order in asked:
            seed = ctx.row_seed(ids[row], 0)
            first, second = (a, b) if order == "ab" else (b, a)
            known = references[row]
            shown = "" if known is None else fenced(known, "reference", seed)
            messages = frame.messages(
                criterion=criterion,
                prompt=fenced(transcript(conversations[row]), "conversation", seed),
                reference=f"\n{reference_frame.render(reference=shown)}\n" if shown else "",
                first=fenced(candidates[row][first], "answer", seed),
                second=fenced(candidates[row][second], "answer", seed),
            )
            drawn = None
            if self.sampling.temperature > 0.0:
                key = f"{self.name}\0{self.engine}\0{self.rubric}\0{ids[row]}\0{first}\0{second}"
                drawn = ctx.row_seed(key, 0)
            requests.append(Request(messages, self.sampling, drawn))
        return requests


def live_pairs(pairs: pa.Array | pa.ChunkedArray) -> list[tuple[int, int, int, int]]:
    """Return (row, place among all pairs, chosen, rejected) of the pairs without a drop reason."""
    counts = lengths(pairs)
    rows = np.repeat(np.arange(len(counts)), counts).tolist()
    chosen, rejected = flat(pairs, "chosen").to_pylist(), flat(pairs, "rejected").to_pylist()
    drops = flat(pairs, "drop").to_pylist()
    return [
        (row, place, w, l_)
        for place, (row, w, l_, drop) in enumerate(zip(rows, chosen, rejected, drops, strict=True))
        if drop is None
    ]
