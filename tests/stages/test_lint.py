import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from curate.methods.lint_checks import (
    ENOUGH,
    ERRORS,
    FINDINGS,
    PairTexts,
    always_wins,
    facts,
    findings,
    leaning,
)
from curate.schema import CANDIDATES, PAIRS, PROMPT
from curate.stage import Context
from curate.stages.lint import Lint


def found_in(*pairs, **more):
    """The findings of (prompt, chosen, rejected) rows, by name, as lists of row numbers."""
    columns = (pa.array(values, pa.large_string()) for values in zip(*pairs, strict=True))
    masks = findings([facts(PairTexts(*columns, **more))])
    assert list(masks) == list(FINDINGS)
    return {name: np.flatnonzero(mask).tolist() for name, mask in masks.items() if mask.any()}


def answer(text):
    return set(found_in(("Why?", text, "Because of the tides."))) - {"prefix_pair"}


def test_a_sound_set_has_no_findings():
    assert found_in(("a?", "Yes, it is.", "No."), ("b?", "It was Tuesday.", "Who knows?")) == {}
    assert findings([]).keys() == FINDINGS.keys()


def test_texts_that_are_the_same_empty_or_the_beginning_of_the_other():
    rows = [
        ("a?", " same\n", "same"), ("b?", None, "text"), ("c?", "text", " \n"),
        ("d?", "a b", "a b c"),
        ("e?", "a long answer indeed", "a long answer"), ("", "one", "two"), ("f?", "x", "y"),
    ]  # fmt: skip
    assert found_in(*rows) == {
        "empty_response": [1, 2],
        "identical_pair": [0],
        "empty_prompt": [5],
        "prefix_pair": [3, 4],
    }


def test_answers_that_hardly_differ_are_told_from_equal_ones():
    long = "The tide follows the moon, which pulls at the sea."
    other = long.replace("moon", "Moon")
    rows = [("a?", long, other), ("b?", long, long), ("c?", "2+3", "2+4"), ("d?", "No.", "So.")]
    assert found_in(*rows) == {"identical_pair": [1], "near_identical_pair": [0]}


def test_answers_in_two_languages_are_told():
    german = "Das ist der Mond, der mit der Sonne an dem Meer zieht und die Flut macht."
    english = "It is the moon that pulls at the sea with the sun and makes the tide."
    found = found_in(("a?", english, german), ("b?", english, english + " Really."))
    assert found["language_mismatch"] == [0]


def test_contradictions_and_duplicates_are_of_one_prompt():
    rows = [
        ("a?", "one", "two"), ("a?", "two", "one "), ("b?", "two", "one"), ("a?", "one", "two"),
    ]  # fmt: skip
    found = found_in(*rows)
    assert found["contradictory_pair"] == [0, 1, 3]
    assert found["duplicate_pair"] == [3]


def test_an_answer_is_repeated_where_three_prompts_share_it():
    rows = [(f"{i}?", f"answer {i}", "It depends.") for i in range(3)]
    assert found_in(*rows)["repeated_response"] == [0, 1, 2]
    assert "repeated_response" not in found_in(*rows[:2], rows[1])


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.", "I cannot assist with this request.",
        "As an AI language model, I cannot browse.", "Sorry, I can\u2019t do that.",
        "I am unable to provide this.", "Unfortunately, I won't write that.",
        "I apologize, but I am not able to share it.", "As an AI developed by X, I can't.",
    ],
)  # fmt: skip
def test_refusals(text):
    assert answer(text) == {"refusal", "refusal_preferred"}


@pytest.mark.parametrize(
    "text",
    [
        "I can't recommend this book enough.", "I'm sorry to hear that. Rest and drink water.",
        "You cannot divide by zero.", "Sorry about the mix-up! Here is the table.",
        "As an AI, I have no body, but here is how people dance.",
    ],
)  # fmt: skip
def test_what_only_sounds_like_a_refusal(text):
    expected = {"refusal", "refusal_preferred"} if text.startswith("I can't recommend") else set()
    assert answer(text) == expected  # the first one is a known false alarm


def test_a_refusal_counts_as_preferred_only_where_the_other_answers():
    rows = [("a?", "I cannot help.", "I can't help."), ("b?", "Sure: 4.", "I won't help.")]
    found = found_in(*rows)
    assert found["refusal"] == [0, 1]
    assert "refusal_preferred" not in found


@pytest.mark.parametrize(
    "text",
    [
        "It begins well. Then we go on and on about the", "First, mix the flour,",
        "Code:\n```python\nprint(1)", "The sun rises. The sun sets over the western hills",
        "A list (of",
    ],
)  # fmt: skip
def test_truncated(text):
    assert answer(text) == {"truncated"}


def test_an_answer_without_a_stop_is_cut_where_the_other_has_one():
    long = "Paris lies on both banks of the river which they call"
    assert found_in(("a?", long, "It is Paris."))["truncated"] == [0]
    assert found_in(("a?", "It is Paris.", long))["truncated"] == [0]
    assert "truncated" not in found_in(("a?", long, "It is Paris"))
    assert "truncated" not in found_in(("a?", "A Warm Welcome to All of Our Dear Guests", "Hi."))


