import math
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import asking
import numpy as np
import orjson
import pyarrow as pa
import pytest

from curate.engines import local_models
from curate.engines.admission import cache_tokens
from curate.engines.contract import Continuation, Requests, Sampling
from curate.engines.vllm import VLLM
from curate.errors import ConfigError, StageError
from curate.schema import PROMPT
from curate.stage import Context
from curate.stages.generate import Generate

pytestmark = pytest.mark.vllm


@pytest.fixture(scope="module")
def engine():
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    pytest.importorskip("vllm")
    try:
        local_models.resolve(local_models.SMOLLM2)
    except ConfigError as error:
        pytest.skip(str(error))
    loaded = VLLM(model=local_models.SMOLLM2, dtype="float32", max_model_len=512).load()
    yield loaded
    loaded.close()
    with pytest.raises(StageError, match="closed"):
        ask(loaded, "hi")


def ask(engine, *texts, seeds=None, **options):
    options = {"max_tokens": 16, "temperature": 0.0 if seeds is None else 1.0} | options
    return asking.ask(engine, *texts, seeds=seeds, **options)


def test_greedy_answers_repeat(engine):
    first = ask(engine, "What is the capital of France?", "Say hello.")
    assert "Paris" in first[0].text
    again = ask(engine, "Say hello.", "What is the capital of France?")
    assert [c.text for c in again[::-1]] == [c.text for c in first]
    assert all(c.tokens > 0 for c in first)


def test_seeds_give_different_answers_that_repeat(engine):
    turns = [{"role": "user", "content": "Write a line about the sea."}]
    seeds = np.array([1, 2, 2**63 - 1], np.uint64)
    shared = Requests(pa.array([turns]), Sampling(max_tokens=16), np.zeros(3, int), seeds)
    done = engine.chat(shared)
    first = done.text.to_pylist()
    assert len(set(first)) == 3
    assert min(done.prompt_tokens.to_pylist()) > 15
    again = ask(engine, *["Write a line about the sea."] * 3, seeds=seeds)
    assert [c.text for c in again] == first


def test_reaching_max_tokens_is_truncated(engine):
    (done,) = ask(engine, "Tell a long story.", max_tokens=3)
    assert (done.status, done.finish_reason, done.tokens) == ("truncated", "length", 3)


def test_a_stop_string_ends_an_answer(engine):
    (done,) = ask(engine, "Count: 1, 2, 3, 4", max_tokens=64, stop=("3",))
    assert done.status == "ok"
    assert "3" not in done.text


def test_a_last_assistant_message_is_continued(engine):
    messages = [
        {"role": "user", "content": "What is the capital of France?"},
        {"role": "assistant", "content": "The capital of France is"},
    ]
    (done,) = ask(engine, messages, max_tokens=4)
    assert "Paris" in done.text


def test_choice_probabilities(engine):
    (done,) = ask(engine, "Is water wet? Answer Yes or No.", choices=("Yes", "No"))
    assert done.status == "ok"
    assert 0.0 < sum(math.exp(x) for x in done.choice_logprobs) <= 1.0 + 1e-6


def test_a_choice_of_several_tokens_is_an_item_error(engine):
    (done,) = ask(engine, "x", choices=("antidisestablishmentarianism",))
    assert done.status == "api_error"
    assert "single token" in done.error


def test_likelihood_prefers_an_answer_to_nonsense(engine):
    question = [{"role": "user", "content": "What is the capital of France?"}]
    texts = ("The capital of France is Paris.", "Lamp seven of of quickly marble the.")
    good, bad = engine.loglikelihood([Continuation(question, t) for t in texts])
    assert good.logprob / good.tokens > bad.logprob / bad.tokens
    assert good.logprob < 0


def test_what_cannot_be_scored_is_an_item_error(engine):
    question = [{"role": "user", "content": "Why?"}]
    done = engine.loglikelihood([Continuation(question, a) for a in ("", "word " * 600, "Ok.")])
    assert [x.status for x in done] == ["api_error", "too_long", "ok"]
    assert done[0].logprob is None


def test_a_prompt_that_is_too_long_has_a_status_of_its_own(engine):
    done = ask(engine, "word " * 600, "Say hi.")
    assert done[0].status == "too_long"
    assert re.fullmatch(r"prompt too long: 6\d\d tokens, window 512", done[0].error)
    assert done[1].text


