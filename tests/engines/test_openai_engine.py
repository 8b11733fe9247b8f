import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from asking import ask, read, requests
from openai_answers import KEY, PATH, answer
from pydantic import ValidationError
from werkzeug import Response

from curate.engines.openai import OpenAI
from curate.errors import ConfigError

pytest.importorskip("openai")
pytest.importorskip("stamina")


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
