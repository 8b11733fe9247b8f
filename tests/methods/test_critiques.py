import json

import pytest

from curate.methods.critiques import argument_f1, matched, read_f1


def test_two_of_three_arguments_on_both_sides_are_shared():
    first, second = ["a", "b", "c"], ["b", "c", "d"]
    same = [(i, j) for i, x in enumerate(first) for j, y in enumerate(second) if x == y]
    assert argument_f1(3, 3, matched(same)) == pytest.approx(2 / 3)


def test_an_argument_counts_once():
    assert matched([(1, 1), (2, 1), (3, 1)]) == 1
    assert matched([(1, 1), (1, 2), (2, 1)]) == 2  # 1 must leave its first choice to 2
    assert matched([(1, 1), (1, 2), (2, 1), (3, 2), (3, 3)]) == 3
    assert matched([]) == 0
    assert argument_f1(0, 3, 0) == 0.0
    assert argument_f1(1, 4, 1) == pytest.approx(0.4)


def said(first, second, same):
    return json.dumps({"first": first, "second": second, "same": same})


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        (said(["a", "b", "c"], ["b", "c", "d"], [[2, 1], [3, 2]]), (2 / 3, "ok")),
        ("```json\n" + said(["a"], ["a"], [[1, 1], [1, 1]]) + "\n```", (1.0, "ok")),
        (said(["a"], [], []), (0.0, "ok")),
        (said([], [], []), (None, "parse_error")),
        (said(["a"], ["b"], [[1, 2]]), (None, "parse_error")),
        (said(["a"], ["b"], [[0, 1]]), (None, "parse_error")),
        (said(["a"], ["b"], [[True, 1]]), (None, "parse_error")),
        (said(["a"], ["b"], [[1]]), (None, "parse_error")),
        (said(["..."], ["b"], []), (None, "parse_error")),
        (said(["a"] * 41, ["b"], []), (None, "parse_error")),
        ('{"first": ["a"], "second": ["b"]}', (None, "parse_error")),
        ("Both say a.", (None, "parse_error")),
        ("I cannot compare these.", (None, "refused")),
    ],
)
def test_lists_of_arguments_are_read_whole_or_not_at_all(text, reading):
    value, status = read_f1(text)
    assert status == reading[1]
    assert value == pytest.approx(reading[0])
