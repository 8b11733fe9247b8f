import pytest
from fake_engine import context, table

from curate.engines.contract import Likelihood as Answer
from curate.errors import StageError
from curate.schema import JUDGMENTS
from curate.stages.likelihood import Likelihood


def test_mean_and_sum_of_log_probabilities():
    view = table([["one two", "gone", ""], ["x"]], [[None, "dropped", None], [None]])
    ctx = context(lambda c: Answer(-6.0, 3, prompt_tokens=5))
    made = Likelihood(engine="fake").apply(view, ctx)["judgments"]
    assert made.type == JUDGMENTS
    rows = made.to_pylist()
    assert [[(j["a"], j["score"], j["status"]) for j in row] for row in rows] == [
        [(0, -2.0, "ok")],
        [(0, -2.0, "ok")],
    ]
    assert rows[0][0]["judge"] == "fake:likelihood"
    assert dict(ctx.counts) == {"calls": 2, "prompt_tokens": 16, "tokens": 0}
    assert [c.answer for c in ctx.engines["fake"].requests] == ["one two", "x"]
    whole = Likelihood(engine="fake", normalize="none", name="sum").apply(view, ctx)["judgments"]
    assert [(j["judge"], j["score"]) for row in whole.to_pylist() for j in row] == [
        ("sum", -6.0)
    ] * 2


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Answer(None, 0, "truncated"), "truncated"),
        (Answer(None, 0, "api_error"), "api_error"),
        (Answer(-1.0, 0), "parse_error"),
        (Answer(float("-inf"), 2), "parse_error"),
        (Answer(float("nan"), 2), "parse_error"),
        (Answer(None, 2), "parse_error"),
    ],
)
def test_no_likelihood_is_a_status(answer, status):
    stage = Likelihood(engine="fake", max_error_rate=1.0)
    (one,) = stage.apply(table([["x"]]), context(lambda c: answer))["judgments"].to_pylist()[0]
    assert (one["score"], one["status"]) == (None, status)


def test_error_budget_and_nothing_to_do():
    failing = context(lambda c: Answer(None, 0, "api_error", "dead"))
    with pytest.raises(StageError, match=r"1 of 1 calls failed \(1 x dead\)"):
        Likelihood(engine="fake").apply(table([["x"]]), failing)
    for view in (table([["x"]]).slice(0, 0), table([[]])):
        made = Likelihood(engine="fake").apply(view, context(None))["judgments"]
        assert made.to_pylist() == [[]] * len(view)
