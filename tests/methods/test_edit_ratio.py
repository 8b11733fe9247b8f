import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from curate.methods.edit_ratio import above_ratio


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


@given(
    st.text("abcde \u00e9\u4e2d\U0001f469", max_size=60),
    st.lists(st.tuples(st.integers(0, 60), st.text("xyz a"))),
)
def test_the_ratio_is_that_of_the_longest_common_subsequence(one, edits):
    two = one
    for at, new in edits:
        two = two[:at] + new + two[at + (2 if len(new) % 2 else 0) :]
    for ratio in (0.3, 0.5, 0.8, 0.95, 0.99):
        expected = one != two and plain(one, two) > ratio
        assert above([one, two], [two, one], ratio).tolist() == [expected] * 2


def test_exactly_the_ratio_is_not_above_it():
    one, two = "x" * 19 + "a", "x" * 19 + "b"
    assert above([one, "x" + one], [two, "x" + two]).tolist() == [False, True]


def test_very_long_texts():
    long = "".join(f"sentence {k}. " for k in range(20_000))
    assert above([long + "a", "a" + long + "b"], [long + "b", "b" + long + "a"]).all()
    assert above([long], [long[::-1]]).tolist() == [False]
