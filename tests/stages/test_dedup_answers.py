"""Answers, pairs and whole conversations that say the same, found by either dedup stage."""

from __future__ import annotations

import pyarrow as pa
import pytest
from prompt_rows import TEN_WORDS, dropped, rows

from curate.errors import StageError
from curate.schema import CANDIDATES, PAIRS
from curate.stage import Context
from curate.stages.dedup import ExactDedup, NearDedup


def answers(*texts):
    return [{"text": text} for text in texts]


def with_answers(*groups, pairs=None, prompts=None) -> pa.Table:
    columns = {"candidates": pa.array(groups, CANDIDATES)}
    if pairs is not None:
        columns["pairs"] = pa.array(pairs, PAIRS)
    return rows(*(prompts or ["same"] * len(groups)), **columns)


def reasons(result, name) -> list[list[str | None]]:
    return [[item["drop"] for item in row] for row in result[name].to_pylist()]


def test_responses_are_compared_within_their_prompt():
    view = with_answers(
        answers(TEN_WORDS, TEN_WORDS + " eleven", "tea"), answers(TEN_WORDS), [], None
    )
    result = NearDedup(on="response").apply(view, Context())
    twin = "near answer duplicate of candidate 0 of r0 (0.89)"
    assert reasons(result, "candidates") == [[None, twin, None], [None], [], []]
    assert result["drop"].to_pylist() == [None] * 4
    exact = ExactDedup(on="response").apply(
        with_answers(answers("a b", " a  b "), answers("a b")), Context()
    )
    assert reasons(exact, "candidates") == [
        [None, "exact answer duplicate of candidate 0 of r0"],
        [None],
    ]
    assert NearDedup(on="response").view_scope() == "shard"
    assert NearDedup(on="response").written() == ("candidates",)


def test_dropped_responses_are_no_twins_and_scores_choose():
    group = [{"text": TEN_WORDS, "drop": "empty"}, *answers(TEN_WORDS + " x", TEN_WORDS)]
    scores = pa.array([[9.0, 1.0, 2.0]], pa.list_(pa.float32()))
    view = with_answers(group).append_column("scores", scores)
    result = NearDedup(on="response", keep_by="scores").apply(view, Context())
    assert reasons(result, "candidates") == [
        ["empty", "near answer duplicate of candidate 2 of r0 (0.89)", None]
    ]


def test_pairs_are_compared_in_either_order():
    def pair(chosen, rejected, margin):
        return {"chosen": chosen, "rejected": rejected, "margin": margin}

    view = with_answers(
        answers(TEN_WORDS, "a b c d e f"),
        answers("a b c d e f", TEN_WORDS),
        answers("a b c d e f", TEN_WORDS),
        pairs=[[pair(0, 1, 1.0)], [pair(0, 1, 2.0), pair(1, 0, 3.0)], [pair(0, 1, 1.0)]],
        prompts=["same", "same", "quite another one"],
    )
    for stage, tail in ((ExactDedup(on="pair"), ""), (NearDedup(on="pair"), " (1.00)")):
        what = f"{stage.kind.split('_')[0]} pair duplicate of pair 0 of r0{tail}"
        result = stage.apply(view, Context())
        assert reasons(result, "pairs") == [[None], [what, what], [None]]
        assert result["drop"].to_pylist() == [None, what, None]
    best = NearDedup(on="pair", keep_by="margin").apply(view, Context())
    twin = "near pair duplicate of pair 1 of r1 (1.00)"
    assert reasons(best, "pairs") == [[twin], [twin, None], [None]]


def test_conversations_hold_the_answers():
    view = with_answers(answers(TEN_WORDS), answers("tea"), answers(TEN_WORDS + " eleven"))
    assert dropped(NearDedup(), view)[1:] == ["near prompt duplicate of r0 (1.00)"] * 2
    stage = NearDedup(on="conversation")
    assert dropped(stage, view) == [None, None, "near conversation duplicate of r0 (0.90)"]
    assert dropped(ExactDedup(on="conversation"), view) == [None] * 3


def test_no_text_imitates_a_border():
    view = with_answers(answers("a", "b"), answers("a\x1eb"), answers("a\0b"))
    assert dropped(ExactDedup(on="conversation"), view) == [None] * 3


def test_keep_by_needs_a_number_for_each_item():
    view = with_answers(answers("a")).append_column("quality", pa.array([1.0]))
    with pytest.raises(StageError, match="no number for each"):
        NearDedup(on="response", keep_by="quality").apply(view, Context())
