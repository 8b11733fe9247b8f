import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from curate.arrays import structs
from curate.errors import StageError
from curate.schema import CANDIDATE, CANDIDATES, JUDGMENTS
from curate.stage import Context
from curate.stages.combine import Combine


def judged(judge, a, score, *, b=None, status="ok", spread=None, aspect="score"):
    fields = {"judge": judge, "aspect": aspect, "a": a, "b": b, "order": None, "score": score}
    return {**fields, "spread": spread, "status": status, "text": None}


def view(*rows, candidates=2):
    answers = structs(CANDIDATE, candidates, text=[f"t{i}" for i in range(candidates)]).to_pylist()
    return pa.table(
        {
            "candidates": pa.array([answers] * len(rows), CANDIDATES),
            "judgments": pa.array(rows, JUDGMENTS),
        }
    )


def run(stage, table):
    result = stage.apply(table, Context())
    return result["scores"].to_pylist(), result["score_std"].to_pylist()


def test_score_is_the_mean_over_judges_and_std_the_population_deviation():
    rows = [judged("x", 0, 1), judged("y", 0, 3), judged("x", 1, 4), judged("y", 1, 4)]
    assert run(Combine(), view(rows)) == ([[2, 4]], [[1, 0]])


def test_a_failed_judgment_is_absent_and_never_a_number():
    rows = [judged("x", 0, 5), judged("y", 0, 1, status="parse_error"), judged("x", 1, None)]
    rows += [judged("y", 1, float("nan"))]
    scores, std = run(Combine(), view(rows, None, []))
    assert scores == [[5, None], [None, None], [None, None]]
    assert std[0] == [None, None]


def test_samples_are_averaged_within_their_aspect_before_the_aspects():
    rows = [judged("x", 0, 1, aspect="p"), judged("x", 0, 3, aspect="p")]
    rows += [judged("x", 0, 6, aspect="q"), judged("y", 0, 6)]
    scores, std = run(Combine(), view(rows))
    assert scores == [[5, None]]
    assert std[0][0] == 1


def test_one_judges_deviation_is_its_spread_else_that_of_its_samples():
    rows = [judged("x", 0, 4, spread=0.5), judged("x", 1, 2), judged("x", 1, 4)]
    assert run(Combine(), view(rows)) == ([[4, 3]], [[0.5, 1]])


def test_weights_judges_and_min_judges():
    rows = [judged("x", 0, 1), judged("y", 0, 5), judged("z", 0, 3), judged("x", 1, 2)]
    table = view(rows)
    assert run(Combine(weights={"x": 3, "z": 0}), table)[0] == [[2, 2]]
    assert run(Combine(judges=("y", "z")), table)[0] == [[4, None]]
    assert run(Combine(min_judges=2), table)[0] == [[3, None]]
    with pytest.raises(ValidationError):
        Combine(weights={"x": -1})


def test_prompt_scale_is_a_z_score_within_the_row_and_zero_without_variance():
    first = [judged("x", 0, 1), judged("x", 1, 3), judged("y", 0, 0.1), judged("y", 1, 0.1)]
    second = [judged("x", 0, 30), judged("x", 1, 10)]
    scores, _ = run(Combine(scale="prompt"), view(first, second))
    assert scores == [[-0.5, 0.5], [1, -1]]


def test_dataset_scale_spans_the_rows_and_says_so():
    table = view([judged("x", 0, 1), judged("x", 1, 1)], [judged("x", 0, 3), judged("x", 1, 3)])
    assert run(Combine(scale="dataset"), table)[0] == [[-1, -1], [1, 1]]
    assert Combine(scale="dataset").view_scope() == "dataset"
    assert Combine(scale="prompt").view_scope() == "shard"


def test_comparisons_count_for_both_candidates_with_their_sign():
    rows = [judged("c", 0, 1, b=1), judged("c", 1, 0.5, b=0), judged("c", 2, 1, b=0)]
    scores, _ = run(Combine(), view(rows, candidates=3))
    assert np.allclose(scores[0], [(1 - 0.5 - 1) / 3, -0.25, 1])


def test_an_index_out_of_range_or_a_judge_of_two_kinds_is_an_error():
    for bad in ([judged("x", 2, 1)], [judged("x", 0, 1, b=9)], [judged("x", None, 1)]):
        with pytest.raises(StageError, match="index"):
            run(Combine(), view(bad))
    with pytest.raises(StageError, match="both scores and comparisons"):
        run(Combine(), view([judged("x", 0, 1), judged("x", 0, 1, b=1)]))


def test_shards_and_the_order_of_judges_do_not_change_the_values():
    rng = np.random.default_rng(0)
    rows = [[judged(j, a, rng.normal()) for j in "zxy" for a in range(2)] for _ in range(50)]
    whole = run(Combine(scale="prompt"), view(*rows))
    parts = [run(Combine(scale="prompt"), view(r)) for r in rows]
    assert whole == ([p[0][0] for p in parts], [p[1][0] for p in parts])
    assert whole == run(Combine(scale="prompt"), view(*[r[2:] + r[:2] for r in rows]))


def test_a_slice_and_an_empty_view():
    table = view([judged("x", 0, 1)], [judged("x", 1, 2)])
    assert run(Combine(), table.slice(1)) == ([[None, 2]], [[None, None]])
    assert run(Combine(), table.slice(2)) == ([], [])
