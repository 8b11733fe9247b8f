import pytest

from curate.methods.steps import (
    Node,
    label_confidence,
    longest_known,
    path_of,
    step_labels,
    step_pairs,
    steps_of,
    tree,
)


@pytest.mark.parametrize(
    ("text", "by", "steps"),
    [
        ("a\n\n b \nc", "line", ["a", "b", "c"]),
        ("a\nb\n \nc\n", "paragraph", ["a\nb", "c"]),
        ("", "line", []),
        ("\n\n", "paragraph", []),
        ("one", "line", ["one"]),
    ],
)
def test_steps_are_lines_or_paragraphs(text, by, steps):
    assert [text[s.start : s.end] for s in steps_of(text, by)] == steps


def test_steps_are_compared_without_their_white_space():
    assert path_of("a  b\n\tc") == path_of("a b\nc") == ("a b", "c")


# Four solutions: two begin with a, of which one ends right; b never does; the last is unknown.
PATHS = [("a", "x", "1"), ("a", "y", "2"), ("b", "y", "2"), ("b", "z")]
RIGHT = [True, False, False, None]


def test_a_node_counts_the_solutions_through_it():
    nodes = tree(PATHS, RIGHT)
    assert nodes[()] == Node(3, 1)
    assert nodes["a",] == Node(2, 1)
    assert nodes["a", "y"] == Node(1, 0)
    assert nodes["b",] == Node(1, 0)
    assert ("b", "z") not in nodes
    assert nodes["a",].value == 0.5


@pytest.mark.parametrize(
    ("solution", "share", "min_tries", "labels"),
    [
        (0, 0.0, 5, [True, True, True]),  # one right ending proves every step of it
        (1, 0.0, 1, [True, False, False]),
        (1, 0.0, 2, [True, None, False]),  # one try is too few to call a step wrong
        (1, 0.5, 1, [False, False, False]),
        (2, 0.0, 2, [None, None, False]),
        (3, 0.0, 1, [False, None]),
    ],
)
def test_a_step_is_right_if_a_right_solution_begins_so(solution, share, min_tries, labels):
    nodes = tree(PATHS, RIGHT)
    assert step_labels(PATHS[solution], nodes, RIGHT[solution], share, min_tries) == labels


def test_the_beginning_of_a_longer_solution_is_not_kept_beside_it():
    t, f = True, False
    given = [
        (("a", "b", "c"), [t, t, f]),
        (("a", "b", "d"), [t, t, None]),  # known so far: a, b, which the first has
        (("a", "b", "c"), [t, t, f]),  # the first again
        (("e",), [None]),
        (("e", "g"), [f, f]),
        ((), []),
    ]
    assert longest_known(given) == [3, 0, 0, 0, 2, 0]


def test_pairs_part_where_the_solutions_do():
    (first, second) = step_pairs(PATHS, RIGHT)
    assert (first.chosen, first.rejected, first.shared) == (0, 2, 0)
    assert (first.better, first.worse) == (Node(2, 1), Node(1, 0))
    assert (second.chosen, second.rejected, second.shared) == (0, 1, 1)
    assert [p.shared for p in step_pairs(PATHS, RIGHT, at_least=0.5)] == [1]
    assert step_pairs(PATHS, RIGHT, min_tries=2) == []
    more = [*PATHS, ("b", "y", "4"), ("b", "2")]
    assert [p.rejected for p in step_pairs(more, [*RIGHT, False, False], min_tries=2)] == [2]
    assert step_pairs([], []) == []
    assert step_pairs([("a",), ("a",)], [True, False]) == []  # the same solution twice


def test_the_second_best_may_stand_against_the_best():
    paths = [("a", "1"), ("b", "1"), ("b", "2"), ("c", "3")]
    right = [True, True, False, False]
    worst, *_ = step_pairs(paths, right, at_most=1.0)
    second, *_ = step_pairs(paths, right, at_most=1.0, against="second")
    assert (worst.rejected, second.rejected) == (3, 2)


def test_a_rejected_step_is_the_first_wrong_one():
    paths = [("a", "b", "c"), ("a", "b", "d"), ("a", "x", "e"), ("y", "e")]
    right = [True, False, False, True]
    assert [(p.shared, p.rejected) for p in step_pairs(paths, right)] == [(1, 2), (2, 1)]
    assert [p.shared for p in step_pairs(paths, right, at_most=0.5)] == [0, 1, 2]


def test_equal_values_go_to_the_step_that_more_take():
    paths = [("a",), ("b", "1"), ("b", "2"), ("c",)]
    best, *_ = step_pairs(paths, [True, True, True, False])
    assert best.better == Node(2, 2)
    paths = [("a",), ("b",), ("c", "1"), ("c", "2")]
    worst, *_ = step_pairs(paths, [True, False, False, False])
    assert worst.worse == Node(2, 0)


def test_confidence_from_visits():
    assert label_confidence(6, 2) == 0.75
    assert label_confidence(2, 6) == 0.25
    assert min(1 - label_confidence(6, 2), 0.5) == 0.25
    assert min(1 - label_confidence(2, 6), 0.5) == 0.5
    assert label_confidence(0, 0) is None
    assert label_confidence(0, 3) == 0.25
