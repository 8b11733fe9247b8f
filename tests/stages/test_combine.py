import json

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from curate.arrays import structs
from curate.errors import StageError
from curate.schema import CANDIDATE, CANDIDATES, JUDGMENTS
from curate.sources.files import Jsonl
from curate.stage import Context
from curate.stages.combine import Combine
from curate.stages.pairing import BestWorst


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
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
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


def test_pools_and_their_caution():
    rows = [judged("x", 0, 1), judged("y", 0, 2), judged("z", 0, 6), judged("x", 1, 4)]
    for pool, expected in (
        ("median", 2),
        ("min", 1),
        ("sum", 9),
        ("mean_std", 3 - 14**0.5 / 12**0.5),
    ):
        scores, _ = run(Combine(pool=pool), view(rows))
        assert np.allclose(scores, [[expected, 4]])
    spread = [judged("x", 0, 1, spread=0.5), judged("y", 0, 0.4, spread=0.6)]
    spread += [judged("z", 0, 0.8, spread=0.3), judged("x", 1, 4)]
    scores, _ = run(Combine(pool="robust", caution=0.4), view(spread))
    assert scores[0] == [pytest.approx(0.64), None]
    assert run(Combine(pool="sum", weights={"x": 2, "y": 2, "z": 2}), view(rows))[0] == [[18, 8]]


def test_centring_keeps_how_much_the_answers_of_a_prompt_differ():
    table = view([judged("x", 0, 11), judged("x", 1, 13)], [judged("x", 0, 5), judged("x", 1, 1)])
    scores, _ = run(Combine(scale="centre"), table)
    unit = (2 * (1 + 4) / 4) ** 0.5
    assert np.allclose(scores, [[-1 / unit, 1 / unit], [2 / unit, -2 / unit]])
    assert Combine(scale="centre").view_scope() == "dataset"


def test_transforms():
    rows = [judged("x", 0, 0.8, spread=0.1), judged("x", 1, 0.2)]
    scores, std = run(Combine(transform="log_odds"), view(rows))
    assert np.allclose(scores, [[1.386294, -1.386294]])
    assert std[0] == [pytest.approx(0.625), None]
    with pytest.raises(StageError, match="between 0 and 1"):
        run(Combine(transform="log_odds"), view([judged("x", 0, 4)]))
    rewards = [judged("x", a, a) for a in range(3)]
    scores, _ = run(Combine(transform="log_sigmoid"), view(rewards, candidates=3))
    assert np.allclose(scores[0], [-1.992791, -1.203235, -0.619222], atol=2e-6)


def test_a_judges_own_answers_are_left_out():
    rows = [judged("j:help", 0, 5), judged("j:help", 1, 1), judged("k", 0, 2), judged("k", 1, 4)]
    table = view(rows)
    own = pa.array([structs(CANDIDATE, 2, text="t", model=["m/1", "n"]).to_pylist()], CANDIDATES)
    table = table.set_column(0, "candidates", own)
    assert run(Combine(judge_models={"j": "m/"}), table)[0] == [[2, 4]]
    fewer = Combine(judge_models={"j": "m/"}, exclude_own="answer")
    assert run(fewer, table)[0] == [[2, 2.5]]
    assert run(Combine(judge_models={"j": "other"}), table)[0] == [[3.5, 2.5]]


def test_many_annotators_who_saw_few_answers_are_pooled_as_few_judges_are():
    rng = np.random.default_rng(3)
    rows = [
        [judged(f"worker{rng.integers(900)}", a, float(rng.integers(1, 6))) for a in (0, 0, 1)]
        for _ in range(400)
    ]
    scores, _ = run(Combine(pool="median"), view(*rows))
    for found, row in zip(scores, rows, strict=True):
        own: dict[str, list[float]] = {}
        for j in row[:2]:
            own.setdefault(j["judge"], []).append(j["score"])
        expected = np.median([np.mean(v) for v in own.values()])
        assert found == [pytest.approx(expected), row[2]["score"]]


def test_the_forum_card_with_accepted_answers_and_negative_votes():
    votes = [
        (0, 0),
        (1, 0),
        (2, 0),
        (5, 0),
        (7, 1),
        (10, 0),
        (-3, 0),
        (-3, 1),
        (4, None),
        (None, 1),
    ]
    rows = [
        judged(judge, a, value, status="parse_error" if value is None else "ok")
        for a, both in enumerate(votes)
        for judge, value in zip(("votes", "accepted"), both, strict=True)
    ]
    stage = Combine(transform="votes", pool="sum", required=("votes",), veto=("votes",))
    scores, _ = run(stage, view(rows, candidates=10))
    assert scores == [[0, 1, 2, 3, 4, 3, -1, -1, 2, None]]
    summed, _ = run(Combine(transform="votes", pool="sum"), view(rows, candidates=10))
    assert summed == [[0, 1, 2, 3, 4, 3, -1, 0, 2, 1]]
    nobody = Combine(required=("votes", "people"), veto=("people",))
    assert run(nobody, view(rows, candidates=10))[0] == [[None] * 10]


