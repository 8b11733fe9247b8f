import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor

import pytest
from asking import ask, read, requests
from pydantic import ValidationError
from werkzeug import Response

from curate.engines.openai import OpenAI
from curate.errors import ConfigError, StageError

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
