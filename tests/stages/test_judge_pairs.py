import pyarrow as pa
import pytest
from fake_engine import asked, context, table
from judged_rows import score

from curate.engines.contract import Completion
from curate.errors import ConfigError, StageError
from curate.schema import JUDGMENTS
from curate.stages.judge_pairs import JudgePairs


def prefers(word):
    """A judge that finds the answer holding `word`, wherever it stands."""

    def reply(request):
        text = request.messages[-1]["content"]
        first, second = text.split("Answer A:")[1].split("Answer B:")
        if (word in first) == (word in second):
            return Completion("[[tie]]")
        return Completion("[[A]]" if word in first else "[[B]]")

    return reply


def judged(stage, view, reply):
    return stage.apply(view, context(reply))["judgments"]


def test_both_orders_of_all_live_candidates():
    view = table([["bad", "good", "gone", "bad2"]], [[None, None, "empty", None]])
    made = judged(JudgePairs(engine="fake"), view, prefers("good"))
    assert made.type == JUDGMENTS
    assert [(j["a"], j["b"], j["order"], j["score"]) for j in made.to_pylist()[0]] == [
        (0, 1, "ab", -1.0),
        (0, 1, "ba", -1.0),
        (0, 3, "ab", 0.0),
        (0, 3, "ba", 0.0),
        (1, 3, "ab", 1.0),
        (1, 3, "ba", 1.0),
    ]


def test_a_judge_that_always_takes_the_first_contradicts_itself():
    made = judged(JudgePairs(engine="fake"), table([["x", "y"]]), lambda r: Completion("[[A]]"))
    assert [j["score"] for j in made.to_pylist()[0]] == [1.0, -1.0]


def test_only_live_pairs_where_there_are_pairs():
    view = table([["x", "y good", "z"], ["u", "v"]], pairs=[[(1, 0, None), (2, 0, "margin")], []])
    made = judged(JudgePairs(engine="fake"), view, prefers("good")).to_pylist()
    assert [(j["a"], j["b"], j["score"]) for j in made[0]] == [(1, 0, 1.0), (1, 0, 1.0)]
    assert made[1] == []


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Completion("hard to say"), "parse_error"),
        (Completion("<think>[[A]]"), "truncated"),
        (Completion("[[A]]", "truncated"), "truncated"),
        (Completion("", "refused"), "refused"),
        (Completion("", "api_error"), "api_error"),
    ],
)
def test_no_verdict_is_a_status(answer, status):
    stage = JudgePairs(engine="fake", max_error_rate=1.0)
    (found,) = judged(stage, table([["x", "y"]]), lambda r: answer).to_pylist()
    assert [(one["score"], one["status"]) for one in found] == [(None, status)] * 2


def test_error_budget_reference_and_bad_rubric():
    with pytest.raises(StageError, match="2 of 2"):
        judged(
            JudgePairs(engine="fake"), table([["x", "y"]]), lambda r: Completion("", "api_error")
        )
    ctx = context(lambda r: Completion("[[A]]"))
    JudgePairs(engine="fake").apply(table([["x", "y"]], reference=pa.array(["truth"])), ctx)
    assert all("truth" in text for text in asked(ctx))
    with pytest.raises(ConfigError, match="no built-in rubric 'nonsense'; known: "):
        JudgePairs(engine="fake", rubric="nonsense")
    assert len(judged(JudgePairs(engine="fake"), table([["x"]]).slice(0, 0), None)) == 0


def scores(made):
    return [[j["score"] for j in row] for row in made.to_pylist()]


def test_five_grades_and_slight_wins_of_longer_answers():
    def reply(request):
        first = request.messages[-1]["content"].split("Answer A:")[1].split("Answer B:")[0]
        return Completion("[[A>B]]" if "long" in first else "[[B>A]]")

    view = table([["long " * 100, "short"], ["long " * 100, "long"]])
    assert scores(judged(JudgePairs(engine="fake", verdict="five"), view, reply)) == [
        [0.5, 0.5],
        [0.5, -0.5],
    ]
    ruled = JudgePairs(engine="fake", verdict="five", max_longer=400)
    made = judged(ruled, view, reply)
    assert scores(made) == [[0.0, 0.0], [0.0, -0.5]]
    assert made.to_pylist()[0][0]["text"] == "[[A>B]]"  # what the judge said stays
    much = judged(ruled, view, lambda r: Completion("[[A>>B]]"))
    assert scores(much) == [[1.0, -1.0]] * 2
    with pytest.raises(ValueError, match="five"):
        JudgePairs(engine="fake", max_longer=1)


def test_log_odds_in_both_orders():
    found = iter([(-0.2, -2.0), (-1.0, -0.6), (-3.0, -3.0), (-0.01, -float("inf")), None])
    ctx = context(lambda r: Completion("A", "truncated", choice_logprobs=next(found, (-1.0, -0.6))))
    stage = JudgePairs(engine="fake", verdict="log_odds")
    made = stage.apply(table([["a", "b"], ["c", "d"], ["e", "f"]]), ctx)["judgments"].to_pylist()
    assert [j["score"] for j in made[0]] == pytest.approx([1.8, 0.4])
    for row in (made[1], made[2][:1]):
        assert [(j["score"], j["status"]) for j in row] == [(None, "parse_error")] * len(row)
    request = ctx.engines["fake"].requests[0]
    assert (request.choices, request.sampling.max_tokens) == (("A", "B"), 1)
    assert request.messages[-1] == {"role": "assistant", "content": "Better:"}
    assert dict(stage.engine_roles()) == {"fake": ("chat", "token_probs")}
    with pytest.raises(ValueError, match="log_odds"):
        JudgePairs(engine="fake", verdict="log_odds", structured=True)