def test_of_several_vetoes_the_lowest_counts_and_good_scores_are_no_veto():
    rows = [judged("x", 0, -2), judged("y", 0, -5), judged("z", 0, 9), judged("x", 1, 3)]
    rows += [judged("y", 1, 1)]
    assert run(Combine(veto=("x", "y")), view(rows))[0] == [[-5, 2]]


def test_strengths_of_people_who_compared_two_answers_are_margins(tmp_path):
    lines = [
        {"prompt": "p", "one": "a", "two": "b", "strengths": strengths}
        for strengths in ([2, 2, 3, 3, -1], [2, 3, -1, 2, 3], [-2, -3, 1, -2, -3], [2, None, 3], [])
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    columns = {"chosen": "two", "rejected": "one", "margins": "strengths"}
    source = Jsonl(path=str(path), columns=columns)
    (table,) = source.read(source.units()[0])
    assert "judgments" in source.provides()
    made = Combine(pool="closest", min_judges=3, halve=True).apply(table, Context())
    for name in ("scores", "score_std"):
        table = table.append_column(name, made[name])
    paired = BestWorst().apply(table, Context())["pairs"].to_pylist()
    found = [[(p["chosen"], p["rejected"], p["margin"]) for p in row] for row in paired]
    third = pytest.approx(7 / 3)
    assert found == [[(0, 1, third)], [(0, 1, third)], [(1, 0, third)], [], []]
    # Both answers' deviations are half of that of the strengths that count, 2, 2 and 3.
    assert table["score_std"].to_pylist()[0] == pytest.approx([np.std([2, 2, 3]) / 2] * 2)
    whole = Combine(pool="closest", min_judges=3).apply(table, Context())["scores"].to_pylist()[0]
    assert whole[0] - whole[1] == pytest.approx(14 / 3)


def duel(aspect, first, second, judge="p"):
    """A comparison of answers 0 and 1 on one principle, in log-odds in both orders."""
    call = judged(judge, 0, None, b=1, aspect=aspect) | {"scale": "log_odds"}
    return [call | {"score": d, "order": o} for d, o in ((first, "ab"), (second, "ba"))]


def test_the_card_of_principles():
    """(2, -1) gives 0; (2, 1) with a variance of 4 gives 1.5 / 4 = .375."""
    other = 5.75**0.5  # with 1.5 the scores are +-1.5 and +-other, whose variance is 4
    table = view(duel("x", 2, 1), duel("x", other, other))
    stage = Combine(committee="aspects", torn="tie", scale="variance", pool="loudest")
    assert run(stage, table)[0][0] == pytest.approx([0.375, -0.375])
    half = stage.model_copy(update={"scale": "deviation"})
    assert run(half, table)[0][0] == pytest.approx([0.75, -0.75])
    torn = view(duel("x", 2, -1), duel("x", 3, 3))
    assert run(stage, torn)[0][0] == [0, 0]
    assert run(Combine(), torn)[0][0] == [0.5, -0.5]


def test_the_loudest_principle_decides_and_equally_loud_ones_of_both_sides_are_a_tie():
    rows = [*duel("x", 1, 1), *duel("y", -3, -2), *duel("z", 2, 2)]
    stage = Combine(committee="aspects", pool="loudest")
    assert run(stage, view(rows))[0] == [[-2.5, 2.5]]
    assert run(stage, view([*duel("x", 1, 1), *duel("y", -1, -1)]))[0] == [[0, 0]]
    together = run(Combine(pool="loudest"), view(rows))[0][0]
    assert together == pytest.approx([0.5 / 3, -0.5 / 3])


def test_a_comparison_read_in_one_order_only_is_neither_kept_nor_a_tie():
    half = duel("x", 2, 2)[:1]
    assert run(Combine(torn="tie"), view(half))[0] == [[None, None]]
    graded = [judged("s", 0, 4), judged("s", 1, 1)]
    assert run(Combine(torn="tie"), view([*half, *graded]))[0] == [[4, 1]]
    assert run(Combine(torn="tie"), view([]))[0] == [[None, None]]


def test_what_never_differs_divides_nothing():
    table = view(duel("x", 0, 0), duel("x", 0, 0))
    for scale in ("variance", "deviation"):
        assert Combine(scale=scale).view_scope() == "dataset"
        assert run(Combine(scale=scale), table)[0] == [[0, 0], [0, 0]]
