import pyarrow as pa
import pytest
from fake_engine import context, table

from curate.engines.contract import Completion
from curate.errors import ConfigError, StageError
from curate.schema import JUDGMENTS
from curate.stages.combine import Combine
from curate.stages.judge_list import JudgeList


def shown(request):
    """The answers in the order in which a call shows them."""
    parts = request.messages[-1]["content"].split("\nAnswer ")[1:]
    return [part.split(">\n")[1].split("\n</")[0] for part in parts]


def by_quality(request):
    """A judge that knows the true order: "q9" is better than "q1"."""
    answers = shown(request)
    best_first = sorted(range(len(answers)), key=lambda k: answers[k], reverse=True)
    return Completion("So.\nRanking: " + " > ".join(str(k + 1) for k in best_first))


def test_scores_are_shares_beaten_whatever_the_order_shown():
    view = table([["q1", "q9", "gone", "q5"], ["alone"], ["q2", "q1"]],
                 [[None, None, "empty", None], [None], [None, None]])  # fmt: skip
    ctx = context(by_quality)
    made = JudgeList(engine="fake", orders=3).apply(view, ctx)["judgments"]
    assert made.type == JUDGMENTS
    first, alone, last = made.to_pylist()
    assert {(j["a"], j["score"]) for j in first} == {(0, 0.0), (1, 1.0), (3, 0.5)}
    assert {(j["a"], j["score"]) for j in last} == {(0, 1.0), (1, 0.0)}
    assert (len(first), alone, len(last)) == (9, [], 6)
    assert {(j["judge"], j["b"], j["order"]) for j in first} == {
        ("fake:helpfulness:list", None, None)
    }
    assert ctx.counts["calls"] == 6


def test_orders_are_shuffled_by_the_rows_seed_alone():
    view = table([[f"q{k}" for k in range(6)]] * 8)
    orders = []
    for part in (view, view.slice(3, 2), view):
        ctx = context(by_quality)
        JudgeList(engine="fake", orders=2).apply(part, ctx)
        orders.append([tuple(shown(r)) for r in ctx.engines["fake"].requests])
    assert orders[0] == orders[2]
    assert orders[1] == orders[0][6:10]
    assert len(set(orders[0])) > 12
    assert all(sorted(order) == [f"q{k}" for k in range(6)] for order in orders[0])


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Completion("Ranking: 1 > 2"), "parse_error"),
        (Completion("Ranking: 1 > 2 > 2"), "parse_error"),
        (Completion("Ranking: 3 > 2 > 1", "truncated"), "truncated"),
        (Completion("<think>Ranking: 3 > 2 > 1"), "truncated"),
        (Completion("", "api_error"), "api_error"),
    ],
)
def test_no_whole_ranking_is_a_status_of_all(answer, status):
    stage = JudgeList(engine="fake", max_error_rate=1.0)
    made = stage.apply(table([["a", "b", "c"]]), context(lambda r: answer))["judgments"]
    assert [(j["score"], j["status"]) for j in made.to_pylist()[0]] == [(None, status)] * 3


def test_structured_rankings_references_and_errors():
    stage = JudgeList(engine="fake", structured=True, sampling={"temperature": 1}, orders=2)
    ctx = context(lambda r: Completion('{"feedback": "", "ranking": [2, 1]}'))
    made = stage.apply(table([["a", "b"]], reference=pa.array(["truth"])), ctx)["judgments"]
    assert [j["score"] for j in made.to_pylist()[0]] == [0.0, 1.0] * 2
    requests = ctx.engines["fake"].requests
    assert all("truth" in r.messages[-1]["content"] for r in requests)
    assert len({r.seed for r in requests}) == 2
    assert dict(stage.engine_roles()) == {"fake": ("chat", "structured")}
    with pytest.raises(StageError, match="1 of 1"):
        JudgeList(engine="fake").apply(
            table([["a", "b"]]), context(lambda r: Completion("", "api_error"))
        )
    with pytest.raises(ConfigError, match="no built-in rubric 'nonsense'; known: "):
        JudgeList(engine="fake", rubric="nonsense")
    assert len(JudgeList(engine="fake").apply(table([["a"]]).slice(0, 0), ctx)["judgments"]) == 0


