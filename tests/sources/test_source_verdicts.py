"""Labels that say which of two answers is better, as Chatbot Arena and PandaLM have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from reading import jsonl

from curate.errors import InputError
from curate.sources.columns import Columns

TWO = {"chosen": "one", "rejected": "two"}


def row(**given: Any) -> dict[str, Any]:
    return {"prompt": "p", "one": "x", "two": "y", **given}


def told(found: dict[str, Any]) -> tuple[Any, ...]:
    (pair,) = found["pairs"]
    texts = [candidate["text"] for candidate in found["candidates"]]
    return texts[pair["chosen"]], texts[pair["rejected"]], pair["drop"]


@pytest.mark.parametrize(
    ("label", "chosen"),
    [
        ("model_a", "x"), ("model_b", "y"), ("A", "x"), (" b ", "y"), ("first", "x"),
        ("answer_b", "y"),
    ],
)  # fmt: skip
def test_the_label_says_which_is_chosen_and_the_answers_stay_where_they_are(
    tmp_path: Path, label: Any, chosen: str
) -> None:
    (found,) = jsonl(tmp_path, row(won=label), **TWO, label="won")
    assert told(found) == (chosen, "y" if chosen == "x" else "x", None)
    assert [candidate["text"] for candidate in found["candidates"]] == ["x", "y"]
    (judged,) = found["judgments"]
    assert (judged["judge"], judged["a"], judged["b"]) == ("won", 0, 1)
    assert (judged["score"], judged["status"]) == (1 if chosen == "x" else -1, "ok")
    assert found["meta"] == "{}"


@pytest.mark.parametrize(
    ("labels", "chosen", "why"),
    [
        (["a", "b", "b"], "y", None),
        (["a", "tie", "a"], "x", None),
        (["a", "?", None], "x", None),  # what cannot be read is no vote
        (["a", "tie", "tie"], None, "label is a tie"),
        (["a", "b", "tie"], None, "label is open: as many labels say something else"),
        (["a", "b", "?"], None, "label is open: as many labels say something else"),
        (["tie (bothbad)", "?", "?"], None, "label is a tie"),
        (["?", None, "7?"], None, "label cannot be read"),
    ],
)
def test_what_most_people_say_counts(
    tmp_path: Path, labels: list[Any], chosen: str | None, why: str | None
) -> None:
    names = ("l0", "l1", "l2")
    given = row(**dict(zip(names, labels, strict=True)))
    (found,) = jsonl(tmp_path, given, **TWO, label=names)
    assert told(found)[2] == why
    assert "drop" not in found  # both answers are there to be judged again
    assert chosen is None or told(found)[0] == chosen
    status = {"a": "ok", "b": "ok", "tie": "ok", "tie (bothbad)": "ok"}
    expected = [status.get(label, "parse_error") for label in labels]
    assert [judged["status"] for judged in found["judgments"]] == expected


@pytest.mark.parametrize("number", [1, 0, 2.0, "1", -2, "-3", 0.5, True])
def test_a_number_is_no_label_by_itself(tmp_path: Path, number: Any) -> None:
    """1 is the first answer of PandaLM's and of SHP's sets, the second where they count from 0."""
    said = "row 2: column 'won': a label is a, b or tie, not .*; say in `verdicts` what each means"
    with pytest.raises(InputError, match=said):
        jsonl(tmp_path, row(won="a"), row(won=number), **TWO, label="won")


@pytest.mark.parametrize(
    ("meant", "label", "expected"),
    [
        ({1: "a", 2: "b", 0: "tie"}, 2, ("y", "x", None)),  # PandaLM's
        ({1: "a", 0: "b"}, 0, ("y", "x", None)),  # SHP's
        ({1: "a", 0: "b"}, 0.0, ("y", "x", None)),
        ({"1": "a", "0": "b"}, "1", ("x", "y", None)),
        ({1: "a", 0: "b"}, 2, ("x", "y", "label cannot be read")),
        ({-2: "a", 0: "tie", 2: "b"}, 2, ("y", "x", None)),
        ({-2: "a", 0: "tie", 2: "b"}, -2, ("x", "y", None)),
        ({-2: "a", 0: "tie", 2: "b"}, 0, ("x", "y", "label is a tie")),
        ({True: "b", False: "a"}, True, ("y", "x", None)),
        ({"Left": "a"}, " left ", ("x", "y", None)),
    ],
)
def test_what_a_label_means_may_be_said(
    tmp_path: Path, meant: dict[Any, str], label: Any, expected: tuple[Any, ...]
) -> None:
    (found,) = jsonl(tmp_path, row(won=label), **TWO, label="won", verdicts=meant)
    assert told(found) == expected


def test_scores_models_and_reasons_follow_the_answer(tmp_path: Path) -> None:
    columns = {
        "label": "won", "chosen_score": "s1", "rejected_score": "s2",
        "chosen_model": "m1", "rejected_model": "m2",
    }  # fmt: skip
    given = row(won="b", s1=1, s2=4, m1="small", m2="large")
    (found,) = jsonl(tmp_path, given, **TWO, **columns)
    assert found["scores"] == [1, 4]
    assert [candidate["model"] for candidate in found["candidates"]] == ["small", "large"]
    assert told(found) == ("y", "x", None)
    (empty,) = jsonl(tmp_path, row(won="b", two=None), **TWO, label="won")
    assert told(empty)[2] == "chosen is null"
    (first,) = jsonl(tmp_path, row(won="b", one=" "), **TWO, label="won")
    assert told(first)[2] == "rejected is empty"


def test_labels_of_a_group_are_about_its_candidates(tmp_path: Path) -> None:
    rows = [row(won="a"), row(one="z", two="x", won="b"), row(one="y", two="z", won="tie")]
    (found,) = jsonl(tmp_path, *rows, **TWO, label="won", group="prompt")
    pairs = [(p["chosen"], p["rejected"], p["drop"]) for p in found["pairs"]]
    assert pairs == [(0, 1, None), (0, 2, None), (1, 2, "label is a tie")]
    judged = [(j["a"], j["b"], j["score"]) for j in found["judgments"]]
    assert judged == [(0, 1, 1), (2, 0, -1), (1, 2, 0)]


def test_a_label_that_is_no_column_or_fits_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column 'wom'; did you mean 'won'"):
        jsonl(tmp_path, row(won="a"), **TWO, label="wom")
    with pytest.raises(ValidationError, match="label needs chosen to be mapped"):
        Columns(response="r", label="won")
    with pytest.raises(ValidationError, match="verdicts needs label to be mapped"):
        Columns(**TWO, verdicts={"1": "a"})
    with pytest.raises(ValidationError, match="Input should be 'a', 'b' or 'tie'"):
        Columns.model_validate({**TWO, "label": "won", "verdicts": {1: "left"}})
    with pytest.raises(ValidationError, match="margin and label exclude each other"):
        Columns(**TWO, label="won", margin="m")
