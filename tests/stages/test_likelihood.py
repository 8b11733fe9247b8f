import numpy as np
import pytest
from fake_engine import Fake, context, table

from curate.engines.contract import Likelihood as Answer
from curate.errors import StageError
from curate.schema import JUDGMENTS
from curate.stage import Context
from curate.stages.likelihood import Likelihood, instructed, likelihood_score


def made(stage, view, **replies):
    ctx = Context(engines={name: Fake(reply) for name, reply in replies.items()})
    return stage.apply(view, ctx)["judgments"].to_pylist(), ctx


def test_mean_and_sum_of_log_probabilities():
    view = table([["one two", "gone", ""], ["x"]], [[None, "dropped", None], [None]])
    ctx = context(lambda c: Answer(-6.0, 3, prompt_tokens=5, cached_tokens=2))
    column = Likelihood(engine="fake").apply(view, ctx)["judgments"]
    assert column.type == JUDGMENTS
    rows = column.to_pylist()
    assert [[(j["a"], j["score"], j["status"]) for j in row] for row in rows] == [
        [(0, -2.0, "ok")],
        [(0, -2.0, "ok")],
    ]
    assert {(j["judge"], j["aspect"]) for j in rows[0]} == {("fake:likelihood", "likelihood")}
    counts = {"calls": 2, "prompt_tokens": 16, "tokens": 0, "cached_tokens": 4}
    assert dict(ctx.counts) == counts | {"replies: ok": 2}
    assert [c.answer for c in ctx.engines["fake"].requests] == ["one two", "x"]
    whole = Likelihood(engine="fake", normalize="none", name="sum").apply(view, ctx)["judgments"]
    assert [(j["judge"], j["score"]) for row in whole.to_pylist() for j in row] == [
        ("sum", -6.0)
    ] * 2


def test_density_ratio():
    strong, weak = (lambda c: Answer(-20.0, 10)), (lambda c: Answer(-26.0, 12))
    view = table([["x"]])
    ratio = {"engine": "s", "minus": "w"}
    ((one,),), _ = made(Likelihood(**ratio, normalize="none"), view, s=strong, w=weak)
    assert (one["judge"], one["score"]) == ("s-w:likelihood", 6.0)
    ((one,),), _ = made(Likelihood(**ratio), view, s=strong, w=weak)
    assert one["score"] == pytest.approx(0.6)
    ((one,),), _ = made(Likelihood(**ratio), view, s=strong, w=strong)
    assert one["score"] == 0.0


def test_an_instruction_and_what_it_changes():
    def reply(request):
        return Answer(-1.0 if request.messages[0]["content"] == "Be safe." else -3.0, 2)

    stage = Likelihood(engine="m", system="Be safe.", minus="m", normalize="none")
    ((one,),), ctx = made(stage, table([["x"]]), m=reply)
    assert one["score"] == 2.0
    first, second = ctx.engines["m"].requests
    assert [m["role"] for m in first.messages] == ["system", "user"]
    assert [m["role"] for m in second.messages] == ["user"]
    turns = [{"role": "system", "content": "You are a bot."}, {"role": "user", "content": "Hi"}]
    assert instructed(turns, "Be safe.")[0]["content"] == "You are a bot.\n\nBe safe."
    assert instructed(turns, None) == turns


def says(request):
    """Log probability and length of each follow-up."""
    return {"Thanks!": Answer(-2.0, 2), "Great": Answer(-6.0, 2), "No.": Answer(-8.0, 2)}[
        request.answer
    ]


def test_follow_ups_come_from_the_user_after_the_answer():
    stage = Likelihood(engine="m", positive=("Thanks!", "Great"), negative=("No.",))
    (rows, empty), ctx = made(stage, table([["x", "y"], [""]]), m=says)
    assert [(j["a"], j["score"], j["aspect"]) for j in rows] == [
        (0, 2.0, "follow_ups"),
        (1, 2.0, "follow_ups"),
    ]
    assert empty == []
    asked = ctx.engines["m"].requests
    assert [r.answer for r in asked] == ["Thanks!", "Great", "No."] * 2
    assert {r.role for r in asked} == {"user"}
    assert asked[3].messages[-1] == {"role": "assistant", "content": "y"}
    assert asked[0].messages is asked[2].messages is not asked[3].messages


def test_swapping_the_follow_ups_turns_the_sign():
    view, good, bad = table([["x"]]), ("Thanks!", "Great"), ("No.",)
    ((one,),), _ = made(Likelihood(engine="m", positive=good, negative=bad), view, m=says)
    ((other,),), _ = made(Likelihood(engine="m", positive=bad, negative=good), view, m=says)
    assert one["score"] == -other["score"] == 2.0
    alone = likelihood_score(np.array([[-2.0, -6.0]]), np.full((1, 2), 2.0), np.zeros(2), 2, True)
    assert alone.tolist() == [-2.0]


def test_one_failed_follow_up_or_model_leaves_no_score():
    def sometimes(request):
        return (
            Answer(None, 0, "api_error", "too long") if request.answer == "No." else says(request)
        )

    lists = {"positive": ("Thanks!",), "negative": ("No.",)}
    stage = Likelihood(engine="m", **lists, max_error_rate=1.0)
    ((one,),), _ = made(stage, table([["x"]]), m=sometimes)
    assert (one["score"], one["status"]) == (None, "api_error")
    stage = Likelihood(engine="m", minus="w", max_error_rate=1.0)
    failing = {"m": lambda c: Answer(-1.0, 1), "w": lambda c: Answer(None, 0, "api_error")}
    ((one,),), _ = made(stage, table([["x"]]), **failing)
    assert (one["score"], one["status"]) == (None, "api_error")


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
    for stage in (Likelihood(engine="fake"), Likelihood(engine="fake", positive=("a", "b"))):
        for view in (table([["x"]]).slice(0, 0), table([[]])):
            empty = stage.apply(view, context(None))["judgments"]
            assert empty.to_pylist() == [[]] * len(view)


@pytest.mark.parametrize("fields", [{"minus_system": "x"}, {"minus": "m"}, {"negative": ("No.",)}])
def test_fields_that_do_not_go_together(fields):
    with pytest.raises(ValueError, match=r"is for|always 0|needs positive"):
        Likelihood(engine="m", **fields)


def test_both_engines_are_named_to_the_pipeline():
    stage = Likelihood(engine="s", minus="w")
    assert dict(stage.engine_roles()) == {"s": ("loglikelihood",), "w": ("loglikelihood",)}
    assert [role for role, _ in Likelihood(engine="s").engine_roles()] == ["s"]
