from contextlib import nullcontext

import numpy as np
import pyarrow as pa
import pytest
from fake_engine import context

from curate.engines.contract import Completion, Completions, Requests, Sampling
from curate.errors import StageError
from curate.schema import PROMPT
from curate.stage import Context, stage_registry
from curate.stages.calls import (
    chat,
    check_errors,
    expected_scores,
    first_choice,
    lost_rows,
    unusable,
)

LONG = "prompt too long: 9 tokens, window 8"
ASKING = [
    k for k in stage_registry.names() if "max_error_rate" in stage_registry.get(k).model_fields
]
"""Every stage with an error budget."""


def test_all_stages_that_call_an_engine_have_an_error_budget():
    assert {"generate", "judge", "likelihood", "reward", "write", "support"} <= set(ASKING)


@pytest.mark.parametrize("kind", ASKING)
def test_the_error_budget_is_no_part_of_an_identity(kind):
    """It decides whether a part is committed, not what is in it: raising it re-buys nothing."""
    cls = stage_registry.get(kind)
    fields = {"template": "write_wishes", "to": "wishes"} if kind == "write" else {}
    plain, lenient = (cls(engine="e", **fields, **more) for more in ({}, {"max_error_rate": 0.9}))
    assert lenient.max_error_rate == 0.9
    assert lenient.identity() == plain.identity()


def test_prompts_that_are_too_long_are_counted_and_are_no_errors():
    ctx = Context()
    statuses = pa.array(["too_long"] * 43 + ["ok"] * 213)
    errors = pa.array([LONG] * 43 + [None] * 213)
    check_errors(statuses, errors, ctx, 0.1, "generate with gen")
    assert ctx.counts == {"too_long": 43}


def test_errors_are_a_share_of_the_calls_that_could_be_made():
    ctx = Context()
    statuses = pa.array(["too_long"] * 90 + ["ok"] * 8 + ["api_error"] * 2)
    errors = pa.array([LONG] * 90 + [None] * 8 + ["boom"] * 2)
    with pytest.raises(StageError, match=r"2 of 10 calls failed \(2 x boom\)"):
        check_errors(statuses, errors, ctx, 0.1, "generate with gen")


@pytest.mark.parametrize(
    ("ok", "lost", "rate", "stops"),
    [(1, 1, 0.1, False), (7, 1, 0.1, False), (7, 2, 0.1, True), (0, 1, 0.1, True),
     (99, 10, 0.1, False), (7, 1, 0.0, True)],
)  # fmt: skip
def test_one_request_that_is_never_answered_does_not_hold_up_a_small_shard(ok, lost, rate, stops):
    """Where others came back; an engine that answers nothing stops the run all the same."""
    statuses = pa.array(["ok"] * ok + ["api_error"] * lost)
    errors = pa.array([None] * ok + ["boom"] * lost, pa.string())
    with pytest.raises(StageError, match="calls failed") if stops else nullcontext():
        check_errors(statuses, errors, Context(), rate, "generate with gen")


def test_lost_rows_tells_failures_from_decisions():
    answers = Completions.of([
        Completion("", "api_error", error="a\nb"),
        Completion("", "refused"),
        Completion("", "api_error", error="unseen"),
    ])  # fmt: skip
    why = pa.array(["no text", None, "no text", None])
    found = lost_rows(why, answers, np.array([2, 0, 3]))
    assert found["fail"].to_pylist() == [None, None, "the call failed: a b", None]
    assert found["drop"].to_pylist() == ["no text", None, None, None]


def test_an_answer_is_unusable_for_its_error_or_its_status():
    answers = Completions.of([Completion("", "too_long", error=LONG), Completion("", "refused")])
    assert unusable(answers).to_pylist() == [LONG, "refused"]


def test_scores_and_yes_come_from_the_probabilities_of_choices():
    logs = np.log([[0.6, 0.2], [0.1, 0.1]]).tolist()
    answers = Completions.of(
        [*(Completion("", choice_logprobs=tuple(row)) for row in logs), Completion("", "refused")],
        choices=2,
    )
    yes, status = first_choice(answers, 0.5)
    assert yes.tolist() == pytest.approx([0.75, np.nan, np.nan], nan_ok=True)
    assert status.to_pylist() == ["ok", "parse_error", "refused"]
    mean, std, status = expected_scores(answers, 1, 2, 0.5)
    assert mean.to_pylist() == [pytest.approx(1.25), None, None]
    assert std.to_pylist() == [pytest.approx(np.sqrt(0.1875)), None, None]
    assert status.to_pylist() == ["ok", "parse_error", "refused"]


def test_tokens_that_nobody_told_are_null():
    told = Completions.of([Completion("a", prompt_tokens=3, tokens=2), Completion("b")])
    assert told.prompt_tokens.to_pylist() == [3, None]
    assert told.tokens.to_pylist() == [2, None]


def test_what_a_call_cost_is_counted_and_what_nobody_told_is_counted_apart():
    answers = [
        Completion("a", prompt_tokens=3, tokens=2, retries=2, cut=True),
        Completion("b"),
        Completion("", "too_long", error=LONG),
    ]
    ctx = context(lambda request: answers.pop(0))
    asked = pa.array([[{"role": "user", "content": str(k)}] for k in range(3)], PROMPT)
    chat(ctx.engine("fake"), Requests(asked, Sampling()), ctx, 0.0, "a test")
    assert ctx.counts == {
        "calls": 3, "prompt_tokens": 3, "tokens": 2, "cached_tokens": 0,
        "retries": 2, "cut_prompts": 1, "unknown_tokens": 1, "too_long": 1,
    }  # fmt: skip
