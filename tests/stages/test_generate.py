import pyarrow as pa
import pytest
from fake_engine import Fake, context, table

from curate.engines.contract import Completion, Sampling
from curate.errors import StageError
from curate.schema import CANDIDATES, PROMPT
from curate.stage import Context
from curate.stages.generate import Generate


def ok(request):
    return Completion(f"seed {request.seed}", prompt_tokens=3, tokens=2)


def test_n_answers_per_prompt_with_seeds_of_the_row():
    view = table([[], []])
    ctx = context(ok)
    made = Generate(engine="fake", n=3).apply(view, ctx)
    rows = made["candidates"].to_pylist()
    assert made["candidates"].type == CANDIDATES
    assert [len(row) for row in rows] == [3, 3]
    assert len({c["text"] for row in rows for c in row}) == 6
    assert {c["model"] for row in rows for c in row} == {"fake-1"}
    assert ctx.counts == {"calls": 6, "prompt_tokens": 18, "tokens": 12, "cached_tokens": 0,
                          "replies: ok": 6}  # fmt: skip
    assert made["fail"].null_count == 2
    one = Generate(engine="fake", n=3).apply(view.slice(1, 1), context(ok))
    assert one["candidates"].to_pylist() == rows[1:]


def test_other_settings_or_seed_give_other_seeds():
    view = table([[]])
    variants = [
        (Generate(engine="fake", n=1), 0),
        (Generate(engine="fake", n=1), 1),
        (Generate(engine="fake", n=1, sampling={"temperature": 1.0}), 0),
        (Generate(engine="fake", n=1, system="be brief"), 0),
    ]
    texts = [s.apply(view, context(ok, seed))["candidates"][0][0]["text"] for s, seed in variants]
    assert len({t.as_py() for t in texts}) == 4


def test_several_engines_each_give_n():
    stage = Generate(engine=("x", "y"), n=2)
    first, second = Fake(lambda r: Completion("x")), Fake(lambda r: Completion("y"))
    second.model = "fake-2"
    made = stage.apply(table([[], []]), Context(engines={"x": first, "y": second}))
    for row in made["candidates"].to_pylist():
        assert [(c["text"], c["model"]) for c in row] == [
            ("x", "fake-1"),
            ("x", "fake-1"),
            ("y", "fake-2"),
            ("y", "fake-2"),
        ]
    assert [role for role, _ in stage.engine_roles()] == ["x", "y"]


def test_statuses_become_reasons():
    answers = iter(
        [
            Completion("", "api_error", None, error="429\nslow down"),
            Completion("cut of", "truncated", "length", tokens=9),
            Completion("", "refused"),
            Completion(" \n", "ok"),
            Completion("fine", "ok"),
        ]
    )
    stage = Generate(engine="fake", n=5, max_error_rate=0.2)
    row = stage.apply(table([[]]), context(lambda r: next(answers)))["candidates"].to_pylist()[0]
    assert [(c["text"], c["finish_reason"], c["tokens"], c["drop"]) for c in row] == [
        ("", "error", None, "api_error: 429 slow down"),
        ("cut of", "length", 9, None),
        ("", "refusal", None, "refused"),
        (" \n", "stop", None, "empty"),
        ("fine", "stop", None, None),
    ]
    cut = Generate(engine="fake", n=1, drop_truncated=True)
    made = cut.apply(table([[]]), context(lambda r: Completion("cut", "truncated", "length")))
    assert made["candidates"][0][0]["drop"].as_py() == "truncated"


def test_a_row_whose_answers_all_failed_fails():
    def half(request):
        bad = "question 0" in request.messages[-1]["content"]
        return Completion("", "api_error", error="boom") if bad else Completion("fine")

    stage = Generate(engine="fake", n=2, max_error_rate=0.5)
    made = stage.apply(table([[], []]), context(half))
    assert made["fail"].to_pylist() == ["all 2 answers failed; first: boom", None]
    with pytest.raises(StageError, match=r"generate with fake: 2 of 4 calls failed \(2 x boom\)"):
        Generate(engine="fake", n=2).apply(table([[], []]), context(half))


LONG = Completion("", "too_long", error="prompt too long: 9 tokens, window 8")


def test_a_prompt_that_is_too_long_drops_its_row_and_is_no_error():
    """More rows than any error budget allows: a rerun could not make them shorter."""

    def reply(request):
        return Completion("fine") if "question 3" in request.messages[-1]["content"] else LONG

    ctx = context(reply)
    made = Generate(engine="fake", n=2, max_error_rate=0.0).apply(table([[]] * 4), ctx)
    assert made["drop"].to_pylist() == [LONG.error] * 3 + [None]
    assert made["fail"].to_pylist() == [None] * 4
    assert {c["drop"] for c in made["candidates"].to_pylist()[0]} == {LONG.error}
    assert (ctx.counts["too_long"], ctx.counts["errors"]) == (6, 0)


