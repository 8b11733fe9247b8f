import numpy as np
import pyarrow as pa
import pytest

from curate.arrays import structs
from curate.errors import StageError
from curate.schema import CANDIDATE, CANDIDATES, PAIRS
from curate.stage import Context
from curate.stages.pairing import AllPairs, BestWorst


def view(*rows, texts=None, drops=None):
    candidates = []
    for k, row in enumerate(rows):
        text = texts[k] if texts else [f"t{i}" for i in range(len(row))]
        drop = drops[k] if drops else None
        candidates.append(structs(CANDIDATE, len(row), text=text, drop=drop).to_pylist())
    scores = pa.array(rows, pa.list_(pa.float32()))
    return pa.table({"candidates": pa.array(candidates, CANDIDATES), "scores": scores})


def run(stage, table):
    result = stage.apply(table, Context())
    assert result["pairs"].type == PAIRS
    found = [[(p["chosen"], p["rejected"]) for p in row] for row in result["pairs"].to_pylist()]
    return found, result["drop"].to_pylist(), result["pairs"].to_pylist()


def test_the_workflow_card_gives_the_first_best_and_the_margin():
    pairs, drop, full = run(BestWorst(), view([0.2, 0.9, 0.9, -1]))
    assert pairs == [[(1, 3)]]
    assert drop == [None]
    assert full[0][0]["margin"] == pytest.approx(1.9)
    assert full[0][0]["source"] == "best_worst"
    assert full[0][0]["p_correct"] is None


def test_rows_without_a_pair_say_why():
    _, drop, full = run(BestWorst(), view([2, 2, 2], [1], [], [None, 3, None], [1, 2]))
    few = "no pair: fewer than two scored candidates"
    assert drop == ["no pair: all scores equal", few, few, few, None]
    assert full[:4] == [[]] * 4


def test_dropped_and_textless_candidates_and_null_scores_are_skipped():
    table = view(
        [9, 5, None, 3, 1],
        texts=[["a", "b", "c", "d", None]],
        drops=[["bad", None, None] + [None] * 2],
    )
    assert run(BestWorst(), table)[0] == [[(1, 3)]]
    assert run(AllPairs(), table)[0] == [[(1, 3)]]


def test_identical_texts_are_never_paired():
    table = view([3, 2, 1], [3, 1], texts=[["a", "b", "a"], ["é", "é"]])
    pairs, drop, _ = run(BestWorst(), table)
    assert pairs == [[], []]
    assert drop == ["no pair: identical texts"] * 2
    assert run(AllPairs(), table)[0] == [[(0, 1), (1, 2)], []]


def test_all_pairs_is_strict_as_in_coig_p():
    pairs, drop, full = run(AllPairs(at_least=2), view([8, 6, 5, 6], [3, 1], [1, 1]))
    assert pairs == [[(0, 2)], [], []]
    assert full[0][0]["margin"] == 3
    gap = "no pair: no score gap above 2.0 between different texts"
    assert drop == [None, gap, "no pair: all scores equal"]


def test_all_pairs_of_the_constraint_card_are_five():
    expected = [(0, 1), (0, 2), (0, 3), (1, 3), (2, 3)]
    assert run(AllPairs(), view([1, 0.5, 0.5, 0]))[0] == [expected]


def test_a_gap_equal_up_to_float32_rounding_is_not_above():
    assert run(AllPairs(at_least=1), view([13 / 3, 10 / 3]))[0] == [[]]


def test_most_keeps_the_largest_margins_and_the_first_of_equal_ones():
    stage = AllPairs(most=2)
    assert run(stage, view([1, 0.5, 0.5, 0], [1, 2]))[0] == [[(0, 1), (0, 3)], [(1, 0)]]


def test_many_rows_agree_with_a_plain_loop():
    rng = np.random.default_rng(1)
    rows = [rng.integers(0, 4, rng.integers(0, 6)).astype(float).tolist() for _ in range(300)]
    expected = [
        [(i, j) for i in range(len(r)) for j in range(len(r)) if r[i] - r[j] > 1] for r in rows
    ]
    assert run(AllPairs(at_least=1), view(*rows))[0] == expected
    best = [[(r.index(max(r)), r.index(min(r)))] if r and max(r) > min(r) else [] for r in rows]
    assert run(BestWorst(), view(*rows))[0] == best


def test_scores_not_aligned_with_candidates_are_an_error():
    table = view([1, 2]).set_column(1, "scores", pa.array([[1.0]], pa.list_(pa.float32())))
    with pytest.raises(StageError, match="2 candidates but 1 scores"):
        run(BestWorst(), table)


def with_ids(table):
    return table.append_column("id", pa.array([f"r{i}" for i in range(len(table))]))


def test_the_best_against_every_lower_one_is_a_curriculum():
    pairs, _, full = run(AllPairs(chosen="best"), view([5, 4, 3, 2], [1, 3, 3]))
    assert pairs == [[(0, 1), (0, 2), (0, 3)], [(1, 0)]]
    assert [p["margin"] for p in full[0]] == [1, 2, 3]


def test_the_widest_pair_is_best_against_worst():
    rng = np.random.default_rng(2)
    table = view(*[rng.normal(size=5).tolist() for _ in range(50)])
    assert run(AllPairs(most=1), table)[0] == run(BestWorst(), table)[0]


def test_ranks_apart_counts_distinct_scores():
    stage = AllPairs(ranks_apart=2)
    pairs, drop, _ = run(stage, view([4, 3, 3, 1], [4, 3, 3], [2, None, 3, 1]))
    assert pairs == [[(0, 3)], [], [(2, 3)]]
    assert drop[1] == "no pair: no score gap above 0.0 2 ranks apart between different texts"


def test_a_random_lower_answer_is_drawn_evenly_and_by_the_rows_id_alone():
    stage = AllPairs(chosen="best", most=1, pick="random")
    assert "id" in stage.needed()
    assert "id" not in AllPairs().needed()
    table = with_ids(view(*[[3, 1, 2, 0]] * 3000))
    pairs = run(stage, table)[0]
    assert {p[0][0] for p in pairs} == {0}
    share = np.bincount([p[0][1] for p in pairs], minlength=4) / 3000
    assert share[1:] == pytest.approx([1 / 3] * 3, abs=0.03)
    assert run(stage, table.slice(100, 50))[0] == pairs[100:150]
    other = stage.apply(table, Context(seed=1))["pairs"].to_pylist()
    assert [[(p["chosen"], p["rejected"]) for p in row] for row in other] != pairs
    assert stage.seeded
