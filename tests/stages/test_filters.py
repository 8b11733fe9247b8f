import pyarrow as pa
import pytest
from pydantic import ValidationError

from curate.arrays import structs
from curate.errors import StageError
from curate.schema import CANDIDATE, CANDIDATES, JUDGMENT, JUDGMENTS, PAIR, PAIRS
from curate.stage import Context
from curate.stages.filters import Margin, MinScore


def answers(n, drop=None):
    return structs(CANDIDATE, n, text=[f"t{i}" for i in range(n)], drop=drop).to_pylist()


def pair(chosen, rejected, margin=None, drop=None):
    return structs(
        PAIR, 1, chosen=[chosen], rejected=[rejected], margin=[margin], drop=[drop]
    ).to_pylist()[0]


def paired(*rows, **columns):
    table = {"candidates": pa.array([answers(3)] * len(rows), CANDIDATES)}
    table["pairs"] = pa.array(rows, PAIRS)
    for name, values in columns.items():
        table[name] = pa.array(values, pa.list_(pa.float32()))
    return pa.table(table)


def margin_of(stage, table):
    result = stage.apply(table, Context())
    assert result["pairs"].type == PAIRS
    drops = [[p["drop"] for p in row] for row in result["pairs"].to_pylist()]
    return drops, result["drop"].to_pylist(), result["pairs"].to_pylist()


def test_bounds_are_inclusive_and_a_row_without_a_live_pair_goes():
    table = paired([pair(0, 1, 0.5)], [pair(0, 1, 1), pair(1, 2, 4)], [pair(0, 1, 3)], [])
    drops, rows, _ = margin_of(Margin(at_least=1, at_most=3), table)
    assert drops == [["margin below 1.0"], [None, "margin above 3.0"], [None], []]
    assert rows == ["margin below 1.0", None, None, "no pair"]


def test_a_margin_of_one_short_by_float32_rounding_is_kept():
    assert margin_of(Margin(at_least=1), paired([pair(0, 1, 0.9999998)]))[0] == [[None]]
    assert margin_of(Margin(at_least=1), paired([pair(0, 1, 0.999)]))[0] == [["margin below 1.0"]]


def test_an_earlier_reason_stays():
    drops, rows, _ = margin_of(Margin(at_least=1), paired([pair(0, 1, 0, "old"), pair(0, 1, 0)]))
    assert drops == [["old", "margin below 1.0"]]
    assert rows == ["margin below 1.0"]  # what this stage did, not an earlier one


def test_a_missing_margin_is_taken_from_the_scores_or_is_a_reason():
    assert margin_of(Margin(), paired([pair(0, 1)]))[0] == [["no margin"]]
    table = paired([pair(0, 1), pair(1, 2), pair(1, 0)], scores=[[5, 3, None]])
    drops, _, pairs = margin_of(Margin(), table)
    assert drops == [[None, "no margin", "margin below 0.0"]]
    assert [p["margin"] for p in pairs[0]] == [2, None, -2]


def test_uncertain_pairs_go_and_an_unknown_deviation_is_uncertain():
    table = paired([pair(0, 1, 1), pair(0, 2, 1)], [pair(1, 0, 1)],
                   score_std=[[0.8, 0.1, None], [0.9, 0.1, 0.0]])  # fmt: skip
    drops, _, _ = margin_of(Margin(max_std=0.8), table)
    assert drops == [[None, "uncertain: no score_std"], ["uncertain: score_std above 0.8"]]
    assert "score_std" in Margin(max_std=1).needed()
    assert "score_std" not in Margin().needed()


def test_a_pair_that_uses_a_dropped_candidate_goes():
    table = paired([pair(0, 1, 2), pair(0, 2, 2)])
    dropped = pa.array([answers(3, [None, "short", None])], CANDIDATES)
    table = table.set_column(0, "candidates", dropped)
    assert margin_of(Margin(), table)[0] == [["candidate dropped", None]]


def test_wrong_indexes_and_contradicting_bounds_are_errors():
    for bad in (pair(0, 3, 1), pair(-1, 0, 1), pair(None, 0, 1)):
        with pytest.raises(StageError, match="index"):
            margin_of(Margin(), paired([bad]))
    with pytest.raises(ValidationError, match="at_most"):
        Margin(at_least=2, at_most=1)


def test_a_slice_and_an_empty_view():
    table = paired([pair(0, 1, 0.5)], [pair(0, 1, 2)])
    assert margin_of(Margin(at_least=1), table.slice(1))[:2] == ([[None]], [None])
    assert margin_of(Margin(at_least=1), table.slice(2))[:2] == ([], [])


def judged(a, score, status="ok", b=None):
    return structs(
        JUDGMENT, 1, judge="x", a=[a], b=[b], score=[score], status=[status]
    ).to_pylist()[0]


def scored(*rows, drop=None):
    return pa.table(
        {
            "candidates": pa.array([answers(3, drop)] * len(rows), CANDIDATES),
            "judgments": pa.array(rows, JUDGMENTS),
        }
    )


def min_score(stage, table):
    result = stage.apply(table, Context())
    assert result["candidates"].type == CANDIDATES
    rows = result["candidates"].to_pylist()
    assert [c["text"] for c in rows[0]] == ["t0", "t1", "t2"]
    return [[c["drop"] for c in row] for row in rows], result["drop"].to_pylist()


def test_the_mean_of_ok_pointwise_judgments_decides():
    first = [
        judged(0, 4),
        judged(0, 2),
        judged(1, 2.5),
        judged(1, 9, b=0) | {"judge": "duel"},
        judged(2, 9, "refused"),
    ]
    drops, rows = min_score(MinScore(at_least=3), scored(first, [judged(2, 3)], None))
    assert drops == [
        [None, "score below 3.0", "no score"],
        ["no score", "no score", None],
        ["no score"] * 3,
    ]
    assert rows == [None, None, "no candidate with a score of 3.0 or more"]


def test_every_judge_weighs_the_same_however_often_it_was_asked():
    calls = [judged(0, 1), judged(0, 1), judged(0, 1), judged(0, 5) | {"judge": "other"}]
    assert min_score(MinScore(at_least=2.9), scored(calls))[0][0][0] is None


def test_scores_come_before_judgments_and_old_reasons_stay():
    table = scored([judged(0, 5)], drop=["old", None, None]).append_column(
        "scores", pa.array([[9, 1, 7]], pa.list_(pa.float32()))
    )
    assert min_score(MinScore(at_least=3), table) == ([["old", "score below 3.0", None]], [None])


def test_a_judgment_of_no_candidate_is_an_error():
    with pytest.raises(StageError, match="index"):
        min_score(MinScore(at_least=3), scored([judged(3, 1)]))