def test_a_row_lost_to_the_window_and_to_an_error_is_a_failed_one():
    answers = iter([LONG, Completion("", "api_error", error="boom")])
    stage = Generate(engine="fake", n=2, max_error_rate=1.0)
    made = stage.apply(table([[]]), context(lambda r: next(answers)))
    assert made["fail"].to_pylist() == ["all 2 answers failed; first: boom"]
    assert made["drop"].to_pylist() == [None]


def test_prompts_that_are_too_long_do_not_thin_out_the_failures_of_the_rest():
    def reply(request):
        bad = "question 0" in request.messages[-1]["content"]
        return Completion("", "api_error", error="boom") if bad else LONG

    with pytest.raises(StageError, match="1 of 1 calls failed"):
        Generate(engine="fake", n=1).apply(table([[]] * 50), context(reply))


def test_the_error_budget_changes_no_answer():
    ctx = [context(lambda r: Completion(f"{r.seed}")) for _ in range(2)]
    made = [
        Generate(engine="fake", max_error_rate=rate).apply(table([[]]), one)["candidates"]
        for rate, one in zip((0.1, 0.7), ctx, strict=True)
    ]
    assert made[0] == made[1]


def test_an_empty_prompt_fails_and_asks_nothing():
    view = table([[], []]).set_column(
        1, "prompt", pa.array([[], [{"role": "user", "content": "hi"}]], PROMPT)
    )
    ctx = context(ok)
    made = Generate(engine="fake", n=2).apply(view, ctx)
    assert made["fail"].to_pylist() == ["the prompt is empty", None]
    assert [len(row) for row in made["candidates"].to_pylist()] == [0, 2]


def test_system_message_does_not_replace_the_prompts_own():
    own = [{"role": "system", "content": "own"}, {"role": "user", "content": "hi"}]
    view = table([[], []]).set_column(1, "prompt", pa.array([own, own[1:]], PROMPT))
    ctx = context(ok)
    Generate(engine="fake", n=1, system="given").apply(view, ctx)
    assert [r.messages[0]["content"] for r in ctx.engines["fake"].requests] == ["own", "given"]


def test_temperature_defaults_and_the_empty_shard():
    assert Generate(engine="fake", sampling={"max_tokens": 5}).sampling.temperature == 0.7
    assert Generate(engine="fake", sampling=Sampling()).sampling.temperature == 1.0
    made = Generate(engine="fake").apply(table([[]]).slice(0, 0), context(ok))
    assert len(made["candidates"]) == len(made["fail"]) == 0


def test_of_several_system_messages_each_answer_draws_one():
    view = table([[]] * 40)
    stage = Generate(engine="fake", n=5, system=("kind", "kind", "kind", "brief"))
    ctx = context(ok)
    whole = stage.apply(view, ctx)["candidates"].to_pylist()
    said = [r.messages[0]["content"] for r in ctx.engines["fake"].requests]
    assert {m["role"] for r in ctx.engines["fake"].requests for m in r.messages[:1]} == {"system"}
    assert 25 < said.count("brief") < 75  # 50 of 200 expected
    assert any(len(set(said[i : i + 5])) == 2 for i in range(0, 200, 5))  # not one a prompt
    part = context(ok)
    assert stage.apply(view.slice(7, 1), part)["candidates"].to_pylist() == whole[7:8]
    again = [r.messages[0]["content"] for r in part.engines["fake"].requests]
    assert again == said[35:40]
    with pytest.raises(ValueError, match="give a text or several"):
        Generate(engine="fake", system=())


def test_each_prompt_draws_its_engines():
    names = ("a", "b", "c", "d")
    stage = Generate(engine=names, draw=2, n=2)
    engines = {name: Fake(ok) for name in names}
    for name, engine in engines.items():
        engine.model = name
    rows = stage.apply(table([[]] * 60), Context(engines=engines))["candidates"].to_pylist()
    models = [[c["model"] for c in row] for row in rows]
    assert all(len(m) == 4 and m[0] == m[1] != m[2] == m[3] for m in models)
    assert len({tuple(m[::2]) for m in models}) == 6  # every two of the four
    for name in names:
        assert 15 <= sum(name in m for m in models) <= 45  # 30 expected
    part = stage.apply(table([[]] * 60).slice(9, 1), Context(engines=engines))
    assert part["candidates"].to_pylist() == rows[9:10]
    with pytest.raises(ValueError, match="draw: 3 engines of 2"):
        Generate(engine=("a", "b"), draw=3)
