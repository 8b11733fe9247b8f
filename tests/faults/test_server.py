"""Whole runs against an OpenAI-compatible server on loopback that misbehaves."""

import email.utils
import json
import time

import pytest
from chat_server import chatting, said
from served import SECRET, answers, gone, shards

from curate.engines.openai import OpenAI

pytest.importorskip("openai")
pytest.importorskip("stamina")


def drip(handler):
    body = json.dumps(said()).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    for start in range(len(body)):  # each byte comes in time, the answer never does
        try:
            handler.wfile.write(body[start : start + 1])
            handler.wfile.flush()
        except OSError:
            return
        time.sleep(0.3)


PASSING = {
    "429 in seconds": lambda h: h.send(429, {}, [("Retry-After", "0")]),
    "429 until a date": lambda h: h.send(
        429, {}, [("Retry-After", email.utils.formatdate(time.time() - 5, usegmt=True))]
    ),
    "429 without a word": lambda h: h.send(429, {"error": SECRET}),
    "500": lambda h: h.send(500, {"error": SECRET}),
    "502": lambda h: h.send(502, raw=b"<html>bad gateway</html>"),
    "503": lambda h: h.send(503, {}),
    "hangs": lambda h: time.sleep(1.5),
    "drips": drip,
    "closes at once": lambda h: h.drop(),
    "closes in the headers": lambda h: h.drop(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "closes in the body": lambda h: h.drop(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"),
}


@pytest.mark.parametrize("fault", PASSING)
def test_passing_trouble_costs_a_retry_and_no_row(served, tmp_path, fault):
    def act(handler, prompt, number):
        if prompt == "p2" and number == 1:
            return PASSING[fault](handler)
        return handler.send(body=said())

    with chatting(act) as server:
        ended = served(server)
    assert (ended.accounting["rows_in"], ended.accounting["failed"]) == (8, {})
    assert {a["text"] for a in answers(tmp_path).values()} == {"fine"}
    assert server.tries == {f"p{i}": 2 if i == 2 else 1 for i in range(8)}


LASTING = {
    "400 too long": (lambda h: h.send(400, {"error": {"message": "too long"}}), 1, "HTTP 400"),
    "500 for ever": (lambda h: h.send(500, {}), 3, "HTTP 500"),
    "always closes": (lambda h: h.drop(), 3, "connection"),
    "no JSON": (lambda h: h.send(raw=b"{'oops"), 1, ""),
    "two choices": (
        lambda h: h.send(body=said() | {"choices": said()["choices"] * 2}),
        1,
        "malformed",
    ),
    "a list": (lambda h: h.send(body=[said()]), 1, "malformed"),
    "no choices": (lambda h: h.send(body=said() | {"choices": []}), 1, "malformed"),
    "null": (lambda h: h.send(raw=b"null"), 1, "malformed"),
}


@pytest.mark.parametrize("fault", LASTING)
def test_a_lasting_fault_of_one_item_is_a_status_on_it(served, tmp_path, fault):
    broken, tries, words = LASTING[fault]

    def act(handler, prompt, number):
        return broken(handler) if prompt == "p2" else handler.send(body=said())

    with chatting(act) as server:
        ended = served(server, rate="0.3")
    assert server.tries == {f"p{i}": tries if i == 2 else 1 for i in range(8)}
    assert ended.accounting["rows_in"] == 8
    assert sum(ended.accounting["failed"].values()) == 1
    (lost,) = gone(tmp_path)
    assert lost["id"] == "r2"
    assert words in lost["failed"]
    assert len(answers(tmp_path)) == 7


@pytest.mark.parametrize(
    ("body", "drop", "finish", "text"),
    [
        (said(""), "empty", "stop", ""),
        (said(None), "refused", "refusal", ""),
        (said(None, refusal="I would rather not"), "refused", "refusal", ""),
        (said("half", finish_reason="length"), None, "length", "half"),
        (said("\ud83d \ud83d\ude00 \x00"), None, "stop", "\ufffd \U0001f600 \x00"),
        (said("x" * 5_000_000), None, "stop", "x" * 5_000_000),
        (said() | {"usage": None}, None, "stop", "fine"),
    ],
)
def test_odd_answers_are_told_apart(served, tmp_path, body, drop, finish, text):
    def act(handler, prompt, number):
        return handler.send(body=body) if prompt == "p2" else handler.send(body=said())

    with chatting(act) as server:
        served(server)
    found = answers(tmp_path)["r2"]
    assert (found["drop"], found["finish_reason"], found["text"]) == (drop, finish, text)


def test_answers_in_any_order_give_the_same_bytes(served, tmp_path):
    """The server is slow with one prompt or another; each answer says what it was asked."""
    found = []
    for turn in range(3):

        def act(handler, prompt, number, turn=turn):
            time.sleep(0.05 * ((int(prompt[1:]) * 7 + turn * 5) % 8))
            handler.send(body=said(f"about {prompt}"))

        with chatting(act) as server:
            served(server, root=tmp_path / str(turn))
        texts = {row: answer["text"] for row, answer in answers(tmp_path / str(turn)).items()}
        assert texts == {f"r{i}": f"about p{i}" for i in range(8)}
        parts = (tmp_path / str(turn) / "store").glob("generate/*.arrow")
        found.append({p.name.split(".")[0]: p.read_bytes() for p in parts})
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 2


def test_the_key_does_not_show_in_the_engines_words(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    engine = OpenAI(model="tiny", base_url="http://127.0.0.1:9/v1").load()
    try:
        assert SECRET not in repr(engine.describe()) + repr(engine._spec)
    finally:
        engine.close()


ODD = {
    "a finish reason of 5": said(finish_reason=5),
    "a finish reason in a list": said(finish_reason=["stop"]),
    "nested very deep": None,
    "more tokens than there are": said() | {"usage": {"prompt_tokens": 2**40}},
    "tokens in letters": said()
    | {"usage": {"prompt_tokens": "a", "prompt_tokens_details": {"cached_tokens": "x"}}},
}


@pytest.mark.parametrize("fault", ODD)
def test_one_odd_answer_ends_no_run(served, tmp_path, fault):
    deep = b'{"choices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"

    def act(handler, prompt, number):
        if prompt != "p2":
            return handler.send(body=said())
        return handler.send(raw=deep) if ODD[fault] is None else handler.send(body=ODD[fault])

    with chatting(act) as server:
        books = served(server, rate="0.3").accounting
    readable = "tokens" in fault  # the answer itself is in order
    assert books["rows_in"] == 8
    assert sum(books["failed"].values()) == (0 if readable else 1)
    if readable:
        assert answers(tmp_path)["r2"]["tokens"] is None  # unknown is not 0


def test_half_a_character_in_a_refusal_ends_no_run(served, tmp_path):
    def act(handler, prompt, number):
        if prompt == "p2":
            return handler.send(400, raw=b'{"error": {"message": "no \\ud83d"}}')
        return handler.send(body=said())

    with chatting(act) as server:
        served(server, rate="0.3")
    (lost,) = gone(tmp_path)
    assert "no \ufffd" in lost["failed"]


def test_overlong_prompts_leave_with_a_reason_whatever_the_budget(served, tmp_path):
    """Most of the rows, and no error is allowed: rerunning would never make them shorter."""
    words = "This model's maximum context length is 8 tokens. However, your messages resulted in 9"

    def act(handler, prompt, number):
        if prompt in ("p1", "p2", "p3", "p4", "p5"):
            return handler.send(400, {"error": {"message": f"{words} tokens."}})
        return handler.send(body=said())

    with chatting(act) as server:
        ended = served(server, rate="0.0")
    assert ended.finished
    assert ended.accounting["dropped"] == {"generate: prompt too long": 5}
    assert ended.accounting["failed"] == {}
    reasons = {row["dropped"] for row in gone(tmp_path)}
    assert reasons == {"prompt too long: 9 tokens, window 8"}
    counted = [shard.parts[-1].counts for shard in shards(tmp_path)]
    assert [c.get("too_long", 0) for c in counted] == [3, 2]
    assert not any(c.get("errors") for c in counted)


def test_retries_are_in_the_record_and_told_while_they_happen(served, tmp_path):
    def act(handler, prompt, number):
        if prompt in ("p1", "p2") and number == 1:
            return handler.send(503, {}, [("Retry-After", "0")])
        return handler.send(body=said())

    with chatting(act) as server:
        ended = served(server)
    assert [shard.parts[-1].counts.get("retries", 0) for shard in shards(tmp_path)] == [2, 0]
    events = [json.loads(line) for line in (ended.folder / "events.jsonl").read_text().splitlines()]
    (told,) = [e for e in events if e["event"] == "trouble"]
    assert (told["stage"], told["engine"]) == ("generate", "served")
    assert "HTTP 503" in told["why"]
