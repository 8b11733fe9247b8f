"""Chosen and rejected answers, at the end of conversations or gathered by their prompt too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from reading import jsonl

from curate.errors import InputError
from curate.sources.columns import Columns
from curate.sources.files import Jsonl
from curate.stage import Context
from curate.stages.combine import Combine

PAIRED = {"id": "id", "chosen": "chosen", "rejected": "rejected"}
ENDED = {"prompt": None, "response": "messages"}


def says(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def said(row: dict[str, Any]) -> list[str]:
    return [turn["content"] for turn in row["prompt"]]


def answers(row: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [(candidate["text"], candidate["drop"]) for candidate in row["candidates"]]


def test_pairs_of_one_prompt_share_their_candidates(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "prompt": "p", "chosen": "x", "rejected": "y", "m": 2, "by": "k"},
        {"id": "b", "prompt": "q", "chosen": "x", "rejected": "x", "m": None, "by": "k"},
        {"id": "a", "prompt": "p", "chosen": "z", "rejected": "x", "m": 1, "by": "l"},
        {"id": "a", "prompt": "p", "chosen": None, "rejected": "y", "m": 3, "by": "k"},
    ]
    one, two = jsonl(tmp_path, *rows, **PAIRED, group="id", margin="m")
    assert (one["id"], said(one), one["meta"]) == ("a", ["p"], '{"by":["k","l","k"]}')
    assert answers(one) == [("x", None), ("y", None), ("z", None), ("", "null")]
    pairs = [(p["chosen"], p["rejected"], p["margin"], p["drop"]) for p in one["pairs"]]
    assert pairs == [(0, 1, 2, None), (2, 0, 1, None), (3, 1, 3, "chosen is null")]
    assert answers(two) == [("x", None)] * 2  # within a pair both sides stay, to be told of
    assert [(p["chosen"], p["rejected"]) for p in two["pairs"]] == [(0, 1)]


def test_conversations_and_answers_as_sharegpt_has_them(tmp_path: Path) -> None:
    def turn(who: str, value: str) -> dict[str, Any]:
        return {"from": who, "value": value, "role": None}  # as a table of both kinds has it

    asked = [turn("system", "s"), turn("human", "q"), turn("gpt", "a"), turn("user", "and?")]
    row = {"id": "a", "prompt": asked, "chosen": turn("gpt", "x"), "rejected": [turn("gpt", "y")]}
    (found,) = jsonl(tmp_path, row, **PAIRED)
    assert [turn["role"] for turn in found["prompt"]] == ["system", "user", "assistant", "user"]
    assert said(found) == ["s", "q", "a", "and?"]
    assert answers(found) == [("x", None), ("y", None)]
    assert found["meta"] == "{}"
    (whole,) = jsonl(tmp_path, {"messages": [turn("human", "q"), turn("gpt", "x")]}, **ENDED)
    assert (said(whole), answers(whole)) == (["q"], [("x", None)])
    with pytest.raises(InputError, match="message 1: unknown role 'hum'"):
        jsonl(tmp_path, row | {"prompt": [turn("hum", "q")]}, **PAIRED)
    with pytest.raises(InputError, match="'chosen' must end with a message of the assistant"):
        jsonl(tmp_path, row | {"chosen": turn("human", "x")}, **PAIRED)


def test_strengths_in_a_group_are_about_the_groups_candidates(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "prompt": "p", "chosen": "x", "rejected": "y", "m": [1, -2]},
        {"id": "a", "prompt": "p", "chosen": "z", "rejected": "y", "m": [3]},
    ]
    (row,) = jsonl(tmp_path, *rows, **PAIRED, group="id", margins="m")
    found = [(j["judge"], j["a"], j["b"], j["score"]) for j in row["judgments"]]
    assert found == [("m#0", 0, 1, 1), ("m#1", 0, 1, -2), ("m#0", 2, 1, 3)]


def test_a_pair_of_a_group_that_leads_elsewhere_is_dropped_alone(tmp_path: Path) -> None:
    user, other = says("user", "p"), says("user", "q")
    fine = {"id": "a", "prompt": "p", "chosen": [user, says("assistant", "x")], "rejected": "y"}
    strange = fine | {"chosen": [other, says("assistant", "z")]}
    (row,) = jsonl(tmp_path, fine, strange, **PAIRED, group="id")
    reason = "chosen or rejected does not continue the prompt"
    assert [pair["drop"] for pair in row["pairs"]] == [None, reason]
    assert "drop" not in row
    for rows in ([strange], [strange, strange]):
        (row,) = jsonl(tmp_path, *rows, **PAIRED, group="id")
        assert row["drop"] == reason


def test_a_response_at_the_end_of_a_conversation_brings_its_prompt(tmp_path: Path) -> None:
    asked = [says("system", "s"), says("user", "p")]
    rows = [
        {"id": "a", "messages": [*asked, says("assistant", text)], "score": score, "m": text}
        for text, score in (("x", 2), ("y", 1.5))
    ]
    columns = {**ENDED, "id": "id", "model": "m", "scores": "score", "group": "id"}
    (row,) = jsonl(tmp_path, *rows, **columns)
    assert (said(row), row["meta"]) == (["s", "p"], "{}")
    assert answers(row) == [("x", None), ("y", None)]
    assert [c["model"] for c in row["candidates"]] == ["x", "y"]
    assert [(j["a"], j["score"]) for j in row["judgments"]] == [(0, 2), (1, 1.5)]
    empty = {"messages": None}
    (row,) = jsonl(tmp_path, empty, **ENDED)
    assert (row["drop"], answers(row)) == ("prompt is empty", [("", "null")])
    both = jsonl(tmp_path, rows[0] | empty, rows[1], **columns)
    assert [answers(row) for row in both] == [[("", "null"), ("y", None)]]
    assert said(both[0]) == ["s", "p"]
    text = {"messages": "Human: p\n\nAssistant: x"}
    (row,) = jsonl(tmp_path, text, **ENDED, transcripts="messages")
    assert (said(row), answers(row)) == (["p"], [("x", None)])


def test_a_response_that_belongs_to_another_prompt(tmp_path: Path) -> None:
    whole = [says("user", "p"), says("assistant", "x")]
    rows = [{"prompt": "p", "r": value} for value in (whole, whole[1:], "x")]
    for row in jsonl(tmp_path, *rows, response="r"):
        assert answers(row) == [("x", None)]
    (row,) = jsonl(tmp_path, {"prompt": "q", "r": whole}, response="r")
    assert answers(row) == [("x", "does not continue the prompt")]
    one, two = {"k": 1, "messages": whole}, {"k": 1, "messages": [says("user", "q"), *whole[1:]]}
    with pytest.raises(InputError, match="row 2: column 'messages': what stands before the answer"):
        jsonl(tmp_path, one, two, **ENDED, group="k")


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("text", "a list of {role, content} where no prompt is mapped"),
        (3, "must be text or a list of {role, content}, not int"),
        ([], "must end with a message of the assistant"),
        ([{"role": "user", "content": "p"}], "must end with a message of the assistant"),
    ],
)
def test_a_response_that_holds_no_conversation(tmp_path: Path, value: object, error: str) -> None:
    with pytest.raises(InputError) as caught:
        jsonl(tmp_path, {"messages": value}, **ENDED)
    assert error in str(caught.value)
    assert "row 1: column 'messages'" in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        ({"prompt": None, **PAIRED, "group": "id"}, "pairs need a prompt"),
        ({"prompt": None, "candidates": "c"}, "prompt may be left out only where"),
        ({"group": "id"}, "group needs response or chosen"),
    ],
)
def test_columns_that_do_not_go_together(columns: dict[str, Any], error: str) -> None:
    with pytest.raises(ValidationError, match=error):
        Columns(**columns)


SCORED = {**PAIRED, "chosen_score": "sc", "rejected_score": "sr"}


def test_scores_beside_chosen_and_rejected_are_scores_and_a_judge(tmp_path: Path) -> None:
    """UltraFeedback-binarized's `score_chosen` and `score_rejected`."""
    row = {"id": "a", "prompt": "p", "chosen": "x", "rejected": "y", "sc": 7.5, "sr": "8"}
    (found,) = jsonl(tmp_path, row, **SCORED)
    assert found["scores"] == [7.5, 8.0]
    judged = [(j["judge"], j["a"], j["b"], j["score"], j["status"]) for j in found["judgments"]]
    assert judged == [("score", 0, None, 7.5, "ok"), ("score", 1, None, 8.0, "ok")]
    assert found["pairs"][0]["margin"] is None  # who scores again is not held to the old ones
    assert found["meta"] == "{}"
    (unknown,) = jsonl(tmp_path, row | {"sr": None}, **SCORED)
    assert unknown["scores"] == [7.5, None]
    assert unknown["judgments"][1]["status"] == "parse_error"
    (several,) = jsonl(tmp_path, row | {"sc": [1, 2, 6], "sr": [None, 4]}, **SCORED)
    assert several["scores"] == [3.0, 4.0]
    assert [j["judge"] for j in several["judgments"]] == [f"score#{k}" for k in (0, 1, 2, 0, 1)]


