import dataclasses
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from asking import ask, read, requests
from pydantic import ValidationError
from werkzeug import Response

from curate.engines.contract import Telling
from curate.engines.openai import OpenAI
from curate.errors import ConfigError, StageError
from curate.meter import Counting

pytest.importorskip("openai")
pytest.importorskip("stamina")
KEY = "sk-very-secret-123"
PATH = "/v1/chat/completions"


@pytest.fixture
def load(httpserver, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "*")
    engines = []

    def make(**fields):
        fields = {"retries": 1, "timeout_s": 10.0} | fields
        spec = OpenAI(model="tiny", base_url=httpserver.url_for("/v1"), **fields)
        engines.append(spec.load())
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def answer(content="hello", reason="stop", logprobs=None, refusal=None):
    message = {"role": "assistant", "content": content, "refusal": refusal}
    choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": logprobs}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    head = {"id": "1", "object": "chat.completion", "created": 1, "model": "tiny"}
    return head | {"choices": [choice], "usage": usage}


def test_answers_come_in_the_order_of_the_requests(httpserver, load):
    def echo(request):
        import orjson

        return Response(
            orjson.dumps(answer(request.json["messages"][0]["content"])),
            content_type="application/json",
        )

    httpserver.expect_request(PATH).respond_with_handler(echo)
    engine = load(concurrency=3)
    texts = [str(i) for i in range(20)]
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(engine.chat, [requests(*texts), requests("x")]))
    assert both[0].text.to_pylist() == texts
    assert both[1].text.to_pylist() == ["x"]
    assert both[0].prompt_tokens.to_pylist() == [3] * len(texts)
    assert read(both[1])[0].tokens == 2


def test_parameters_are_sent_and_defaults_are_not(httpserver, load):
    httpserver.expect_request(PATH).respond_with_json(answer())
    ask(load(), "hi", seeds=[7], top_k=5, max_tokens=9, stop=("END",))
    sent = httpserver.log[0][0].json
    assert (sent["top_k"], sent["max_tokens"], sent["stop"], sent["seed"]) == (5, 9, ["END"], 7)
    assert "min_p" not in sent
    assert "logprobs" not in sent


def test_a_schema_is_sent_as_the_response_format(httpserver, load):
    httpserver.expect_request(PATH).respond_with_json(answer('{"score": 4}'))
    schema = {"type": "object", "properties": {"score": {"type": "integer"}}}
    asked = dataclasses.replace(requests("hi"), json_schema=schema)
    assert load().chat(asked).text.to_pylist() == ['{"score": 4}']
    sent = httpserver.log[0][0].json["response_format"]
    assert (sent["type"], sent["json_schema"]["schema"]) == ("json_schema", schema)
    assert sent["json_schema"]["strict"] is True


def test_a_429_is_tried_again(httpserver, load):
    httpserver.expect_ordered_request(PATH).respond_with_json(
        {}, status=429, headers={"Retry-After": "0"}
    )
    httpserver.expect_ordered_request(PATH).respond_with_json(answer())
    assert ask(load(), "hi")[0].text == "hello"
    assert len(httpserver.log) == 2


def test_500s_end_as_an_item_and_spare_the_others(httpserver, load):
    httpserver.expect_request(PATH).respond_with_json(
        {"error": f"boom {KEY}"}, status=500, headers={"Retry-After": "0"}
    )
    (done,) = ask(load(), "hi")
    assert (done.status, done.text) == ("api_error", "")
    assert "500" in done.error
    assert KEY not in done.error
    assert len(httpserver.log) == 2


def test_a_400_is_an_item_and_is_not_tried_again(httpserver, load):
    httpserver.expect_request(PATH).respond_with_json({"error": "too long"}, status=400)
    assert ask(load(), "hi")[0].status == "api_error"
    assert len(httpserver.log) == 1


