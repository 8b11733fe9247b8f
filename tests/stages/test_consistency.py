import json
import math

import numpy as np
import pyarrow as pa
import pytest
from fake_engine import context, table

from curate.arrays import concat_lists
from curate.engines.contract import Completion
from curate.errors import StageError
from curate.schema import JUDGMENTS
from curate.stages.claims import CLAIM, Claims
from curate.stages.consistency import Consistency, Support


def extract(request):
    said = request.messages[1]["content"].split("An answer:")[1]
    if "secret" in said:
        return Completion("I cannot help with that.")
    if "long" in said:
        return Completion('{"claims": [', "truncated", "length")
    if "hello" in said:
        return Completion('{"claims": []}')
    one = {"claim": "Bern is the capital.", "question": "What is the capital?", "answer": "Bern"}
    two = {"claim": "It has 9 gates.", "question": "How many gates?", "answer": "9"}
    return Completion(json.dumps({"claims": [one, two] if "gates" in said else [one]}))


def with_claims(answers, drops=None):
    view = table(answers, drops, reference=pa.array(["Bern it is"] + [None] * (len(answers) - 1)))
    ctx = context(extract)
    made = Claims(engine="fake").apply(view, ctx)["claims"]
    return view.append_column("claims", made), ctx


def test_claims_lie_flat_with_their_candidates():
    view, ctx = with_claims([["Bern", "gates", "hello"], ["secret", "long"], []])
    rows = view["claims"].to_pylist()
    assert view["claims"].type == pa.list_(CLAIM)
    assert [(c["a"], c["answer"]) for c in rows[0]] == [(0, "Bern"), (1, "Bern"), (1, "9")]
    assert [(c["a"], c["text"], c["status"]) for c in rows[1]] == [
        (0, None, "refused"), (1, None, "truncated"),
    ]  # fmt: skip
    assert rows[2] == []
    assert ctx.counts["claims"] == 3
    replies = {n: k for n, k in ctx.counts.items() if n.startswith("replies: ")}
    assert replies == {"replies: ok": 3, "replies: refused": 1, "replies: truncated": 1}
    assert list(Claims(engine="x", structured=True).engine_roles()) == [
        ("x", ("chat", "structured"))
    ]


def sampled(request):
    """The capital is known, the number of gates is made up."""
    if "gates" in request.messages[-1]["content"]:
        return Completion(f"{request.seed % 1000}")
    return Completion("the Bern." if request.seed % 2 else "Bern")


def judged(stage, view, reply=sampled):
    ctx = context(reply)
    made = stage.apply(view, ctx)["judgments"]
    assert made.type == JUDGMENTS
    return [[(j["a"], j["score"], j["status"]) for j in row] for row in made.to_pylist()], ctx


def test_what_is_made_up_does_not_come_again():
    view, _ = with_claims([["Bern", "gates", "hello"], ["secret", "long"], ["Bern", "Bern"]])
    found, ctx = judged(Consistency(engine="fake", n=10, measure="largest"), view)
    assert found[0] == [(0, 1.0, "ok"), (1, pytest.approx(0.55, abs=0.06), "ok")]
    assert found[1] == [(0, None, "refused"), (1, None, "truncated")]
    assert found[2] == [(0, 1.0, "ok"), (1, 1.0, "ok")]
    assert ctx.counts["calls"] == 3 * 10  # a row's equal questions are asked once
    part, _ = judged(Consistency(engine="fake", n=10, measure="largest"), view.slice(0, 1))
    assert part == found[:1]
    share, _ = judged(Consistency(engine="fake", n=10, at_least=0.9), view)
    assert [score for _, score, _ in share[0]] == [1.0, 0.5]
    few, _ = judged(Consistency(engine="fake", n=10, min_claims=2), view)
    assert [a for a, *_ in few[0]] == [1]


def test_match_is_how_often_the_answers_own_word_comes():
    view, _ = with_claims([["Bern", "gates"]])
    found, _ = judged(Consistency(engine="fake", n=10), view)
    assert [score for _, score, _ in found[0]] == pytest.approx([1.0, 0.5], abs=0.06)


