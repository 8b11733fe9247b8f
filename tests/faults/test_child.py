"""The child that holds engines: its death, its parent's death, and signals at any time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from curate.errors import StageError
from curate.executors import Job, Local
from curate.executors.child import Child
from curate.executors.remote import Worker, request
from curate.ingest import ingest
from curate.loop import run
from curate.outcome import Outcome
from curate.pipeline import Pipeline
from curate.store import Store
from curate.work import Task

HERE = Path(__file__).parent


@pytest.fixture
def crashing(scripted_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small pipeline with the engine in a child process."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(Path.cwd())]))
    (tmp_path / "marks").mkdir()
    engine = f"{{'crashing:Crashing': {{folder: {tmp_path / 'marks'}}}}}"
    text = scripted_pipeline.read_text().replace("{scripted: {}}", engine)
    scripted_pipeline.write_text(
        text.replace("likelihood: {engine: small}", "likelihood: {engine: small, name: x}")
    )
    return scripted_pipeline


def go(path: Path, root: Path, *changes: str, workers: int = 2) -> tuple[Outcome, list[Any]]:
    events: list[Any] = []
    executor = Local(workers=workers)
    try:
        ended = run(Pipeline.load(path, changes), root, executor=executor, listener=events.append)
    finally:
        executor.close()
    return ended, [event for event in events if event["event"] == "retry"]


def pids(folder: Path) -> list[int]:
    return [int(p.name.removeprefix("pid-")) for p in folder.glob("marks/pid-*")]


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition: Callable[[], object]) -> None:
    """Wait for the condition, far less long than an engine does here that waits for its end."""
    last = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < last, "waited too long"
        time.sleep(0.01)


def read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def test_a_task_whose_child_dies_runs_again_in_a_new_one(crashing: Path, tmp_path: Path) -> None:
    calm, retries = go(crashing, tmp_path / "calm")
    assert not retries
    hurt, retries = go(crashing, tmp_path / "hurt", "engines.small.deaths=2")
    assert hurt.accounting == calm.accounting
    assert {event["stage"] for event in retries} == {"generate"}
    assert all("killed by signal 9" in event["why"] for event in retries)
    assert len(pids(tmp_path)) in (3, 4)  # one calm; two threads may have killed one child
    assert not any(map(running, pids(tmp_path)))


def test_a_task_that_kills_every_child_fails_with_the_log(crashing: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"(?s)`generate`, attempt 3.*killed by.*last words"):
        go(crashing, tmp_path, "engines.small.deaths=1000", workers=1)
    assert len(list(tmp_path.glob("marks/death-*"))) == 3
    ended, _ = go(crashing, tmp_path)  # the cause removed, the same run goes on
    assert ended.finished


def test_a_child_killed_from_outside_is_noticed(crashing: Path, tmp_path: Path) -> None:
    result: list[Any] = []
    slow = threading.Thread(
        target=lambda: result.append(go(crashing, tmp_path, "engines.small.wait_s=0.3"))
    )
    slow.start()
    until(lambda: pids(tmp_path))
    first = pids(tmp_path)
    os.kill(first[0], signal.SIGKILL)
    until(lambda: b'"retry"' in read(tmp_path / "runs/small/events.jsonl"))
    slow.join()
    assert result[0][0].finished
    assert len(pids(tmp_path)) == 2


def start(path: Path, root: Path, *changes: str) -> subprocess.Popen[bytes]:
    sets = [word for change in changes for word in ("--set", change)]
    return subprocess.Popen(
        [sys.executable, "-m", "curate", "run", str(path), "--root", str(root), *sets],
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_children_end_when_their_parent_is_killed(crashing: Path, tmp_path: Path) -> None:
    process = start(crashing, tmp_path, "engines.small.wait_s=600")
    until(lambda: pids(tmp_path))
    process.kill()
    process.wait()
    until(lambda: not any(map(running, pids(tmp_path))))


def test_what_an_engine_started_ends_with_its_child_when_the_parent_is_killed(
    crashing: Path, tmp_path: Path
) -> None:
    process = start(crashing, tmp_path, "engines.small.wait_s=600", "engines.small.helper=true")
    until(lambda: len(pids(tmp_path)) == 2)
    assert all(map(running, pids(tmp_path)))
    process.kill()
    process.wait()
    until(lambda: not any(map(running, pids(tmp_path))))


def test_an_engine_that_asks_its_process_to_exit_stops_the_run(
    crashing: Path, tmp_path: Path
) -> None:
    with pytest.raises(StageError, match=r"`generate` asked the process to exit .*had enough"):
        go(crashing, tmp_path, "engines.small.exits=true")
    assert go(crashing, tmp_path)[0].finished


def test_a_worker_answers_whatever_is_raised(crashing: Path, tmp_path: Path) -> None:
    """Even where the engine cannot be loaded, and the reason is no Exception."""
    pipeline = Pipeline.load(crashing)
    store = Store(tmp_path / "store")
    shard = ingest(pipeline.source, store)[0]
    message = request(
        Job(pipeline.stages[1], pipeline.engines, 0, store), Task((shard,), ("k",)), 7
    )

    def load(self: Any) -> None:
        raise SystemExit(0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(pipeline.engines["small"]), "load", load)
        answer = orjson.loads(Worker().answer(message))
    assert answer == {
        "number": 7, "error": "StageError", "message": "stage `generate` failed: SystemExit: 0",
    }  # fmt: skip


def test_a_stage_of_ones_own_travels_by_its_module(
    crashing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its short name is known to no other process; so it does to `runs/small/pipeline.yaml`."""
    monkeypatch.syspath_prepend(str(HERE))
    text = crashing.read_text().replace("generate: {", "'own_generate:Mine': {")
    crashing.write_text(text)
    ended, _ = go(crashing, tmp_path)
    assert ended.finished
    assert list((tmp_path / "store/generate_of_mine").glob("*.json"))
    written = tmp_path / "runs/small/pipeline.yaml"
    code = f"import curate, pathlib; curate.Pipeline.load(pathlib.Path({str(written)!r}))"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("child", [True, False])
