"""Whole runs against an OpenAI-compatible server on loopback that misbehaves."""

import email.utils
import json
import threading
import time

import pytest
from chat_server import chatting, said
from serving import address

from curate import history
from curate.engines.openai import OpenAI
from curate.errors import CurateError, StageError
from curate.executors import Local
from curate.loop import run
from curate.pipeline import Pipeline

pytest.importorskip("openai")
pytest.importorskip("stamina")

SECRET = "sk-canary-7d1f0c"
PIPELINE = """
name: served
source: {jsonl: {path: PATH, shard_rows: 4, columns: {id: id, prompt: prompt}}}
engines:
  served: {openai: {model: tiny, base_url: "URL", retries: 2, timeout_s: 1.0, concurrency: 4}}
stages:
  - generate: {engine: served, n: 1, max_error_rate: RATE}
export: null
"""


@pytest.fixture
def go(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("curate.engines.openai._FIRST_WAIT_S", 0.02)
    path = tmp_path / "prompts.jsonl"
    lines = [{"id": f"r{i}", "prompt": f"p{i}"} for i in range(8)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def start(server, rate="0.0", root=tmp_path, host=None, shard_rows=4):
        url = f"http://{host}/v1" if host else f"{address(server)}/v1"
        text = PIPELINE.replace("PATH", str(path)).replace("URL", url).replace("RATE", rate)
        text = text.replace("shard_rows: 4", f"shard_rows: {shard_rows}")
        executor = Local(workers=1)
        try:
            return run(Pipeline.loads(text), root, executor=executor)
        finally:
            executor.close()

    yield start
    for file in tmp_path.rglob("*"):  # the key is in nothing that was written
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file


def answers(root):
    store, shards = history.shards(root, history.manifest(root, "served"))
    from curate.work import live_tables

    rows = [row for table in live_tables(store, shards) for row in table.to_pylist()]
    return {row["id"]: row["candidates"][0] for row in rows}


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
def test_passing_trouble_costs_a_retry_and_no_row(go, tmp_path, fault):
    def act(handler, prompt, number):
        if prompt == "p2" and number == 1:
            return PASSING[fault](handler)
        return handler.send(body=said())

    with chatting(act) as server:
        ended = go(server)
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
def test_a_lasting_fault_of_one_item_is_a_status_on_it(go, tmp_path, fault):
    broken, tries, words = LASTING[fault]

    def act(handler, prompt, number):
        return broken(handler) if prompt == "p2" else handler.send(body=said())

    with chatting(act) as server:
        ended = go(server, rate="0.3")
    assert server.tries == {f"p{i}": tries if i == 2 else 1 for i in range(8)}
    assert ended.accounting["rows_in"] == 8
    assert sum(ended.accounting["failed"].values()) == 1
    store, shards = history.shards(tmp_path, history.manifest(tmp_path, "served"))
    (lost,) = history.dropped(store, shards)
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
def test_odd_answers_are_told_apart(go, tmp_path, body, drop, finish, text):
    def act(handler, prompt, number):
        return handler.send(body=body) if prompt == "p2" else handler.send(body=said())

    with chatting(act) as server:
        go(server)
    found = answers(tmp_path)["r2"]
    assert (found["drop"], found["finish_reason"], found["text"]) == (drop, finish, text)


def test_another_models_name_in_mid_run_stops_it_and_a_rerun_resumes(go, tmp_path):
    changed = threading.Event()

    def act(handler, prompt, number):
        handler.send(
            body=said(model="other" if prompt == "p5" and not changed.is_set() else "tiny")
        )

    with chatting(act) as server:
        with pytest.raises(StageError, match="'tiny' and then from 'other'"):
            go(server)
        changed.set()
        ended = go(server)
        assert ended.finished
        assert server.tries["p0"] == 1  # the first shard was not asked for again
    _, shards = history.shards(tmp_path, history.manifest(tmp_path, "served"))
    assert shards[0].parts[-1].engines["served"]["served"] == "tiny"


def test_a_server_that_dies_stops_the_run_and_another_goes_on(go, tmp_path):
    seen = []

    def act(handler, prompt, number):
        seen.append(prompt)
        if prompt in ("p4", "p5", "p6", "p7"):  # the second shard finds nobody at home
            return handler.drop()
        return handler.send(body=said())

    with chatting(act) as server:
        port = server.server_address[1]
        with pytest.raises(StageError, match="no connection"):
            go(server)
    with chatting(lambda handler, prompt, number: handler.send(body=said()), port) as server:
        assert go(server).finished
        assert set(server.tries) == {"p4", "p5", "p6", "p7"}
    assert len(answers(tmp_path)) == 8


WRONG = {
    401: "HTTP 401",
    403: "HTTP 403",
    404: "HTTP 404",
}


@pytest.mark.parametrize("status", WRONG)
def test_a_wrong_key_or_model_stops_the_run_at_the_first_answer(go, tmp_path, status):
    with (
        chatting(lambda handler, prompt, number: handler.send(status, {"error": SECRET})) as server,
        pytest.raises(CurateError, match=WRONG[status]) as caught,
    ):
        go(server, rate="1.0")
    assert SECRET not in str(caught.value)
    assert set(server.tries) <= {"p0", "p1", "p2", "p3"}  # no more than were under way
    assert set(server.tries.values()) == {1}


def test_a_server_that_has_no_address_stops_the_run(go, tmp_path):
    class Nowhere:
        server_address = ("", 0)

    with pytest.raises(StageError, match="no connection"):
        go(Nowhere(), host="no-such-host.invalid")


def test_answers_in_any_order_give_the_same_bytes(go, tmp_path):
    """The server is slow with one prompt or another; each answer says what it was asked."""
    found = []
    for turn in range(3):

        def act(handler, prompt, number, turn=turn):
            time.sleep(0.05 * ((int(prompt[1:]) * 7 + turn * 5) % 8))
            handler.send(body=said(f"about {prompt}"))

        with chatting(act) as server:
            go(server, root=tmp_path / str(turn))
        texts = {row: answer["text"] for row, answer in answers(tmp_path / str(turn)).items()}
        assert texts == {f"r{i}": f"about p{i}" for i in range(8)}
        parts = (tmp_path / str(turn) / "store").glob("generate/*.arrow")
        found.append({p.name.split(".")[0]: p.read_bytes() for p in parts})
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 2


def test_a_server_that_always_fails_stops_early_and_publishes_nothing(go, tmp_path):
    with (
        chatting(lambda handler, prompt, number: handler.send(500, {})) as server,
        pytest.raises(StageError, match="4 of 4 calls failed"),
    ):
        go(server, rate="0.5")
    assert set(server.tries) == {"p0", "p1", "p2", "p3"}
    assert not (tmp_path / "runs/served/dataset").exists()


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
def test_one_odd_answer_ends_no_run(go, tmp_path, fault):
    deep = b'{"choices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"

    def act(handler, prompt, number):
        if prompt != "p2":
            return handler.send(body=said())
        return handler.send(raw=deep) if ODD[fault] is None else handler.send(body=ODD[fault])

    with chatting(act) as server:
        books = go(server, rate="0.3").accounting
    readable = "tokens" in fault  # the answer itself is in order
    assert books["rows_in"] == 8
    assert sum(books["failed"].values()) == (0 if readable else 1)
    if readable:
        assert answers(tmp_path)["r2"]["tokens"] is None  # unknown is not 0


def test_half_a_character_in_a_refusal_ends_no_run(go, tmp_path):
    def act(handler, prompt, number):
        if prompt == "p2":
            return handler.send(400, raw=b'{"error": {"message": "no \\ud83d"}}')
        return handler.send(body=said())

    with chatting(act) as server:
        go(server, rate="0.3")
    store, shards = history.shards(tmp_path, history.manifest(tmp_path, "served"))
    (lost,) = history.dropped(store, shards)
    assert "no \ufffd" in lost["failed"]


def test_overlong_prompts_leave_with_a_reason_whatever_the_budget(go, tmp_path):
    """Most of the rows, and no error is allowed: rerunning would never make them shorter."""
    words = "This model's maximum context length is 8 tokens. However, your messages resulted in 9"

    def act(handler, prompt, number):
        if prompt in ("p1", "p2", "p3", "p4", "p5"):
            return handler.send(400, {"error": {"message": f"{words} tokens."}})
        return handler.send(body=said())

    with chatting(act) as server:
        ended = go(server, rate="0.0")
    assert ended.finished
    assert ended.accounting["dropped"] == {"generate: prompt too long": 5}
    assert ended.accounting["failed"] == {}
    store, shards = history.shards(tmp_path, history.manifest(tmp_path, "served"))
    reasons = {row["dropped"] for row in history.dropped(store, shards)}
    assert reasons == {"prompt too long: 9 tokens, window 8"}
    counted = [shard.parts[-1].counts for shard in shards]
    assert [c.get("too_long", 0) for c in counted] == [3, 2]
    assert not any(c.get("errors") for c in counted)


def test_retries_are_in_the_record_and_told_while_they_happen(go, tmp_path):
    def act(handler, prompt, number):
        if prompt in ("p1", "p2") and number == 1:
            return handler.send(503, {}, [("Retry-After", "0")])
        return handler.send(body=said())

    with chatting(act) as server:
        ended = go(server)
    _, shards = history.shards(tmp_path, history.manifest(tmp_path, "served"))
    assert [shard.parts[-1].counts.get("retries", 0) for shard in shards] == [2, 0]
    events = [json.loads(line) for line in (ended.folder / "events.jsonl").read_text().splitlines()]
    (told,) = [e for e in events if e["event"] == "trouble"]
    assert (told["stage"], told["engine"]) == ("generate", "served")
    assert "HTTP 503" in told["why"]


def test_a_server_that_is_down_stops_the_run_soon_and_the_same_command_goes_on(go, tmp_path):
    """Without a stop each of 400 calls would be tried three times."""
    path = tmp_path / "prompts.jsonl"
    lines = [{"id": f"r{i}", "prompt": f"p{i}"} for i in range(400)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    down = threading.Event()
    down.set()

    def act(handler, prompt, number):
        if down.is_set() and int(prompt[1:]) >= 4:  # the first shard was done before
            return handler.send(500, {}, [("Retry-After", "0")])
        return handler.send(body=said())

    with chatting(act) as server:
        with pytest.raises(StageError, match="calls in a row failed"):
            go(server, rate="1.0", shard_rows=200)
        assert sum(server.tries.values()) <= 4 + (20 + 4) * 3
        down.clear()
        ended = go(server, rate="1.0", shard_rows=200)
    assert ended.finished
    assert ended.accounting["failed"] == {}
