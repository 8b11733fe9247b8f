"""label_steps and pair_steps: labels from how solutions end, and pairs from where they part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate.arrays import lengths
from curate.schema import CANDIDATES, DROP
from curate.stage import Context
from curate.stages.check_answer import CheckAnswer
from curate.stages.combine import Combine
from curate.stages.steps import LabelSteps, PairSteps

GSM8K = Path(__file__).parents[2] / "../shared/data/gsm8k_candidates/candidates.parquet"
# The second solution goes wrong in its second line, and four completions from its first do not
# all do so: two of them end right. What was begun with "7 + 2" never does.
TEXTS = [
    "3 + 4 = 7\n7 * 2 = 14\nA: 14",
    "3 + 4 = 7\n7 + 2 = 9\nA: 9",
    "3 + 4 = 7\n7 + 7 = 14\nA: 14",
    "3 + 4 = 7\n7 + 2 = 9\n9 + 1 = 10\nA: 10",
    "3 + 4 = 7\n7 + 2 = 9\nA: 9",
    "3 + 4 = 7\nwhat now",
]
SCORES = [1.0, 0.0, 1.0, 0.0, 0.0, None]
SIDES = ("chosen", "rejected")


def view(texts: list[str] = TEXTS, scores: list[float | None] = SCORES) -> pa.Table:
    made = [{"text": text, "model": "m", "drop": None} for text in texts]
    return pa.table(
        {
            "candidates": pa.array([made], CANDIDATES),
            "scores": pa.array([scores], pa.list_(pa.float32())),
        }
    )


def labels(found: pa.Table, **fields: object) -> list[list[tuple[str, bool]]]:
    made = LabelSteps.model_validate({"min_tries": 3, **fields}).apply(found, Context())
    steps = made["steps"].to_pylist()[0]
    return [
        [(s["text"], s["right"]) for s in steps if s["candidate"] == c]
        for c in dict.fromkeys(s["candidate"] for s in steps)
    ]


def test_steps_are_labelled_up_to_where_it_is_known() -> None:
    first, second, third = labels(view())
    assert first == [("3 + 4 = 7", True), ("7 * 2 = 14", True), ("A: 14", True)]
    assert second == [("3 + 4 = 7", True), ("7 + 2 = 9", False), ("A: 9", False)]
    assert third == [("3 + 4 = 7", True), ("7 + 7 = 14", True), ("A: 14", True)]


def test_a_share_of_the_solutions_may_be_asked_for() -> None:
    assert all(path[0] == ("3 + 4 = 7", False) for path in labels(view(), share=0.5))
    assert all(path[0] == ("3 + 4 = 7", True) for path in labels(view(), share=0.3))


@pytest.mark.parametrize(
    ("texts", "scores", "fields", "reason"),
    [
        (["a\nb", ""], [None, None], {}, "no solution ends right"),
        (["a\nb", "a\nc"], [0.0, 0.0], {"min_tries": 1}, "no solution ends right"),
        (["a\nb\nc"], [1.0], {"most": 2}, "no solution ends right"),
        (["a\nb", ""], [0.0, 1.0], {}, "no step with a known label"),
        (["a\nb", "c"], [0.0, 1.0], {}, None),
    ],
)
def test_a_row_that_tells_nothing_is_dropped(
    texts: list[str], scores: list[float | None], fields: dict[str, object], reason: str | None
) -> None:
    made = LabelSteps.model_validate(fields).apply(view(texts, scores), Context())
    found = made[DROP].to_pylist()[0]
    assert bool(found) == bool(reason)
    assert (found or "").startswith(reason or "")


def test_a_pair_is_where_a_solution_first_goes_wrong() -> None:
    made = PairSteps(min_tries=3).apply(view(), Context())
    (pair,) = made["pairs"].to_pylist()[0]
    (steps,) = made["step_pairs"].to_pylist()[0]
    assert (pair["chosen"], pair["rejected"], pair["margin"]) == (0, 1, 1.0)
    assert steps == {
        "prefix": "3 + 4 = 7\n", "chosen": "7 * 2 = 14", "rejected": "7 + 2 = 9",
        "q_chosen": 1.0, "q_rejected": 0.0, "n_chosen": 1, "n_rejected": 3, "confidence": 0.25,
    }  # fmt: skip
    assert made[DROP].to_pylist() == [None]


def test_no_pair_is_a_reason() -> None:
    made = PairSteps(min_tries=4).apply(view(), Context())
    assert made["pairs"].to_pylist() == [[]]
    assert made[DROP].to_pylist()[0].startswith("no pair: ")


def test_a_long_text_costs_no_more_than_its_length() -> None:
    text = "\n".join("step" + "x" * (k % 7) for k in range(100_000))
    made = LabelSteps().apply(view([text, "a"], [0.0, 1.0]), Context())
    assert lengths(made["steps"]).tolist() == [1]


@pytest.fixture(scope="module")
def gsm8k() -> pa.Table:
    if not GSM8K.exists():
        pytest.skip("no data set gsm8k_candidates")
    import polars as pl

    rows = pl.read_parquet(GSM8K).group_by("prompt_id", maintain_order=True).agg(pl.all())
    made = [
        [{"text": t, "model": m, "drop": None} for t, m in zip(*pair, strict=True)]
        for pair in zip(rows["response"].to_list(), rows["model"].to_list(), strict=True)
    ]
    references = [row[0] for row in rows["reference"].to_list()]
    found = pa.table({"reference": references, "candidates": pa.array(made, CANDIDATES)})
    judgments = CheckAnswer().apply(found, Context())["judgments"]
    found = found.append_column("judgments", judgments)
    return found.append_column("scores", Combine().apply(found, Context())["scores"])


def test_real_solutions_that_begin_alike_part_at_a_wrong_step(gsm8k: pa.Table) -> None:
    made = PairSteps(min_tries=1).apply(gsm8k, Context())
    texts, scores = gsm8k["candidates"].to_pylist(), gsm8k["scores"].to_pylist()
    shared = 0
    for row, both in enumerate(zip(*(made[n].to_pylist() for n in made if n != DROP), strict=True)):
        for pair, steps in zip(*both, strict=True):
            chosen, rejected = (" ".join(texts[row][pair[n]]["text"].split()) for n in SIDES)
            begun = " ".join(steps["prefix"].split())
            assert (scores[row][pair["chosen"]], scores[row][pair["rejected"]]) == (1.0, 0.0)
            assert chosen.startswith(begun)
            assert rejected.startswith(begun)
            assert steps["chosen"] != steps["rejected"]
            shared += bool(begun)
    assert (sum(map(len, made["pairs"].to_pylist())), shared) == (750, 31)
    labelled = LabelSteps(min_tries=2).apply(gsm8k, Context())["steps"]
    rows = labelled.to_pylist()
    steps = [(row, s) for row, steps in enumerate(rows) for s in steps]
    assert all(s["text"] in texts[row][s["candidate"]]["text"] for row, s in steps)
    right = np.array([s["right"] for _, s in steps])
    assert 0.8 < right.mean() < 1.0  # without completions only few steps are known to be wrong