def test_scores_of_a_groups_answers_are_their_means(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "prompt": "p", "chosen": "x", "rejected": "y", "sc": 3, "sr": 1},
        {"id": "a", "prompt": "p", "chosen": "z", "rejected": "x", "sc": 5, "sr": 4},
    ]
    (row,) = jsonl(tmp_path, *rows, **SCORED, group="id")
    assert [c["text"] for c in row["candidates"]] == ["x", "y", "z"]
    assert row["scores"] == [3.5, 1.0, 5.0]
    assert [j["a"] for j in row["judgments"]] == [0, 1, 2, 0]


def test_the_scores_of_the_source_are_those_that_combine_gives(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "prompt": "p", "chosen": "x", "rejected": "y", "sc": [3, 4], "sr": [1, None]},
        {"id": "a", "prompt": "p", "chosen": "z", "rejected": "x", "sc": [5, 0.1], "sr": [4, 2]},
        {"id": "b", "prompt": "p", "chosen": "x", "rejected": "y", "sc": None, "sr": [2, 7, 7]},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = Jsonl(path=str(path), columns=Columns(**SCORED, group="id"))
    (table,) = (t for unit in source.units() for t in source.read(unit))
    combined = Combine().apply(table, Context())["scores"]
    assert combined.to_pylist() == table["scores"].to_pylist()