def test_a_second_signal_ends_the_run_at_once(crashing: Path, tmp_path: Path, child: bool) -> None:
    engine = "engines.small.wait_s=600" if child else "engines.small={scripted: {delay_s: 600}}"
    process = start(crashing, tmp_path, engine)
    events = tmp_path / "runs/small/events.jsonl"
    until(lambda: pids(tmp_path) if child else b'"generate"' in read(events))
    time.sleep(1)  # the event comes just before the first shard is handed out
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None  # the first one waits for the shards in flight
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    until(lambda: not any(map(running, pids(tmp_path))))


def test_ctrl_c_in_a_terminal_lets_the_child_finish_its_shards(
    crashing: Path, tmp_path: Path
) -> None:
    process = start(crashing, tmp_path, "engines.small.wait_s=1")
    until(lambda: pids(tmp_path))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole foreground group
    assert process.wait(timeout=60) == 130
    assert process.stderr is not None
    assert b"stopped; the same command resumes" in process.stderr.read()
    assert list((tmp_path / "store/generate").glob("*.json"))  # what was in flight is kept


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.1, 0.4])
def test_a_child_outlives_signals_from_its_first_instant(
    crashing: Path, tmp_path: Path, delay: float
) -> None:
    pipeline = Pipeline.load(crashing)
    store = Store(tmp_path / "store")
    shard = ingest(pipeline.source, store)[0]
    stage = pipeline.stages[1]
    child = Child("key")
    time.sleep(delay)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        os.kill(child._process.pid, number)
    job = Job(stage, pipeline.engines, 0, store)
    records = child.run(job, Task((shard,), ("ab" * 32,)))
    child.close()
    assert [r.rows_in for r in records] == [8]
