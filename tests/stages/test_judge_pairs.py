import pyarrow as pa
import pytest
from fake_engine import context, table

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
    for one in judged(stage, table([["x", "y"]]), lambda r: answer).to_pylist()[0]:
        assert (one["score"], one["status"]) == (None, status)


def test_error_budget_reference_and_bad_rubric():
    with pytest.raises(StageError, match="2 of 2"):
        judged(
            JudgePairs(engine="fake"), table([["x", "y"]]), lambda r: Completion("", "api_error")
        )
    ctx = context(lambda r: Completion("[[A]]"))
    JudgePairs(engine="fake").apply(table([["x", "y"]], reference=pa.array(["truth"])), ctx)
    assert all("truth" in r.messages[-1]["content"] for r in ctx.engines["fake"].requests)
    with pytest.raises(ConfigError):
        JudgePairs(engine="fake", rubric="nonsense")
    assert len(judged(JudgePairs(engine="fake"), table([["x"]]).slice(0, 0), None)) == 0