def test_models_beside_chosen_and_rejected(tmp_path: Path) -> None:
    row = {"id": "a", "prompt": "p", "chosen": "x", "rejected": "y", "mc": "one", "mr": None}
    (found,) = jsonl(tmp_path, row, **PAIRED, chosen_model="mc", rejected_model="mr")
    assert [c["model"] for c in found["candidates"]] == ["one", None]
    with pytest.raises(InputError, match="'mc' must be text"):
        jsonl(tmp_path, row | {"mc": 1}, **PAIRED, chosen_model="mc")


def test_scores_of_one_side_or_for_no_pair_are_refused() -> None:
    with pytest.raises(ValidationError, match="chosen_score and rejected_score go together"):
        Columns(chosen="c", rejected="r", chosen_score="s")
    with pytest.raises(ValidationError, match="chosen_score needs chosen to be mapped"):
        Columns(response="c", chosen_score="s", rejected_score="t")
    with pytest.raises(ValidationError, match="of chosen and rejected map chosen_score and"):
        Columns(chosen="c", rejected="r", scores="s")


def test_chosen_and_rejected(tmp_path):
    user, good, bad = (
        {"role": r, "content": c}
        for r, c in (("user", "p"), ("assistant", "g"), ("assistant", "b"))
    )
    labels = {"chosen": "chosen", "rejected": "rejected"}
    (plain,) = jsonl(
        tmp_path, {"prompt": "p", "chosen": "g", "rejected": "b", "m": 2}, **labels, margin="m"
    )
    assert plain["pairs"][0] | {} == {
        "chosen": 0, "rejected": 1, "margin": 2.0, "p_correct": None, "weight": None,
        "source": "label", "drop": None,
    }  # fmt: skip
    both = {"chosen": [user, good], "rejected": [user, bad]}
    (implicit,) = jsonl(tmp_path, both, prompt=None, **labels, label_source="hh")
    (explicit,) = jsonl(tmp_path, {"prompt": "p"} | both, **labels)
    for row in (plain, implicit, explicit):
        assert row["prompt"] == [user]
        assert [c["text"] for c in row["candidates"]] == ["g", "b"]
        assert "drop" not in row
    assert implicit["pairs"][0]["source"] == "hh"
    longer = {"chosen": [user, good, user, good], "rejected": [user, bad]}
    (row,) = jsonl(tmp_path, longer, prompt=None, **labels)
    assert row["drop"] == "chosen and rejected differ before the last answer"


def test_several_peoples_strengths_are_comparisons_by_a_judge_each(tmp_path):
    row = {"prompt": "p", "chosen": "g", "rejected": "b", "m": [2, -1, None]}
    columns = {"chosen": "chosen", "rejected": "rejected", "margins": "m"}
    (found,) = jsonl(tmp_path, row, **columns)
    got = [(j["judge"], j["a"], j["b"], j["score"], j["status"]) for j in found["judgments"]]
    assert got == [
        ("m#0", 0, 1, 2, "ok"), ("m#1", 0, 1, -1, "ok"), ("m#2", 0, 1, None, "parse_error"),
    ]  # fmt: skip
    assert found["pairs"][0]["margin"] is None
    assert jsonl(tmp_path, row | {"m": None}, **columns)[0]["judgments"] == []
    with pytest.raises(InputError, match="must be a list of numbers"):
        jsonl(tmp_path, row | {"m": 3}, **columns)
