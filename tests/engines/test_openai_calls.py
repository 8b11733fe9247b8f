import json
import math

import pytest
from asking import ask, requests
from openai_answers import PATH, answer

from curate.engines.openai import OpenAI

pytest.importorskip("openai")
pytest.importorskip("stamina")


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (answer(None, refusal="I cannot"), "refused", ""),
        (answer(None), "refused", ""),
        (answer("part", "content_filter"), "refused", ""),
        (answer("part", "length"), "truncated", "part"),
        (answer(None, "length"), "truncated", ""),
        ({"choices": []}, "api_error", ""),
        ([1], "api_error", ""),
    ],
)
def test_status(httpserver, load, body, status, text):
    httpserver.expect_request(PATH).respond_with_json(body)
    (done,) = ask(load(), "hi")
    assert (done.status, done.text) == (status, text)


def test_choices_sum_their_spellings(httpserver, load):
    top = [
        {"token": token, "logprob": math.log(p), "bytes": None}
        for token, p in (("A", 0.5), (" A", 0.25), ("B", 0.125))
    ]
    logprobs = {"content": [top[0] | {"top_logprobs": top}], "refusal": None}
    httpserver.expect_request(PATH).respond_with_json(answer("A", "length", logprobs))
    (done,) = ask(load(), "hi", choices=("A", "B", "C"))
    assert done.status == "ok"
    assert done.choice_logprobs[:2] == pytest.approx((math.log(0.75), math.log(0.125)))
    assert done.choice_logprobs[2] == -math.inf
    assert httpserver.log[0][0].json["max_tokens"] == 1


def test_no_logprobs_from_the_server_is_none(httpserver, load):
    httpserver.expect_request(PATH).respond_with_json(answer("A"))
    assert ask(load(), "hi", choices=("A",))[0].choice_logprobs is None


def raw(httpserver, body):
    httpserver.expect_request(PATH).respond_with_data(body, content_type="application/json")


def with_logprob(logprob):
    top = [{"token": "A", "logprob": logprob, "bytes": None}]
    return answer("A", "length", {"content": [top[0] | {"top_logprobs": top}]})


MALFORMED = {
    "a finish reason that is a number": answer(reason=5),
    "a finish reason that is a list": answer(reason=["stop"]),
    "content that is a list": answer(["hello"]),
    "a message that is a text": answer()
    | {"choices": [{"message": "hi", "finish_reason": "stop"}]},
    "choices that are a text": answer() | {"choices": "ab"},
}


@pytest.mark.parametrize("what", MALFORMED)
def test_one_odd_answer_is_a_status_on_its_call(httpserver, load, what):
    httpserver.expect_ordered_request(PATH).respond_with_json(MALFORMED[what])
    httpserver.expect_ordered_request(PATH).respond_with_json(answer())
    odd, good = ask(load(concurrency=1), "one", "two")
    assert (odd.status, odd.text) == ("api_error", "")
    assert "malformed answer" in odd.error
    assert (good.status, good.text) == ("ok", "hello")


@pytest.mark.parametrize("logprob", [1000, 1e308, "x", None, [0.0]])
def test_a_log_probability_that_is_none_is_a_status(httpserver, load, logprob):
    httpserver.expect_request(PATH).respond_with_json(with_logprob(logprob))
    (done,) = ask(load(), "hi", choices=("A",))
    assert done.status == "api_error"
    assert "malformed" in done.error


def test_a_log_probability_of_nan_is_a_status_and_one_of_rounding_is_zero(httpserver, load):
    raw(httpserver, json.dumps(with_logprob(float("nan"))))
    assert ask(load(), "hi", choices=("A",))[0].status == "api_error"
    httpserver.clear()
    httpserver.expect_request(PATH).respond_with_json(with_logprob(1e-7))
    assert ask(load(), "hi", choices=("A",))[0].choice_logprobs == (0.0,)


def test_json_nested_very_deep_is_a_status(httpserver, load):
    deep = "[" * 100_000 + "]" * 100_000
    raw(httpserver, json.dumps(answer()).replace('"tiny"', deep))
    assert ask(load(), "hi")[0].status == "api_error"


def test_halves_of_characters_come_back_whole(httpserver, load):
    raw(httpserver, json.dumps(answer(reason="st\ud83dop")))
    assert ask(load(), "hi")[0].finish_reason == "st\ufffdop"
    httpserver.clear()
    httpserver.expect_request(PATH).respond_with_data(
        '{"error": {"message": "no \\ud83d"}}', status=400, content_type="application/json"
    )
    (done,) = ask(load(), "hi")
    assert done.status == "api_error"
    assert "no \ufffd" in done.error


USAGE = {
    "none": (None, (None, None, 0)),
    "a text": ("many", (None, None, 0)),
    "too large": ({"prompt_tokens": 2**40, "completion_tokens": 2}, (None, 2, 0)),
    "negative": ({"prompt_tokens": 3, "completion_tokens": -2}, (3, None, 0)),
    "texts and floats": ({"prompt_tokens": "a", "completion_tokens": 2.5}, (None, None, 0)),
    "true": ({"prompt_tokens": True, "completion_tokens": 2}, (None, 2, 0)),
    "odd cache": (
        {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": "x"},
        },
        (3, 2, 0),
    ),
    "all": (
        {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}},
        (3, 2, 1),
    ),
}


@pytest.mark.parametrize("usage", USAGE)
def test_tokens_that_are_not_told_are_unknown_and_never_zero(httpserver, load, usage):
    said, (prompt_tokens, tokens, cached) = USAGE[usage]
    httpserver.expect_request(PATH).respond_with_json(answer() | {"usage": said})
    done = load().chat(requests("hi"))
    assert done.status.to_pylist() == ["ok"]
    assert done.prompt_tokens.to_pylist() == [prompt_tokens]
    assert done.tokens.to_pylist() == [tokens]
    assert done.cached_tokens == cached


def test_the_extra_body_goes_along_with_every_call(httpserver, load):
    httpserver.expect_request(PATH).respond_with_json(answer("Yes."))
    body = {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "low"}
    ask(load(extra_body=body), "hi", top_k=5)
    sent = httpserver.log[0][0].json
    assert sent["chat_template_kwargs"] == {"enable_thinking": False}
    assert (sent["reasoning_effort"], sent["top_k"]) == ("low", 5)
    assert "extra_body" not in sent


def test_the_extra_body_is_part_of_the_identity():
    plain, told = OpenAI(model="m"), OpenAI(model="m", extra_body={"reasoning_effort": "low"})
    assert told.identity() != plain.identity()
    assert "extra_body" not in plain.identity()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("temperature", "belongs into the `sampling` of a stage"),
        ("max_tokens", "belongs into the `sampling` of a stage"),
        ("messages", "is what every call says by itself"),
        ("logprobs", "is what every call says by itself"),
        ("api_key", "looks like a key; use api_key_env"),
        ("Authorization", "looks like a key; use api_key_env"),
    ],
)
def test_the_extra_body_cannot_hold_what_has_a_place_of_its_own(name, why):
    with pytest.raises(ValueError, match=why) as raised:
        OpenAI(model="m", extra_body={name: "sk-1234567890"})
    assert "sk-12345" not in str(raised.value)
