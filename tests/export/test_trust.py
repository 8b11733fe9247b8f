"""What the card says about trust: exact text, from the exported rows, for any cut into tables."""

from __future__ import annotations

import pyarrow as pa
import pytest

from curate.export.card import CardFacts, dataset_card, escape
from curate.export.records import ExportSummary
from curate.export.trust import Trust
from curate.methods.order import wilson
from curate.schema import CANDIDATES, JUDGMENTS, PAIRS, PROMPT


def judged(a: float, b: float | None, judge: str = "j_1") -> list[dict]:
    """One comparison asked in both orders, or in one."""
    said = [("ab", a), ("ba", b)]
    return [
        {"judge": judge, "a": 0, "b": 1, "order": order, "score": score, "status": "ok"}
        for order, score in said
        if score is not None
    ]


def rows() -> pa.Table:
    two = [{"text": "good", "drop": None}, {"text": "bad", "drop": None}]
    pair = {"chosen": 0, "rejected": 1, "drop": None}
    chances = [0.9, 0.8, None, 1.0, 0.7, 0.6, 0.95, 0.85]
    gone = pair | {"p_correct": 0.0, "drop": "margin"}  # is not exported, and does not count
    verdicts = [(1, 1), (1, -1), (1, 1), (1, 1), (-1, -1), (1, None), (0, 0), (1, 1)]
    return pa.table(
        {
            "prompt": pa.array([[{"role": "user", "content": "q"}]] * 8, PROMPT),
            "candidates": pa.array([two] * 8, CANDIDATES),
            "pairs": pa.array([[gone, pair | {"p_correct": p}] for p in chances], PAIRS),
            "judgments": pa.array([judged(*v) for v in verdicts], JUDGMENTS),
        }
    )


STAGES = [
    {"stage": "exact_dedup", "rows_in": 9, "rows_out": 9},
    {
        "stage": "decontaminate", "rows_in": 9, "rows_out": 8,
        "counts": {"gsm_8k: items": 1319, "gsm_8k: items found": 1, "gsm_8k: rows": 1},
    },
]  # fmt: skip
EXPECTED = """\
- Asked in both orders, the judge j\\_1 said the same 85.7% \\[48.7%, 97.4%\\] of the time (7 \
comparisons).
- No two judges can be compared, so how far judges agree is not known.
- By the pairs' own `p_correct`, 17.1% \\[10.0%, 25.7%\\] of the labels are wrong (7 of 8 pairs \
have one; 90 % bootstrap interval over prompts). That is as good as `p_correct` is calibrated.
- Overlap with gsm\\_8k (1,319 items): 1 items in 1 rows, which were dropped."""


@pytest.mark.parametrize("size", [1, 3, 8])
def test_the_card_says_what_the_rows_say(size: int) -> None:
    trust, table = Trust(), rows()
    cuts = [table.slice(i, size) for i in range(0, 8, size)]
    assert sum(len(part) for part in trust.watch(cuts)) == 8
    facts = CardFacts("x", "name: x\n", stages=STAGES)
    card = dataset_card(facts, "preference", ExportSummary(8, {}, 8, {"train": 8}), trust)
    section = card.split("## How far to trust it\n\n")[1].split("\n\n## Known limits")[0]
    assert section == EXPECTED


def test_what_is_not_known_is_said() -> None:
    assert Trust().lines([], escape) == [
        "- No judge was asked in both orders, so its leaning by position is not known.",
        "- No two judges can be compared, so how far judges agree is not known.",
        "- No pair has a `p_correct`, so the share of wrong labels is not known.",
        "- Overlap with benchmarks was not checked.",
    ]


def two_judges(rows: int = 300) -> pa.Table:
    """The second judge says the same in two of three rows."""
    verdicts = [
        judged(side := 1.0 if i % 2 else -1.0, None)
        + judged(-side if i % 3 == 0 else side, None, "[k]")
        for i in range(rows)
    ]
    two = [{"text": "a", "drop": None}, {"text": "b", "drop": None}]
    return pa.table(
        {
            "id": [f"r{i}" for i in range(rows)],
            "candidates": pa.array([two] * rows, CANDIDATES),
            "judgments": pa.array(verdicts, JUDGMENTS),
        }
    )


@pytest.mark.parametrize("size", [7, 300])
def test_how_far_judges_agree_does_not_depend_on_how_rows_are_cut(size: int) -> None:
    trust, table = Trust(), two_judges()
    for start in range(0, 300, size):
        trust.add(table.slice(start, size))
    line = next(line for line in trust.lines([], escape) if "say the same" in line)
    judges = "\\[k\\] and j\\_1"
    said = "say the same in 66.7% of 300 comparisons (Cohen's kappa 0.33)."
    assert line == f"- The judges {judges} {said}"
    some = Trust(rows=200_000)  # a tenth of them is looked at
    for start in range(0, 300, size):
        some.add(table.slice(start, size))
    some.lines([], escape)
    assert [row["n"] for row in some.agreement.rows()] == [23]


def test_pairs_are_counted_by_what_made_them() -> None:
    trust = Trust()
    trust.add(rows())
    assert trust.sources == {"the source": 8}


def test_wilson() -> None:
    assert wilson(0.8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
