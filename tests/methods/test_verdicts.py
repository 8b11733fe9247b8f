import math
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curate.methods.verdicts import (
    expected_score,
    pair_grade,
    pair_outcome,
    pair_verdict,
    rubric_score,
    slight_wins_tied,
    swap_consistent,
)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Good and clear. [RESULT] 4", 4),
        ("Fine.\nScore: 4", 4),
        ("Fine.\nScore: 4/5", 4),
        ("Fine.\nScore: 4 out of 5.", 4),
        ("Fine.\n**Score:** 3", 3),
        ("Fine.\n**Score: 3**", 3),
        ("Rating: [2]", 2),
        ("score = 3.5", 3.5),
        ("4", 4),
        (" 5\n", 5),
        ("<think>Score: 1</think>\nScore: 2", 2),
        ("Score: 1 at first, yet in the end Score: 5", 5),
    ],
)
def test_scores_that_are_read(text, score):
    assert rubric_score(text, 1, 5) == (score, "ok")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("[RESULT] 6", "parse_error"),
        ("Score: 0", "parse_error"),
        ("6", "parse_error"),
        ("4 [RESULT] 3 because", "parse_error"),
        ("Score: 4\nThank you", "parse_error"),
        ("Score: 4/10", "parse_error"),
        ("Score: [4", "parse_error"),
        ("Score: 4)", "parse_error"),
        ("underscore: 4", "parse_error"),
        ("Score: -4", "parse_error"),
        ("Score: 44", "parse_error"),
        ("", "parse_error"),
        ("I would say four.", "parse_error"),
        ("<think>maybe\nScore: 4", "truncated"),
        ("</think><think>Score: 4", "truncated"),
        ("I'm sorry, but I cannot rate this answer.", "refused"),
    ],
)
def test_what_is_not_a_score_is_a_status(text, status):
    assert rubric_score(text, 1, 5) == (None, status)


MARKED = r"(<think>|</think>|Score: ?|\[RESULT\] ?|\d|/5|\n|[A-C\[\] ]){0,12}"


@given(st.text() | st.from_regex(MARKED) | st.from_regex(MARKED, fullmatch=True))
@example("3 of 9.\nScore: 4/5 [[B]]")
def test_parsers_never_raise_and_never_invent(text):
    score, status = rubric_score(text, 1, 5)
    assert (score is None) == (status != "ok")
    if score is not None:
        assert 1 <= score <= 5
        assert score in [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]
    verdict, state = pair_outcome(text)
    assert verdict in ("A", "B", "tie", None)
    assert (verdict is None) == (state != "ok")


@given(st.text(alphabet=st.characters(exclude_categories=["Nd"])))
def test_a_text_without_digits_has_no_score(text):
    assert rubric_score(text, 1, 5)[0] is None


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("A is vivid.\n[[A]]", "A"),
        ("At first [[A]] seemed right, but [[B]]", None),
        ("[[A]] or [[B]]?\nBoth fit. [[B]]", "B"),
        ("My final verdict: **tie**", "tie"),
        ("Verdict: Answer B", "B"),
        ("tie", "tie"),
        ("[[A]] would be wrong here.\nVerdict: B", "B"),
        ("[[tie]]", "tie"),
        ("[[C]]", "tie"),
        ("**[[b]]**", "B"),
        ("B", "B"),
        ("Verdict: [A]", "A"),
        ("[[A]]\nand more text", None),
        ("Answer: A bit better", None),
        ("**Winner: A**.", "A"),
        ("both are good", None),
        ("<think>[[A]]", None),
        ("<think>[[A]]</think>[[B]]", "B"),
        # Of questions with several choices, whose letters are no verdicts.
        ("Both pick the right letter. The key is:\nC", None),
        ("The key is:\nA", None),
        ("Both answers are wrong; the correct answer: A", None),
        ("Both answers are wrong.\nThe correct answer: A", None),
        ("Neither is right.\nAnswer: B", None),
        ("Neither is right.\nResult = B", None),
        ("**Correct answer:** B", None),
        ("The answer to the question is\n**C**.", None),
        ("C", None),
        ("C.", None),
        ("Option A", None),
        ("So the winner: A", None),
        ("The judge said verdict: B", None),
        ("Verdict: [A", None),
        ("Verdict: C", None),
        ("Verdict: neither", None),
        ("Verdict: A or B", None),
        ("Not [[A]], and not [[B]]", None),
    ],
)
def test_pair_verdicts(text, verdict):
    assert pair_verdict(text) == verdict


def test_expected_score_worked_number():
    mean, std, mass = expected_score([-4, -2, -1, -0.9, -3], [1, 2, 3, 4, 5])
    assert mass == pytest.approx(0.977887, abs=1e-6)
    assert mean == pytest.approx(3.341734, abs=1e-6)
    assert std**2 == pytest.approx(0.715948, abs=1e-6)


def test_expected_score_of_nothing_is_not_a_number():
    rows = [[-math.inf] * 2, [math.nan, -1.0], [0.5, -1.0], [-0.1, -0.1], [0.0, -math.inf]]
    mean, std, mass = expected_score(rows, [1, 2])
    assert np.isnan(mean[:4]).all()
    assert np.isnan(std[:4]).all()
    assert mass.tolist() == [0, 0, 0, 0, 1]
    assert (mean[4], std[4]) == (1, 0)


def test_swap_consistency_worked_number():
    # Mapped winners of (ab, ba): 1 is a, 2 is b, t a tie.
    table = [(1, 1), (1, -1), (-1, -1), (-1, 1), (0, 0), (1, 1), (1, -1), (1, -1)]
    assert swap_consistent(table) == (0.5, 3 / 8, 1 / 8)
    flipped = [(-ab, -ba) for ab, ba in table]
    assert swap_consistent(flipped) == (0.5, 1 / 8, 3 / 8)
    assert swap_consistent([]) is None


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("Fine.\n[[A>>B]]", 1.0),
        ("[[a>b]]", 0.5),
        ("[A=B]", 0.0),
        ("[[A>B]] at first, but [[B>A]]", -0.5),
        ("**[[B>>A]]**", -1.0),
        ("[[A>>B]]\nand so on", None),
        ("A>B", None),
        ("[[A>>>B]]", None),
        ("[[A>A]]", None),
        ("<think>[[A>B]]", None),
    ],
)
def test_five_grades(text, grade):
    assert pair_grade(text)[0] == grade


def test_five_grade_margin_worked_numbers():
    """The mean over both orders, b's order turned round, is Arena-Hard's (g_ab - g_ba) / 4."""
    much, swapped = pair_grade("[[A>>B]]")[0], pair_grade("[[B>>A]]")[0]
    assert (much - swapped) / 2 == 1.0
    slight = pair_grade("[[A>B]]")[0]
    assert (slight - slight) / 2 == 0.0


def test_length_rule_worked_numbers():
    scores = [0.5, 0.5, 1.0, -0.5, -0.5, 0.0, math.nan]
    longer = [1601 - 1100, 1600 - 1100, 9999 - 1, -501, 501, 9999, 9999]
    tied = slight_wins_tied(scores, longer, 500)
    assert tied[:6].tolist() == [0, 0.5, 1, 0, -0.5, 0]
    assert math.isnan(tied[6])