def test_rows_that_are_too_long_leave_with_a_reason_and_cost_no_error_budget(engine):
    said = ["word " * 600, "Say hi.", "word " * 700]
    turns = pa.array([[{"role": "user", "content": text}] for text in said], PROMPT)
    view = pa.table({"id": ["a", "b", "c"], "prompt": turns})
    stage = Generate(engine="m", n=2, max_error_rate=0.0, sampling=Sampling(max_tokens=4))
    ctx = Context(engines={"m": engine})
    made = stage.apply(view, ctx)
    assert [bool(why) for why in made["drop"].to_pylist()] == [True, False, True]
    assert made["fail"].null_count == 3
    assert (ctx.counts["too_long"], ctx.counts["errors"]) == (4, 0)


def test_the_room_in_the_cache_is_known(engine):
    """What admission counts with: 1 GiB of it, in float32."""
    assert cache_tokens(engine._stepper.llm.llm_engine) > 10_000


def test_answers_do_not_depend_on_the_order_of_admission(engine, monkeypatch):
    texts = [f"{'Please. ' * (k % 5)}Name a river, number {k}." for k in range(12)]
    seeds = np.arange(1, 13, dtype=np.uint64)
    free = [c.text for c in ask(engine, *texts, seeds=seeds)]
    admission = engine._stepper._admission
    monkeypatch.setattr(admission, "_capacity", 60)  # two or three at once
    monkeypatch.setattr(admission, "_bucket", 8)
    assert [c.text for c in ask(engine, *texts, seeds=seeds)] == free


def test_a_prompt_is_cut_where_the_pipeline_says_so(engine, monkeypatch):
    monkeypatch.setattr(engine, "_spec", engine._spec.model_copy(update={"cut_prompts": True}))
    long = "Say hello to Ann. " + "word " * 2000 + " Say hello to Ann."
    turns = pa.array([[{"role": "user", "content": t}] for t in (long, "Say hi.")])
    done = engine.chat(Requests(turns, Sampling(temperature=0.0, max_tokens=16)))
    assert "too_long" not in done.status.to_pylist()
    assert done.cut_prompts == 1
    assert 300 < done.prompt_tokens[0].as_py() <= 512 - 16


def test_two_threads_share_the_engine(engine):
    batches = [[f"Name a colour, number {i}." for i in range(k, k + 8)] for k in (0, 8)]
    alone = [ask(engine, *batch) for batch in batches]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda batch: ask(engine, *batch), batches))
    assert [[c.text for c in b] for b in together] == [[c.text for c in b] for b in alone]


def test_answers_are_held_to_a_schema(engine):
    schema = {
        "type": "object",
        "properties": {"score": {"type": "integer", "enum": [1, 2, 3]}},
        "required": ["score"],
        "additionalProperties": False,
    }
    turns = pa.array([[{"role": "user", "content": "Rate the sea from 1 to 3, as JSON."}]] * 2)
    done = engine.chat(
        Requests(turns, Sampling(temperature=0.0, max_tokens=40), json_schema=schema)
    )
    assert set(done.status.to_pylist()) == {"ok"}
    assert orjson.loads(done.text[0].as_py())["score"] in (1, 2, 3)
    assert done.text[0] == done.text[1]


def test_each_answer_is_held_to_its_own_schema_and_its_texts_to_their_length(engine):
    def schema(grades):
        properties = {
            "feedback": {"type": "string", "maxLength": 24},
            "score": {"type": "integer", "enum": grades},
        }
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    asked = asking.requests(
        *["Say much about the sea, then rate it, as JSON."] * 2,
        seeds=[1, 2], temperature=1.0, max_tokens=120,
    )  # fmt: skip
    done = engine.chat(replace(asked, json_schema=[schema([1, 2]), schema([8, 9])]))
    assert done.status.to_pylist() == ["ok", "ok"]
    first, second = map(orjson.loads, done.text.to_pylist())
    assert first["score"] in (1, 2)
    assert second["score"] in (8, 9)
    assert 0 < max(len(found["feedback"]) for found in (first, second)) <= 24


def test_description(engine):
    described = engine.describe()
    assert described["dtype"] == "float32"
    assert described["revision"] == local_models.SMOLLM2_SHA256
    assert described["version"]
