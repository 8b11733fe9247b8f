from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.arrays import structs
from curate.errors import StageError
from curate.schema import CANDIDATE, CANDIDATES, PAIRS
from curate.stage import Context
from curate.stages.pairing import AllPairs, BestWorst, gap_confirmation

DATA = Path(__file__).parents[2] / "../shared/data/prometheus_gpt4x3/responses.parquet"


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


def test_gap_confirmation_counts_strict_agreement_and_refuses_to_divide_by_nothing():
    scores = [[[5, 4, 4], [3, 3, 4], [3, 4, 4]]]  # gaps of 2: confirmed, and a tie
    assert gap_confirmation(scores, 2) == 0.5
    with pytest.raises(ValueError, match="no pair"):
        gap_confirmation(scores, 3)
    with pytest.raises(ValueError, match="k >= 2"):
        gap_confirmation([[1, 2]], 1)


def test_gap_confirmation_on_three_independent_gpt4_scores():
    if not DATA.exists():
        pytest.skip("the Prometheus GPT-4 scores are not beside this repository")
    table = pq.read_table(DATA).sort_by([("bench", "ascending"), ("idx", "ascending")])
    scores = np.array(table["gpt4_scores"].to_pylist()).reshape(160, 4, 3)
    assert round(100 * gap_confirmation(scores, 1), 1) == 68.6
    assert round(100 * gap_confirmation(scores, 2), 1) == 92.7
