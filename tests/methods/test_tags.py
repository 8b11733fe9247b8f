import numpy as np
import pytest

from curate.methods.tags import associated, covering_rounds, folded, once_each, read_tags


def flat(*rows):
    names = sorted({tag for row in rows for tag in row})
    row = np.repeat(np.arange(len(rows)), [len(tags) for tags in rows])
    tag = np.array([names.index(t) for tags in rows for t in tags], dtype=np.int64)
    return row, tag, names


def test_rows_are_taken_by_new_tags_round_after_round():
    # The worked numbers of InsTag's sampling: a{1,2,3} b{1,2} c{4} d{2,3} e{5,6}.
    row, tag, _ = flat([1, 2, 3], [1, 2], [4], [2, 3], [5, 6], [])
    order = np.array([0, 1, 3, 4, 2, 5])  # by number of tags: a, b, d, e, c
    turn = covering_rounds(order, row, tag, 6)
    assert turn.tolist() == [0, 1, 0, 1, 0, -1]
    taken = order[np.argsort(np.where(turn < 0, 9, turn)[order], kind="stable")]
    assert "".join("abcde"[r] for r in taken[:3]) == "aec"
    assert "".join("abcde"[r] for r in taken[:5]) == "aecbd"


def plain_rounds(order, rows):
    """The rounds as InsTag words them, one after another."""
    turn, left, number = [-1] * len(rows), [r for r in order if rows[r]], 0
    while left:
        seen: set[int] = set()
        for r in left:
            if set(rows[r]) - seen:
                seen |= set(rows[r])
                turn[r] = number
        left, number = [r for r in left if turn[r] < 0], number + 1
    return turn


@pytest.mark.parametrize("seed", range(20))
def test_all_rounds_at_once_are_the_rounds_one_by_one(seed):
    rng = np.random.default_rng(seed)
    rows = [rng.choice(8, rng.integers(0, 5), replace=False).tolist() for _ in range(60)]
    order = rng.permutation(60)
    row = np.repeat(np.arange(60), [len(r) for r in rows])
    tag = np.array([t for r in rows for t in r], dtype=np.int64)
    assert covering_rounds(order, row, tag, 60).tolist() == plain_rounds(order, rows)


def test_a_tag_becomes_the_one_that_it_always_comes_with():
    rows = [["maths", "sums"]] * 5 + [["maths"]] * 3 + [["poem", "sums"], ["poem", "verse"]] * 2
    row, tag, names = flat(*rows)
    named = [names[k] for k in associated(row, tag, len(names), 2, 0.7)]
    assert dict(zip(names, named, strict=True)) == {
        "maths": "maths",
        "poem": "poem",
        "sums": "maths",  # 5 of its 7 rows
        "verse": "poem",  # both of its rows
    }
    assert associated(row, tag, len(names), 3, 0.7).tolist() == [0, 1, 0, 3]
    assert associated(row, tag, len(names), 2, 0.99).tolist() == [0, 1, 2, 1]


def test_chains_end_in_one_tag_and_twins_in_the_first():
    rows = [["a", "b", "c"]] * 4 + [["b", "c"]] + [["c"]] * 2
    row, tag, names = flat(*rows)
    assert associated(row, tag, len(names), 1, 0.9).tolist() == [2, 2, 2]
    row, tag, names = flat(["a", "b"], ["b", "a"])
    row, tag = once_each(row, tag)
    assert associated(row, tag, 2, 1, 1.0).tolist() == [0, 0]
    nothing = np.zeros(0, dtype=np.int64)
    assert associated(nothing, nothing, 0, 1, 1.0).tolist() == []


def test_pairs_are_counted_alike_in_pieces(monkeypatch):
    rng = np.random.default_rng(0)
    rows = [rng.choice(9, rng.integers(0, 6), replace=False).tolist() for _ in range(200)]
    row, tag, names = flat(*rows)
    whole = associated(row, tag, len(names), 1, 0.51)
    monkeypatch.setattr("curate.methods.tags._PAIRS", 7)
    assert associated(row, tag, len(names), 1, 0.51).tolist() == whole.tolist()


def test_spelling():
    assert folded("  Creative_Writing!! ") == "creative writing"
    assert folded("question-answering") == folded("Question Answering")
    assert folded("C++") == "c++" != folded("C#")
    assert folded("\uff21\uff22") == "ab"
    assert folded("…") == ""


def test_reading():
    assert read_tags('{"tags": [" poem ", "a  b", "poem", ""]}', 9) == (["poem", "a b"], "ok")
    assert read_tags('{"tags": ["a", "b", "c"]}', 2) == (["a", "b"], "ok")
    assert read_tags('{"tags": []}', 9) == ([], "ok")
    assert read_tags('```json\n{"tags": ["a"]}\n```', 9) == (["a"], "ok")
    for bad in (
        '["a"]',
        '{"tags": "a"}',
        '{"tags": [1]}',
        '{"tags": ["...", "..."]}',
        '{"tags": ["a"]} {"tags": ["b"]}',  # two different lists are no answer
        '{"tags": ["a"], "tags": ["b"]}',
        '{"tags": ["' + "x" * 81 + '"]}',
        "The tags are a and b.",
        "",
    ):
        assert read_tags(bad, 9) == (None, "parse_error"), bad


def test_reading_one_of_a_few_tags():
    choices = {"real world use": "real-world use", "complexity": "complexity"}
    found = read_tags('{"tags": ["Real-World use", "complexity", "complexity"]}', 2, choices)
    assert found == (["real-world use", "complexity"], "ok")
    assert read_tags('{"tags": ["complexity", "beauty"]}', 2, choices) == (None, "parse_error")