def test_a_claim_that_the_model_is_sure_is_wrong_matches_nothing():
    view, _ = with_claims([["Bern"]])
    sure = [
        judged(
            Consistency(engine="fake", n=4, measure=measure), view, lambda r: Completion("Zurich")
        )[0]
        for measure in ("match", "largest")
    ]
    assert sure == [[[(0, 0.0, "ok")]], [[(0, 1.0, "ok")]]]
    said = ["Zurich", "Bern", "I do not know.", "Zurich"]
    ctx = context(lambda r: Completion(said.pop()))
    (row,) = Consistency(engine="fake", n=4).apply(view, ctx)["judgments"].to_pylist()
    assert row[0]["text"] == "0.25 Bern is the capital. (2 x zurich, 1 x bern, 1 x nothing)"


def test_lost_samples_are_left_out_and_lost_claims_are_no_number():
    view, _ = with_claims([["Bern"], ["gates"]])

    def reply(request):
        lost = "gates" in request.messages[-1]["content"] or request.seed % 5 == 0
        return Completion("", "api_error", error="x") if lost else Completion("Bern")

    found, _ = judged(Consistency(engine="fake", n=10, max_error_rate=1.0), view, reply)
    assert found[0] == [(0, 1.0, "ok")]
    assert found[1] == [(0, 1.0, "ok")]
    strict, _ = judged(
        Consistency(engine="fake", n=10, max_error_rate=1.0, min_claims=2), view, reply
    )
    assert strict == [[], [(0, None, "api_error")]]


def test_dropped_candidates_and_foreign_claims():
    view, _ = with_claims([["Bern", "gates"]])
    dropped = table([["Bern", "gates"]], [["empty", None]]).append_column("claims", view["claims"])
    found, _ = judged(Consistency(engine="fake", n=10), dropped)
    assert [a for a, *_ in found[0]] == [1]
    fewer = table([["Bern"]]).append_column("claims", view["claims"])
    with pytest.raises(StageError, match="run `claims` again"):
        Consistency(engine="fake").apply(fewer, context(sampled))
    with pytest.raises(ValueError, match="temperature 0"):
        Consistency(engine="fake", sampling={"temperature": 0})


def test_support_is_the_probability_of_yes():
    view, _ = with_claims([["Bern", "gates", "hello"], ["secret", "Bern"]])

    def reply(request):
        said = request.messages[1]["content"]
        assert request.messages[-1] == {"role": "assistant", "content": "Answer:"}
        yes, no = (0.1, 0.8) if "gates" in said else (0.6, 0.2) if "Bern it is" in said else (0, 0)
        logs = [math.log(p) if p else -np.inf for p in (yes, no)]
        return Completion("", "truncated", choice_logprobs=tuple(logs))

    found, ctx = judged(Support(engine="fake"), view, reply)
    assert found[0] == [
        (0, pytest.approx(0.75), "ok"), (1, pytest.approx((0.75 + 1 / 9) / 2), "ok"),
    ]  # fmt: skip
    assert found[1] == [(0, None, "refused"), (1, None, "parse_error")]
    assert ctx.counts["calls"] == 4
    text = Support(engine="fake").apply(view, context(reply))["judgments"].to_pylist()[0][1]["text"]
    assert text == "0.75 Bern is the capital.\n0.11 It has 9 gates."


def test_no_rows_and_no_claims():
    view, _ = with_claims([["hello"]])
    for stage in (Consistency(engine="fake"), Support(engine="fake")):
        assert judged(stage, view)[0] == [[]]
        assert judged(stage, view.slice(0, 0))[0] == []
    assert concat_lists(view["claims"], view["claims"]).to_pylist() == [[]]


def test_a_question_that_is_too_long_says_so():
    view, _ = with_claims([["gates"]])
    long = Completion("", "too_long", error="prompt too long: 9 tokens, window 8")
    found, _ = judged(Consistency(engine="fake", n=3, max_error_rate=0.0), view, lambda r: long)
    assert found == [[(0, None, "too_long")]]
