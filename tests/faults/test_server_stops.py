"""What a server on loopback must do for a run to stop, and that the same command goes on."""

import threading

import pytest
from chat_server import chatting, said
from served import SECRET, answers, shards

from curate.errors import CurateError, StageError

pytest.importorskip("openai")
pytest.importorskip("stamina")


def test_another_models_name_in_mid_run_stops_it_and_a_rerun_resumes(served, tmp_path):
    changed = threading.Event()

    def act(handler, prompt, number):
        handler.send(
            body=said(model="other" if prompt == "p5" and not changed.is_set() else "tiny")
        )

    with chatting(act) as server:
        with pytest.raises(StageError, match="'tiny' and then from 'other'"):
            served(server)
        changed.set()
        ended = served(server)
        assert ended.finished
        assert server.tries["p0"] == 1  # the first shard was not asked for again
    assert shards(tmp_path)[0].parts[-1].engines["served"]["served"] == "tiny"


def test_a_server_that_dies_stops_the_run_and_another_goes_on(served, tmp_path):
    def act(handler, prompt, number):
        if prompt in ("p4", "p5", "p6", "p7"):  # the second shard finds nobody at home
            return handler.drop()
        return handler.send(body=said())

    with chatting(act) as server:
        port = server.server_address[1]
        with pytest.raises(StageError, match="no connection"):
            served(server)
    with chatting(lambda handler, prompt, number: handler.send(body=said()), port) as server:
        assert served(server).finished
        assert set(server.tries) == {"p4", "p5", "p6", "p7"}
    assert len(answers(tmp_path)) == 8


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_model_stops_the_run_at_the_first_answer(served, tmp_path, status):
    with (
        chatting(lambda handler, prompt, number: handler.send(status, {"error": SECRET})) as server,
        pytest.raises(CurateError, match=f"HTTP {status}") as caught,
    ):
        served(server, rate="1.0")
    assert SECRET not in str(caught.value)
    assert set(server.tries) <= {"p0", "p1", "p2", "p3"}  # no more than were under way
    assert set(server.tries.values()) == {1}


def test_a_server_that_has_no_address_stops_the_run(served, tmp_path):
    with pytest.raises(StageError, match="no connection"):
        served(None, host="no-such-host.invalid")


def test_a_server_that_always_fails_stops_early_and_keeps_nothing(served, tmp_path):
    with (
        chatting(lambda handler, prompt, number: handler.send(500, {})) as server,
        pytest.raises(StageError, match="4 of 4 calls failed"),
    ):
        served(server, rate="0.5")
    assert set(server.tries) == {"p0", "p1", "p2", "p3"}
    assert not list((tmp_path / "store").glob("generate/*"))


def test_a_server_that_is_down_stops_the_run_soon_and_the_same_command_goes_on(served, tmp_path):
    """Without a stop each of 400 calls would be tried three times."""
    served.rows(400)
    down = threading.Event()
    down.set()

    def act(handler, prompt, number):
        if down.is_set() and int(prompt[1:]) >= 4:  # the first shard was done before
            return handler.send(500, {}, [("Retry-After", "0")])
        return handler.send(body=said())

    with chatting(act) as server:
        with pytest.raises(StageError, match="calls in a row failed"):
            served(server, rate="1.0", shard_rows=200)
        assert sum(server.tries.values()) <= 4 + (20 + 4) * 3
        down.clear()
        ended = served(server, rate="1.0", shard_rows=200)
    assert ended.finished
    assert ended.accounting["failed"] == {}
