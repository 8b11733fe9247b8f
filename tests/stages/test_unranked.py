"""A number that is to say which row is the best and that no row has: the log says so."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate.schema import PAIRS
from curate.stage import Context, Stage
from curate.stages.cover import Cover
from curate.stages.dedup import ExactDedup, NearDedup
from curate.stages.diverse import Diverse

PROMPTS = ["why is the sky so blue", "why is the sky so blue", "how do bees find home"]
BY_MARGIN: list[Stage] = [
    ExactDedup(keep_by="margin"), NearDedup(keep_by="margin"),
    Diverse(keep=2, quality="margin"), Cover(keep=2, quality="margin"),
]  # fmt: skip


def view(margins: list[float | None]) -> pa.Table:
    asked = [[{"role": "user", "content": text}] for text in PROMPTS]
    pairs = [[{"chosen": 0, "rejected": 1, "margin": margin}] for margin in margins]
    vectors = np.eye(3, dtype=np.float32)
    return pa.table(
        {
            "id": ["a", "b", "c"],
            "prompt": asked,
            "pairs": pa.array(pairs, PAIRS),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 3),
            "tags": [["x"], ["x", "y"], ["z"]],
        }
    )


def said(stage: Stage, table: pa.Table, caplog: Any) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        stage.apply(table, Context())
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("stage", BY_MARGIN, ids=lambda stage: stage.kind)
def test_margins_that_no_row_has_are_said(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    (text,) = said(stage, view([None, None, None]), caplog)
    assert "none of 3 has a number in 'margin', by which the best should stay; the stage" in text
    assert said(stage, view([None, None, 0.5]), caplog) == []


def test_nothing_is_said_without_rows_or_where_nothing_is_to_rank(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for stage in BY_MARGIN[:2]:
        assert said(stage, view([None] * 3).slice(0, 0), caplog) == []
    for stage in (ExactDedup(), Diverse(keep=2)):
        assert said(stage, view([None] * 3), caplog) == []


def test_rows_that_need_the_number_are_dropped_for_it(caplog: pytest.LogCaptureFixture) -> None:
    stage = Diverse(keep=2, method="mmr", quality="margin")
    assert said(stage, view([None] * 3), caplog) == []
    why = stage.apply(view([None] * 3), Context())["drop"].to_pylist()
    assert why == ["no margin to rank it by"] * 3