def grader(request):
    """A judge that grades "q4" with 4, and finds honesty beside the point in "q1"."""
    honest = "Honesty" in request.messages[-1]["content"]
    marks = [answer.removeprefix("q") for answer in shown(request)]
    lines = ["N/A" if honest and m == "1" else m for m in marks]
    return Completion("So.\n" + "\n".join(f"{k}: {m}" for k, m in enumerate(lines, 1)))


def test_grades_of_all_answers_in_one_call_a_rubric():
    view = table([["q1", "q5", "gone", "q3"], ["alone"], ["q2", "q2"]],
                 [[None, None, "empty", None], [None], [None, None]])  # fmt: skip
    ctx = context(grader)
    stage = JudgeList(
        engine="fake", rubric=("instructions", "honesty"), score="grades", orders=2,
        not_applicable=("honesty",),
    )  # fmt: skip
    made = stage.apply(view, ctx)["judgments"]
    first, alone, last = made.to_pylist()
    assert ctx.counts["calls"] == 8
    assert (len(first), alone, len(last)) == (12, [], 8)
    assert {j["judge"] for j in first} == {"fake:instructions+honesty:grades"}
    assert [j["aspect"] for j in first] == ["instructions"] * 6 + ["honesty"] * 6
    found = {(j["aspect"], j["a"], j["score"], j["status"]) for j in first}
    assert found == {
        ("instructions", 0, 1, "ok"), ("instructions", 1, 5, "ok"), ("instructions", 3, 3, "ok"),
        ("honesty", 0, None, "not_applicable"), ("honesty", 1, 5, "ok"), ("honesty", 3, 3, "ok"),
    }  # fmt: skip
    assert {(j["score"], j["status"]) for j in last} == {(2, "ok")}
    # The judgments of a call stand in the order that it showed, and hold its text.
    requests = ctx.engines["fake"].requests
    assert [f"q{(1, 5, 0, 3)[j['a']]}" for j in first[:3]] == shown(requests[0])
    assert first[0]["text"] == first[2]["text"] != first[6]["text"]
    # N/A counts for nothing: the mean of what there is.
    combined = Combine().apply(view.append_column("judgments", made), ctx)["scores"]
    assert combined.to_pylist()[0] == [1, 5, None, 3]


def test_na_where_it_is_not_allowed_and_unreadable_grades_are_no_scores():
    stage = JudgeList(engine="fake", score="grades", max_error_rate=1.0)
    said = Completion("1: N/A\n2: 9\n3: 4/5")
    made = stage.apply(table([["a", "b", "c"]]), context(lambda r: said))["judgments"]
    assert [(j["score"], j["status"]) for j in made.to_pylist()[0]] == [
        (None, "parse_error"), (None, "parse_error"), (4, "ok"),
    ]  # fmt: skip
    for fields, error in (
        ({"score": "rank", "not_applicable": ("helpfulness",)}, "score: grades"),
        ({"score": "grades", "not_applicable": ("honesty",)}, "names no rubric"),
        ({"score": "grades", "low": 5}, "below high"),
    ):
        with pytest.raises(ValueError, match=error):
            JudgeList(engine="fake", **fields)


def test_structured_grades():
    stage = JudgeList(
        engine="fake", score="grades", structured=True, rubric="honesty",
        not_applicable=("honesty",), high=10,
    )  # fmt: skip
    replies = {
        "2": '{"feedback": "", "scores": [10, "N/A"]}',
        "3": '{"feedback": "", "scores": [1]}',
    }
    ctx = context(lambda r: Completion(replies[str(len(shown(r)))]))
    made = stage.apply(table([["a", "b"], ["a", "b", "c"]]), ctx)["judgments"].to_pylist()
    assert [(j["score"], j["status"]) for j in made[0]] == [(10, "ok"), (None, "not_applicable")]
    assert [j["status"] for j in made[1]] == ["parse_error"] * 3
    asked = ctx.engines["fake"].requests[0]
    assert "write N/A" in asked.messages[-1]["content"]
    assert "10 (best)" in asked.messages[-1]["content"]