@pytest.mark.parametrize("code", [401, 403, 404])
def test_wrong_key_or_model_stops_at_once(httpserver, load, code):
    httpserver.expect_request(PATH).respond_with_json({"error": f"no {KEY}"}, status=code)
    with pytest.raises(StageError, match=str(code)) as caught:
        load(concurrency=1).chat(requests(*["hi"] * 5))
    assert KEY not in str(caught.value)
    assert len(httpserver.log) < 5


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


def test_a_dead_server_stops_the_shard(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    engine = OpenAI(model="tiny", base_url="http://127.0.0.1:9/v1", retries=0).load()
    with pytest.raises(StageError, match="no connection"):
        ask(engine, "hi")
    engine.close()
    with pytest.raises(StageError, match="closed"):
        ask(engine, "hi")


@pytest.mark.parametrize(
    "url", ["http://u:hunter2@host/v1", "http://host/v1?key=hunter2", "ftp://host/hunter2"]
)
def test_an_address_with_a_secret_is_refused_and_not_shown(url):
    with pytest.raises(ValidationError) as caught:
        OpenAI(model="m", base_url=url)
    assert "hunter2" not in str(caught.value)


def test_a_missing_key_is_refused_except_for_loopback(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        OpenAI(model="m").load()
    OpenAI(model="m", base_url="http://localhost:8000/v1").load().close()
    OpenAI(model="m", base_url="http://judge:8000/v1", api_key_env="").load().close()


def test_the_key_is_not_described(load):
    engine = load()
    assert KEY not in str(engine.describe()) + repr(engine._spec)


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


TOO_LONG = {
    "error": {
        "message": "This model's maximum context length is 100 tokens. However, your messages "
        "resulted in 400 tokens."
    }
}


def test_a_prompt_that_is_too_long_is_told_from_an_error(httpserver, load):
    httpserver.expect_request(PATH).respond_with_json(TOO_LONG, status=400)
    (done,) = ask(load(), "hi")
    assert (done.status, done.error) == ("too_long", "prompt too long: 400 tokens, window 100")
    assert len(httpserver.log) == 1


def windowed(window):
    """A server whose tokens are characters."""

    def act(request):
        said = request.json
        size = sum(len(message["content"]) for message in said["messages"])
        limit = said.get("max_tokens", 1)
        if size >= window:
            text = f"context length is {window} tokens, your messages resulted in {size} tokens"
        elif size + limit > window:
            text = (
                f"max_tokens is too large: {limit}. This model's maximum context length is "
                f"{window} tokens and your request has {size} input tokens"
            )
        else:
            return Response(json.dumps(answer()), content_type="application/json")
        return Response(
            json.dumps({"error": {"message": text}}), 400, content_type="application/json"
        )

    return act


def test_a_prompt_is_cut_where_the_pipeline_says_so(httpserver, load):
    httpserver.expect_request(PATH).respond_with_handler(windowed(400))
    long = "begin " + "x" * 3000 + " end"
    assert ask(load(), long)[0].status == "too_long"
    done = load(cut_prompts=True).chat(requests(long, "short", max_tokens=50))
    assert done.status.to_pylist() == ["ok", "ok"]
    assert done.cut_prompts == 1
    sent = [r.json["messages"][0]["content"] for r, _ in httpserver.log]
    assert any(t.startswith("begin x") and t.endswith("x end") and len(t) < 400 for t in sent)


def test_a_limit_that_leaves_the_prompt_no_room_is_lowered(httpserver, load):
    httpserver.expect_request(PATH).respond_with_handler(windowed(400))
    (done,) = ask(load(), "x" * 100, max_tokens=5000)
    assert done.status == "ok"
    assert httpserver.log[-1][0].json["max_tokens"] == 300


def test_retries_are_counted_and_told(httpserver, load):
    for _ in range(2):
        httpserver.expect_ordered_request(PATH).respond_with_json(
            {"error": f"busy {KEY}"}, status=503, headers={"Retry-After": "0"}
        )
    httpserver.expect_ordered_request(PATH).respond_with_json(answer())
    engine, told = load(retries=3), []
    assert isinstance(engine, Telling)
    engine.listen(told.append)
    assert engine.chat(requests("hi")).retries == 2
    assert len(told) == 1  # more of it within seconds is not told again
    assert "1 tries failed so far; last: HTTP 503" in told[0]
    assert KEY not in told[0]


def test_a_server_that_only_fails_is_asked_a_bounded_number_of_times(httpserver, load):
    """512 calls of which each would be tried 4 times: without a stop these are 2,048 requests."""
    httpserver.expect_request(PATH).respond_with_json({}, status=500, headers={"Retry-After": "0"})
    engine = load(retries=3, concurrency=8, give_up_after=5)
    with pytest.raises(StageError, match=r"5 calls in a row failed, each 4 times.*HTTP 500"):
        engine.chat(requests(*["hi"] * 512))
    assert len(httpserver.log) <= (8 + 5) * 4
    with pytest.raises(StageError, match="in a row failed"):
        engine.chat(requests("again"))
    again = [r for r, _ in httpserver.log if r.json["messages"][0]["content"] == "again"]
    assert len(again) == 1  # one try says that it is still down
    httpserver.clear()
    httpserver.expect_request(PATH).respond_with_json(answer())
    assert ask(engine, "hi")[0].status == "ok"


def test_failures_with_answers_between_them_stop_nothing(httpserver, load):
    def act(request):
        bad = "bad" in request.json["messages"][0]["content"]
        body, code = ({}, 500) if bad else (answer(), 200)
        return Response(
            json.dumps(body), code, {"Retry-After": "0"}, content_type="application/json"
        )

    httpserver.expect_request(PATH).respond_with_handler(act)
    done = ask(load(retries=0, concurrency=1, give_up_after=2), *["bad", "good"] * 6)
    assert [c.status for c in done] == ["api_error", "ok"] * 6


def test_calls_count_as_they_end(httpserver, load):
    seen = []

    def act(request):
        seen.append(engine.so_far())
        bad = "bad" in request.json["messages"][0]["content"]
        body, code = ({}, 500) if bad else (answer(), 200)
        return Response(json.dumps(body), code, content_type="application/json")

    httpserver.expect_request(PATH).respond_with_handler(act)
    engine = load(retries=0, concurrency=1)
    assert isinstance(engine, Counting)
    tokens = sum(c.tokens or 0 for c in ask(engine, "good", "bad", "good"))
    assert [(sums.asked, sums.ended, sums.failed) for sums in seen] == [
        (3, 0, 0), (3, 1, 0), (3, 2, 1),
    ]  # fmt: skip
    assert engine.so_far() == (3, 3, 1, tokens)


def test_a_server_that_hangs_is_told_of_and_ends_at_the_deadline(httpserver, load, monkeypatch):
    monkeypatch.setattr("curate.engines.server_watch.SILENCE_S", 0.2)
    httpserver.expect_request(PATH).respond_with_handler(lambda request: time.sleep(1.5))
    told = []
    engine = load(timeout_s=0.4, deadline_s=0.6, retries=6)
    engine.listen(told.append)
    started = time.monotonic()
    (done,) = ask(engine, "hi")
    assert time.monotonic() - started < 3
    assert done.status == "api_error"
    assert "no answer within" in done.error
    assert any("1 calls wait" in words for words in told)


def test_a_key_is_cut_from_every_text_of_an_answer(httpserver, load):
    httpserver.expect_request(PATH).respond_with_json(
        answer(f"it is {KEY}", f"stop {KEY}") | {"model": f"m {KEY}"}
    )
    engine = load()
    (done,) = ask(engine, "hi")
    assert (done.text, done.finish_reason) == ("it is [key]", "stop [key]")
    assert KEY not in str(done) + str(engine.describe())


def test_a_key_may_come_from_a_file(httpserver, load, tmp_path):
    (tmp_path / "key").write_text("sk-from-a-file\n")
    httpserver.expect_request(PATH).respond_with_json(answer())
    assert ask(load(api_key_file=str(tmp_path / "key")), "hi")[0].status == "ok"
    assert httpserver.log[0][0].headers["Authorization"] == "Bearer sk-from-a-file"
