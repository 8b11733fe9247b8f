import difflib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.methods import edit_ratio as module
from curate.methods.edit_ratio import above_ratio, edit_ratio


def above(one, two, ratio=0.95):
    columns = [pa.array(texts, pa.large_string()) for texts in (one, two)]
    return above_ratio(*columns, ratio, [np.array([len(t) for t in c]) for c in (one, two)])


def plain(one, two):
    """The ratio by the table of every two beginnings."""
    row = [0] * (len(two) + 1)
    for a in one:
        new = [0]
        for k, b in enumerate(two):
            new.append(row[k] + 1 if a == b else max(new[k], row[k + 1]))
        row = new
    return 2 * row[-1] / (len(one) + len(two)) if one or two else 1.0


@pytest.mark.parametrize(
    ("one", "two", "ratio"),
    [("", "", 1.0), ("", "a", 0.0), ("abcd", "bcde", 0.75), ("abc", "abc", 1.0), ("ab", "ba", 0.5),
     ("\U0001f469a", "\U0001f469b", 0.5)],
)  # fmt: skip
def test_the_ratio_of_small_texts(one, two, ratio):
    assert edit_ratio(one, two) == ratio


texts = st.text("ab \u00e9\u4e2d", max_size=40)


@given(texts, texts)
def test_the_ratio_is_that_of_the_longest_common_subsequence(one, two):
    assert edit_ratio(one, two) == plain(one, two)
    matched = difflib.SequenceMatcher(None, one, two, autojunk=False).ratio()
    assert edit_ratio(one, two) >= matched - 1e-12  # its blocks are one common subsequence


@given(st.text("abcdefgh ", max_size=80), st.lists(st.tuples(st.integers(0, 80), st.text("xyz a"))))
def test_what_is_told_beforehand_is_what_the_ratio_says(one, edits):
    two = one
    for at, new in edits:
        two = two[:at] + new + two[at + (2 if len(new) % 2 else 0) :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHECKED", 4)  # tell it by the runs for all but the shortest
        for ratio in (0.3, 0.5, 0.8, 0.95, 0.99):
            expected = one != two and edit_ratio(one, two) > ratio
            assert above([one, two], [two, one], ratio).tolist() == [expected] * 2


def test_exactly_the_ratio_is_not_above_it():
    one, two = "x" * 19 + "a", "x" * 19 + "b"
    assert edit_ratio(one, two) == 0.95
    assert above([one, "x" + one], [two, "x" + two]).tolist() == [False, True]


def test_of_very_long_texts_only_what_differs_counts(monkeypatch):
    long = "".join(f"sentence {k}. " for k in range(20_000))
    assert above([long + "a"], [long + "b"]).tolist() == [True]
    assert above(["a" + long + "b"], ["b" + long + "a"]).tolist() == [False]  # not looked at
    monkeypatch.setattr(module, "LONGEST", 10)
    assert above(["a" + "x" * 30 + "b"], ["x" * 31]).tolist() == [False]