@pytest.mark.parametrize(
    "text",
    [
        "42", "Paris", "The answer is A", "Yes, I can", "That is what it is", "Vitamin A",
        "- one\n- two", "1. A. Smith\n2. Uptown Song by B. Jones feat. Mars",
        "```\nx = 1\n```", "The total is\nA: 26", "| a. b | c d |", "It is so.", "x + y",
    ],
)  # fmt: skip
def test_not_truncated(text):
    assert answer(text) == set()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Fine.<|im_end|>", "special_tokens"), ("[INST] Hi.", "special_tokens"),
        ("A\x00b.", "control_characters"), ("zero\u200bwidth.", "control_characters"),
        ("It is so.\n\nHuman: and now?", "role_marker"), ("So it is. [[A]]", "verdict_syntax"),
        ("Good. [RESULT] 5", "verdict_syntax"),
    ],
)  # fmt: skip
def test_what_does_not_belong_into_an_answer(text, name):
    assert answer(text) == {name}


def test_family_emoji_and_comparison_signs_are_fine():
    assert answer("a < b | c > d, says \U0001f468\u200d\U0001f469.") == set()


def test_a_set_leans_only_where_there_is_enough_of_it():
    side = np.r_[np.ones(ENOUGH), -np.ones(10), np.full(5, np.nan)]
    assert leaning(side, 0.75).sum() == ENOUGH
    assert leaning(-side, 0.75).sum() == ENOUGH
    assert not leaning(side, 0.9).any()
    assert not leaning(side[:20], 0.1).any()


def test_one_model_wins_all_its_rows():
    winner = pa.array(["a"] * 30 + ["b"] * 15 + ["c"] * 15 + ["a"])
    loser = pa.array(["b"] * 30 + ["c"] * 15 + ["b"] * 15 + ["a"])
    assert np.flatnonzero(always_wins(winner, loser)).tolist() == list(range(30))
    assert not always_wins(pa.nulls(3, pa.string()), pa.nulls(3, pa.string())).any()


def test_batches_do_not_change_what_is_found():
    rows = [(f"{i % 10}?", f"no. {i // 10 % 3}!", f"no. {i // 30 % 3}!") for i in range(200)]
    columns = [pa.array(values, pa.large_string()) for values in zip(*rows, strict=True)]
    whole = findings([facts(PairTexts(*columns))])
    parts = [facts(PairTexts(*(c.slice(k, 30) for c in columns))) for k in range(0, 200, 30)]
    assert all((findings(parts)[name] == mask).all() for name, mask in whole.items())
    assert whole["identical_pair"].any()
    assert whole["contradictory_pair"].any()


def rows(*texts):
    """One row a list of candidate texts, with the pairs (0, 1) and (2, 1) where there are three."""
    pairs = [[{"chosen": 2 * k, "rejected": 1} for k in range(len(row) - 1)] for row in texts]
    prompts = [[{"role": "user", "content": f"{i}?"}] for i in range(len(texts))]
    return pa.table(
        {
            "prompt": pa.array(prompts, PROMPT),
            "candidates": pa.array([[{"text": t} for t in row] for row in texts], CANDIDATES),
            "pairs": pa.array(pairs, PAIRS),
        }
    )  # fmt: skip


def test_the_stage_names_findings_and_drops_errors():
    table = rows(["Good.", "Bad."], ["Same.", "Same."], ["One.", "Same.", "I can't say."], [])
    context = Context()
    result = Lint().apply(table, context)
    assert result["lint"].to_pylist() == [
        [""],
        ["identical_pair"],
        ["", "refusal, refusal_preferred"],
        [],
    ]
    drops = [[p["drop"] for p in row] for row in result["pairs"].to_pylist()]
    assert drops == [[None], ["identical pair"], [None, None], []]
    assert result["drop"].to_pylist() == [None, "identical pair", None, None]
    assert context.counts["identical_pair"] == 1
    strict = Lint(drop=("refusal",)).apply(table, Context())
    assert [[p["drop"] for p in row] for row in strict["pairs"].to_pylist()][2] == [None, "refusal"]


def test_the_stage_leaves_earlier_reasons_and_their_pairs_alone():
    table = rows(["Same.", "Same."])
    gone = pa.array([[{"chosen": 0, "rejected": 1, "drop": "old"}]], PAIRS)
    result = Lint().apply(table.set_column(2, "pairs", gone), Context())
    assert result["pairs"].to_pylist()[0][0]["drop"] == "old"
    assert result["lint"].to_pylist() == [[""]]


def test_how_the_rows_are_cut_into_chunks_changes_nothing():
    table = rows(
        *([f"Good {k}.", f"Bad {k}.", f"I can't say {k}."] for k in range(9)), ["Same.", "Same."]
    )
    parts = pa.concat_tables([table.slice(k, 3) for k in range(0, 10, 3)])
    one, two = Lint().apply(table, Context()), Lint().apply(parts, Context())
    assert one["lint"].to_pylist()[0] == ["", "refusal, refusal_preferred"]
    assert all(one[name].equals(two[name]) for name in one)


def test_the_readme_names_every_finding_on_its_side():
    text = (Path(__file__).parents[2] / "README.md").read_text()
    errors, warnings = (
        text.split("finds, as **errors**")[1].split("The stage `lint`")[0].split("as **warnings**")
    )
    assert set(re.findall(r"`([a-z_]+)`", errors)) == ERRORS
    assert set(re.findall(r"`([a-z_]+)`", warnings)) == set(FINDINGS) - ERRORS


def test_an_unknown_finding_is_refused():
    with pytest.raises(ValidationError, match="did you mean 'refusal'"):
        Lint(drop=("refusals",))
    with pytest.raises(ValidationError, match="about the set"):
        Lint(drop=("length_skew",))
