"""Judges on unlike scales: the page has each one's mean and deviation, and says it first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import curate
from curate.report import gather, report
from curate.report.findings import findings
from curate.stages import BestWorst, Combine

pytest.importorskip("vl_convert", reason="needs the extra `report`")

TENS = [1.0, 10.0, 4.0, 8.0]
FIVES = [5.0, 1.0, 3.0, None]
ROWS = 12


def gathered(tmp_path: Path, name: str, rows: int = ROWS, **combine: Any) -> Mapping[str, Any]:
    path = tmp_path / "rows.jsonl"
    answers = [
        {"text": t, "tens": a, "fives": b} for t, a, b in zip("wxyz", TENS, FIVES, strict=True)
    ]
    path.write_text(
        "".join(json.dumps({"prompt": f"p{k}", "answers": answers}) + "\n" for k in range(rows))
    )
    columns = curate.Columns(candidates="answers", scores=("tens", "fives"))
    pipeline = curate.Pipeline(
        name=name,
        source=curate.Jsonl(path=str(path), columns=columns, shard_rows=5),
        stages=[Combine(**combine), BestWorst()],
    )
    curate.run(pipeline, tmp_path)
    return gather(tmp_path, name)


def said(facts: Mapping[str, Any]) -> list[str]:
    return [found.text for found in findings(facts) if "spread unlike" in found.text]


def test_means_and_deviations_are_those_of_the_scores(tmp_path: Path) -> None:
    facts = gathered(tmp_path, "plain")
    for row in facts["summary"]["judges"]:
        scores = np.array([v for v in {"tens": TENS, "fives": FIVES}[row["judge"]] if v])
        assert row["marks"]["n"] == ROWS * len(scores)
        assert row["marks"]["mean"] == pytest.approx(scores.mean())
        assert row["marks"]["deviation"] == pytest.approx(scores.std())
    (text,) = said(facts)
    assert text.startswith(
        "judges' scores spread unlike, tens by 3.49 and fives by 1.63: the first"
    )
    page = report(tmp_path, "plain")
    assert "spread unlike, tens by 3.49" in page
    assert '<td class="n">5.75</td><td class="n">3.49</td>' in page


@pytest.mark.parametrize(
    "combine",
    [
        {"scale": "prompt"},
        {"judges": ("tens",)},
        {"weights": {"fives": 2}},
        {"judges": ("nobody",)},
    ],
)
def test_nothing_is_said_of_scores_on_one_scale_of_one_judge_or_weighed(
    tmp_path: Path, combine: dict[str, Any]
) -> None:
    assert said(gathered(tmp_path, "other", **combine)) == []


def test_a_few_scores_tell_nothing(tmp_path: Path) -> None:
    assert said(gathered(tmp_path, "few", rows=9)) == []  # 27 scores of one judge
    assert said(gathered(tmp_path, "more", rows=10)) != []
