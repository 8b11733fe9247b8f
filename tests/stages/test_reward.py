import pytest
from fake_engine import context, table

from curate.engines.contract import Reward as Answer
from curate.errors import ConfigError, StageError
from curate.schema import JUDGMENTS
from curate.stage import Context
from curate.stages.reward import Reward


class Rewards:
    model = "rm"

    def __init__(self, reply):
        self.reply, self.requests = reply, []

    def score(self, requests):
        self.requests += requests
        return [self.reply(request) for request in requests]


def scoring(reply):
    return Context(engines={"rm": Rewards(reply)})


def test_every_live_candidate_gets_its_reward():
    view = table([["one", "gone", ""], [], ["xxx"]], [[None, "dropped", None], [], [None]])
    ctx = scoring(lambda c: Answer(-float(len(c.answer)), prompt_tokens=4, cached_tokens=1))
    made = Reward(engine="rm").apply(view, ctx)["judgments"]
    assert made.type == JUDGMENTS
    rows = made.to_pylist()
    assert [[(j["a"], j["b"], j["score"]) for j in row] for row in rows] == [
        [(0, None, -3.0), (2, None, 0.0)],
        [],
        [(0, None, -3.0)],
    ]
    assert {(j["judge"], j["aspect"]) for row in rows for j in row} == {("rm:reward", "reward")}
    counts = {"calls": 3, "prompt_tokens": 12, "tokens": 0, "cached_tokens": 3}
    assert dict(ctx.counts) == counts | {"replies: ok": 3}
    assert ctx.engines["rm"].requests[2].messages[0]["content"] == "question 2"


def test_a_failed_call_is_a_status_until_there_are_too_many():
    ctx = scoring(lambda c: Answer(None, "api_error", "too long"))
    (one,) = Reward(engine="rm", max_error_rate=1.0).apply(table([["x"]]), ctx)["judgments"][0]
    assert (one["score"].as_py(), one["status"].as_py()) == (None, "api_error")
    with pytest.raises(StageError, match=r"1 of 1 calls failed \(1 x too long\)"):
        Reward(engine="rm").apply(table([["x"]]), ctx)


def test_an_engine_that_does_not_score_is_refused():
    with pytest.raises(ConfigError, match="does not score"):
        Reward(engine="fake").apply(table([["x"]]), context(None))
