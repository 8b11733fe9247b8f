import json
import time

import pytest
from asking import ask, requests
from openai_answers import KEY, PATH, answer
from serving import address, serving
from werkzeug import Response

from curate.engines.contract import Telling
from curate.engines.openai import OpenAI
from curate.errors import StageError
from curate.meter import Counting

pytest.importorskip("openai")
pytest.importorskip("stamina")


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


def test_a_dead_server_stops_the_shard(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    engine = OpenAI(model="tiny", base_url="http://127.0.0.1:9/v1", retries=0).load()
    with pytest.raises(StageError, match="no connection"):
        ask(engine, "hi")
    engine.close()
    with pytest.raises(StageError, match="closed"):
        ask(engine, "hi")


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
    assert "1 try failed so far; last: HTTP 503" in told[0]
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


def test_a_server_that_hangs_is_told_of_and_ends_at_the_deadline(load, monkeypatch):
    """The server is its own: what still hangs there must not reach that of the next test."""
    monkeypatch.setattr("curate.engines.server_watch.SILENCE_S", 0.2)
    told, asked = [], []

    def hang(handler, body):
        asked.append(body)
        time.sleep(1.5)

    with serving(hang) as server:
        engine = load(base_url=f"{address(server)}/v1", timeout_s=0.4, deadline_s=0.6, retries=6)
        engine.listen(told.append)
        (done,) = ask(engine, "hi")
    assert len(asked) <= 2  # of seven tries: the deadline falls into the second
    assert done.status == "api_error"
    assert "no answer within" in done.error
    assert any("1 calls wait" in words for words in told)