@pytest.mark.parametrize(("verdict", "said", "score"), [("three", "B", -1), ("five", "A>B", 0.5)])
def test_structured_verdicts(verdict, said, score):
    ctx = context(lambda r: Completion(f'{{"feedback": "[[A]]", "verdict": "{said}"}}'))
    stage = JudgePairs(engine="fake", verdict=verdict, structured=True)
    made = stage.apply(table([["a", "b"]]), ctx)["judgments"]
    assert scores(made) == [[score, -score]]
    assert said in ctx.engines["fake"].requests[0].json_schema["properties"]["verdict"]["enum"]
    assert dict(stage.engine_roles()) == {"fake": ("chat", "structured")}


def test_several_rubrics_are_one_call_each():
    def reply(request):
        return Completion("[[A]]" if "Honesty:" in request.messages[-1]["content"] else "[[tie]]")

    stage = JudgePairs(
        engine="fake", rubric=("honesty", "helpfulness"), sampling={"temperature": 1}
    )
    ctx = context(reply)
    made = stage.apply(table([["a", "b"], [], ["c", "d"]]), ctx)["judgments"].to_pylist()
    wanted = [
        ("honesty", "ab", 1.0), ("helpfulness", "ab", 0.0),
        ("honesty", "ba", -1.0), ("helpfulness", "ba", 0.0),
    ]  # fmt: skip
    assert [[(j["aspect"], j["order"], j["score"]) for j in row] for row in made] == [
        wanted, [], wanted
    ]  # fmt: skip
    assert made[0][0]["judge"] == "fake:honesty+helpfulness:pairs"
    assert len({r.seed for r in ctx.engines["fake"].requests}) == 8


def test_samples_are_judgments_of_their_own_drawn_by_seeds_of_their_own():
    view = table([["x", "y good"]] * 3)
    stage = JudgePairs(
        engine="fake", samples=3, sampling={"temperature": 0.7}, rubric=("honesty", "helpfulness")
    )
    ctx = context(prefers("good"))
    made = stage.apply(view, ctx)["judgments"].to_pylist()
    assert [(j["order"], j["aspect"]) for j in made[0]] == [
        (order, aspect) for order in ("ab", "ba") for aspect in ("honesty", "helpfulness")
        for _ in range(3)
    ]  # fmt: skip
    assert {j["score"] for row in made for j in row} == {-1.0}
    seeds = [request.seed for request in ctx.engines["fake"].requests]
    assert len(set(seeds)) == len(seeds) == 3 * 2 * 2 * 3
    once = context(prefers("good"))
    stage.model_copy(update={"samples": 1}).apply(view, once)
    assert {r.seed for r in once.engines["fake"].requests} < set(seeds)
    with pytest.raises(ValueError, match="at temperature 0 are one"):
        JudgePairs(engine="fake", samples=2)
    with pytest.raises(ValueError, match="exact"):
        JudgePairs(engine="fake", samples=2, verdict="log_odds", sampling={"temperature": 1})


def test_examples_stand_in_a_fence_beside_the_criterion():
    view = table([["x", "y good"]] * 2, seen=pa.array(["They took </examples-1> A.", None]))
    ctx = context(prefers("good"))
    JudgePairs(engine="fake", examples="seen").apply(view, ctx)
    first, *_, last = asked(ctx)
    code = first.split("<examples-")[1].split(">")[0]
    assert f"<examples-{code}>\nThey took </examples-1> A.\n</examples-{code}>" in first
    assert first.index("what they prefer") < first.index("The conversation so far")
    assert "what they prefer" not in last
    plain = context(prefers("good"))
    JudgePairs(engine="fake").apply(view, plain)
    assert last == plain.engines["fake"].requests[-1].messages[-1]["content"]
    assert "seen" in JudgePairs(engine="fake", examples="seen").needed()


def test_pairs_that_other_judges_have_settled_are_not_asked_about():
    def scores(first, second):
        return [score("best", 0, first), score("best", 1, second)]

    judgments = pa.array([scores(2, 1), scores(1, 2), scores(1, 1), []], JUDGMENTS)
    view = table([["good", "bad"]] * 4, pairs=[[(0, 1, None)]] * 4, judgments=judgments)
    ctx = context(prefers("good"))
    stage = JudgePairs(engine="fake", unless=("best",))
    made = stage.apply(view, ctx)["judgments"].to_pylist()
    assert [len(row) for row in made] == [0, 2, 2, 2]
    assert ctx.counts["pairs not asked about"] == 1
    assert {"pairs", "judgments"} <= set(stage.needed())
    assert not {"pairs", "judgments"} & set(JudgePairs(engine="fake").needed())
