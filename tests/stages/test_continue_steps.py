import pyarrow as pa
import pytest
from fake_engine import Fake

from curate.engines.contract import Completion
from curate.errors import StageError
from curate.schema import CANDIDATES, PROMPT
from curate.stage import Context
from curate.stages.continue_steps import ContinueSteps

WRONG, RIGHT = "one\n two \n\nA: 3", "one\nfour\nA: 5"


def rows(*texts, reference="5"):
    made = [{"text": t, "model": "m", "drop": None} for t in texts]
    return pa.table(
        {
            "id": ["r0", "r1"],
            "prompt": pa.array([[{"role": "user", "content": "Why?"}]] * 2, PROMPT),
            "candidates": pa.array([made, []], CANDIDATES),
            "reference": pa.array([reference] * 2, pa.string()),
        }
    )


def run(view, reply="\nA: 5", **fields):
    def answer(request):
        said = reply(request.messages) if callable(reply) else reply
        return said if isinstance(said, Completion) else Completion(said)

    engine = Fake(answer)
    stage = ContinueSteps(engine="fake", **{"n": 2, **fields})
    made = stage.apply(view, Context(engines={"fake": engine}))["candidates"].to_pylist()
    return made, engine.requests


def test_every_beginning_of_a_wrong_solution_is_continued():
    (made, none), asked = run(rows(WRONG, RIGHT))
    assert none == []
    assert [c["text"] for c in made] == [*["one\n\nA: 5"] * 2, *["one\n two\n\nA: 5"] * 2]
    assert {c["model"] for c in made} == {"fake-1"}
    last = [request.messages[-1] for request in asked]
    assert last[0] == {"role": "assistant", "content": "one\n"}
    assert last[2] == {"role": "assistant", "content": "one\n two\n"}
    assert asked[0].messages[0] == {"role": "user", "content": "Why?"}
    assert len({request.seed for request in asked}) == 4


def test_what_is_begun_alike_is_continued_once():
    (made, _), _ = run(rows(WRONG, "one\ntwo\nthree\nA: 4", WRONG))
    assert len(made) == 2 * 3  # after one; one, two; and one, two, three


@pytest.mark.parametrize(
    ("texts", "fields", "calls"),
    [
        ((RIGHT,), {}, 0),
        ((RIGHT,), {"only_wrong": False}, 4),
        (("one\ntwo\nno answer",), {}, 0),  # cut off: nothing says that it is wrong
        (("A: 3",), {}, 0),  # a single step has no beginning
        (("\n".join(map(str, range(16))) + "\nA: 3",), {}, 0),  # 17 steps
        ((WRONG.replace("\n", "\n\n"),), {"by": "paragraph"}, 4),
        ((), {}, 0),
    ],
)
def test_which_are_continued(texts, fields, calls):
    _, asked = run(rows(*texts), **fields)
    assert len(asked) == calls


def test_the_instruction_is_the_one_the_solutions_were_written_under():
    _, asked = run(rows(WRONG), system="Step by step.")
    roles = [[m["role"] for m in request.messages] for request in asked]
    assert roles == [["system", "user", "assistant"]] * 4
    assert asked[0].messages[0]["content"] == "Step by step."


def test_a_seed_depends_on_the_row_alone():
    _, asked = run(rows(WRONG))
    _, later = run(rows(WRONG).slice(0, 1))
    assert [r.seed for r in asked] == [r.seed for r in later]


def test_what_fails_is_a_candidate_with_a_reason():
    def reply(messages):
        if messages[-1]["content"] == "one\n":
            return Completion("", "api_error", "error", error="no\nway")
        return "  "

    (made, _), _ = run(rows(WRONG), reply, max_error_rate=0.5)
    assert [c["drop"] for c in made] == ["api_error: no way", "api_error: no way", "empty", "empty"]
    with pytest.raises(StageError, match="2 of 4 calls failed"):
        run(rows(WRONG), reply)
