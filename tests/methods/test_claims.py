import math

import numpy as np
import pytest

from curate.methods.claims import (
    Claim,
    agreement,
    answer_groups,
    certainty,
    claim_score,
    read_claims,
    short_form,
)

ONE = '{"claim": "Bern is a capital.", "question": "What is Bern?", "answer": "a capital"}'


def groups(*counts):
    """Samples of one claim whose groups are so large."""
    group = np.repeat(np.arange(len(counts)), counts)
    return np.zeros(len(group), dtype=np.int64), group


@pytest.mark.parametrize(
    ("measure", "value"), [("largest", 0.6), ("collision", 0.445), ("entropy", -0.937637)]
)
def test_twelve_five_and_three_of_twenty(measure, value):
    assert certainty(*groups(12, 5, 3), 1, measure)[0] == pytest.approx(value, abs=1e-6)


def test_claims_are_apart_and_one_without_samples_has_no_value():
    claim = np.array([2, 0, 0, 2, 2, 0])
    group = np.array([0, 0, 1, 0, 2, 0])
    found = certainty(claim, group, 3)
    assert found[[0, 2]] == pytest.approx([2 / 3, 2 / 3])
    assert math.isnan(found[1])
    assert math.isnan(agreement(claim, group == 0, 3)[1])
    assert agreement(claim, group == 0, 3)[[0, 2]] == pytest.approx([2 / 3, 2 / 3])
    none = np.zeros(0, dtype=np.int64)
    assert len(certainty(none, none, 0)) == 0


def test_not_to_know_is_alike_to_nothing():
    assert answer_groups(["a", None, "a", None, "b"]).tolist() == [0, 1, 0, 2, 3]
    assert certainty(np.zeros(4, dtype=np.int64), answer_groups([None] * 4), 1)[0] == 0.25


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("The Eiffel Tower.", "eiffel tower"), ("eiffel  TOWER\nin Paris", "eiffel tower"),
        ("1,000 km", "1 000 km"), ("A", "a"), ("<think>hm</think>Bern", "bern"),
        ("<think>Bern", None), ("", None), ("...", None), ("Unknown.", None),
        ("I don't know when it was.", None), ("I cannot help with that.", None),
        ("Unknown Soldier", "unknown soldier"), ("\u212b", "\u00e5"),
    ],
)  # fmt: skip
def test_short_answers_that_say_the_same_read_the_same(text, form):
    assert short_form(text) == form


@pytest.mark.parametrize(
    ("text", "question", "form"),
    [
        ("The capital of Australia is Canberra.", "What is the capital of Australia?", "canberra"),
        ("Canberra", "What is the capital of Australia?", "canberra"),
        ("Not Canberra", "What is the capital of Australia?", "not canberra"),
        ("Paris", "Which is larger, Paris or Rome?", "paris"),
        ("It is Rome.", "Which is larger, Paris or Rome?", "rome"),
        ("In 1889", "When was it built?", "in 1889"),
    ],
)
def test_the_words_of_the_question_say_nothing(text, question, form):
    assert short_form(text, question) == form


def test_a_list_of_claims_is_read_whole_or_not_at_all():
    claim = Claim("Bern is a capital.", "What is Bern?", "a capital")
    assert read_claims(f'{{"claims": [{ONE}]}}', 9) == ([claim], "ok")
    assert read_claims(f'```json\n{{"claims": [{ONE}, {ONE}]}}\n```', 1) == ([claim], "ok")
    assert read_claims('{"claims": []}', 9) == ([], "ok")
    again = ONE.replace('"a capital"', '"another"')
    assert read_claims(f'{{"claims": [{ONE}, {again}]}}', 9) == ([claim], "ok")  # made once
    holes = (
        '{"claims": [{"claim": "a", "question": "b"}]}', '{"claims": {}}', '{"claims": [1]}',
        '{"claims": [{"claim": "...", "question": "b", "answer": "c"}]}', "Bern.", "",
    )  # fmt: skip
    for text in holes:
        assert read_claims(text, 9) == ([], "parse_error"), text
    assert read_claims("I cannot help with that.", 9) == ([], "refused")
    assert read_claims("<think>", 9) == ([], "truncated")


def test_an_answer_is_worth_the_mean_of_its_claims():
    owner, value = np.array([0, 0, 2, 2, 3]), np.array([1.0, 0.5, 0.2, np.nan, np.nan])
    found = claim_score(owner, value, 4)
    assert found[[0, 2]] == pytest.approx([0.75, 0.2])
    assert np.isnan(found[[1, 3]]).all()
    assert claim_score(owner, value, 4, at_least=0.5)[[0, 2]] == pytest.approx([1.0, 0.0])
