import math

import pyarrow as pa
import pytest
from fake_engine import context, table

from curate.engines.contract import Completion
from curate.schema import JUDGMENTS
from curate.stages.judge_pairs import JudgePairs
from curate.stages.rank import Rank
from curate.stages.tournament import Tournament

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven"]


def longer_is_better(request):
    """A judge whose taste is the order of WORDS."""
    text = request.messages[-1]["content"]
    first, second = text.split("Answer A:")[1].split("Answer B:")
    value = [max(i for i, w in enumerate(WORDS) if f"\n{w}\n" in part) for part in (first, second)]
    return Completion("[[A]]" if value[0] > value[1] else "[[B]]")


def run(view, reply=longer_is_better, **fields):
    ctx = context(reply)
    stage = Tournament(judge=JudgePairs(engine="fake"), **fields)
    return stage.apply(view, ctx)["judgments"], ctx


def test_knock_out_asks_little_and_finds_the_best():
    made, ctx = run(table([WORDS, WORDS[:5], ["zero"], []]), schedule="knockout")
    assert made.type == JUDGMENTS
    assert [len(row) for row in made.to_pylist()] == [14, 8, 0, 0]
    assert ctx.counts["calls"] == 22
    lost = [{j["b"] if j["score"] > 0 else j["a"] for j in row} for row in made.to_pylist() if row]
    assert lost == [set(range(7)), set(range(4))]


def test_swiss_ranks_best_and_worst():
    view = table([WORDS, WORDS[::-1]])
    made, ctx = run(view)
    assert ctx.counts["calls"] == 2 * 24
    scores = Rank().apply(view.append_column("judgments", made), ctx)["scores"].to_pylist()
    assert [max(range(8), key=row.__getitem__) for row in scores] == [7, 0]
    assert [min(range(8), key=row.__getitem__) for row in scores] == [0, 7]


def test_round_robin_is_judge_pairs():
    view = table([WORDS[:4], WORDS[3:5]], [[None, "dropped", None, None], [None, None]])
    made, ctx = run(view, schedule="round_robin")
    plain = JudgePairs(engine="fake").apply(view, ctx)["judgments"]
    assert made.to_pylist() == plain.to_pylist()


def test_all_meet_the_baseline_and_pairs_are_not_looked_at():
    view = table([WORDS[:4], WORDS[:2]], pairs=[[(0, 1, None)], []])
    models = pa.array(["x", "y", "z", "y", "x", "x"])
    candidates = view["candidates"].combine_chunks().flatten()
    named = pa.StructArray.from_arrays(
        [models if f.name == "model" else candidates.field(f.name) for f in candidates.type],
        fields=list(candidates.type),
    )
    column = pa.ListArray.from_arrays(pa.array([0, 4, 6], pa.int32()), named)
    made, _ = run(
        view.set_column(view.column_names.index("candidates"), "candidates", column),
        schedule="baseline",
        baseline="y",
    )
    asked = [[(j["a"], j["b"], j["order"]) for j in row] for row in made.to_pylist()]
    pairs = [(0, 1), (1, 2), (1, 3)]
    assert asked == [[(a, b, order) for a, b in pairs for order in ("ab", "ba")], []]


def test_a_judge_without_verdicts_leaves_it_to_the_lot():
    made, _ = run(table([WORDS]), lambda r: Completion("no idea"), schedule="knockout")
    assert len(made.to_pylist()[0]) == 14
    assert {j["status"] for j in made.to_pylist()[0]} == {"parse_error"}


def test_shards_do_not_matter():
    view = table([WORDS, WORDS[::-1], WORDS[2:]])
    whole, _ = run(view)
    parts = [run(view.slice(i, 1))[0].to_pylist() for i in range(3)]
    assert whole.to_pylist() == [row for part in parts for row in part]


@pytest.mark.parametrize(
    "fields",
    [{"schedule": "baseline"}, {"baseline": "m"}, {"schedule": "knockout", "rounds": 2}],
)
def test_fields_that_do_not_go_together(fields):
    with pytest.raises(ValueError, match=r"need each other|is for"):
        Tournament(judge=JudgePairs(engine="fake"), **fields)


def test_identity_holds_the_judges_templates_and_columns_are_the_judges():
    stage = Tournament(judge=JudgePairs(engine="fake"))
    assert stage.identity()["judge"]["templates"]
    assert "pairs" not in stage.used()
    assert [role for role, _ in stage.engine_roles()] == ["fake"]
    assert Tournament.model_validate({"judge": {"engine": "fake"}}) == stage


def test_log_odds_are_shares_of_a_win():
    def odds(request):
        text = request.messages[-2]["content"]
        first, second = text.split("Answer A:")[1].split("Answer B:")
        value = [max(i for i, w in enumerate(WORDS) if f"\n{w}\n" in t) for t in (first, second)]
        chance = (0.9, 0.1) if value[0] > value[1] else (0.1, 0.9)
        return Completion("", choice_logprobs=tuple(math.log(p) for p in chance))

    ctx = context(odds)
    judge = JudgePairs(engine="fake", verdict="log_odds")
    view = table([WORDS])
    made = Tournament(judge=judge).apply(view, ctx)["judgments"]
    calls = made.to_pylist()[0]
    assert {j["scale"] for j in calls} == {"log_odds"}
    assert all(abs(j["score"]) == pytest.approx(math.log(9), abs=1e-6) for j in calls)
    scores = Rank().apply(view.append_column("judgments", made), ctx)["scores"].to_pylist()[0]
    assert max(range(8), key=scores.__getitem__) == 7
    assert min(range(8), key=scores.__getitem__) == 0
