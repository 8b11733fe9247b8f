"""The Ray executor on a real local cluster, with processes and nodes killed under it."""

import contextlib
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

import curate.engines
import curate.stages  # noqa: F401 - registers the stages
from curate.errors import ConfigError, StageError
from curate.executors import Local
from curate.loop import run
from curate.pipeline import Pipeline

ray = pytest.importorskip("ray", reason="needs the extra `ray`")
from curate.executors.ray import Ray  # noqa: E402

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

PIPELINE = """
name: t
source: {jsonl: {path: PATH, shard_rows: 10}}
engines: {fast: {scripted: {delay_s: 0.5}}}
stages:
  - exact_dedup
  - generate: {engine: fast, n: 3}
  - judge: {engine: fast, score: expected}
  - combine
  - best_worst
"""


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "prompts.jsonl"
    lines = [{"id": f"r{i}", "prompt": f"What about {i % 55}?"} for i in range(60)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Pipeline.loads(PIPELINE.replace("PATH", str(path)))


@pytest.fixture(scope="module")
def expected(pipeline, tmp_path_factory):
    root = tmp_path_factory.mktemp("local")
    return parts(run(pipeline, root, executor=Local(workers=2)), root)


@pytest.fixture
def cluster():
    """A head without work to do and a node that can be taken away."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node = made.add_node(num_cpus=2)
    made.wait_for_nodes()
    yield made, node
    ray.shutdown()
    made.shutdown()


def parts(outcome, root):
    assert outcome.finished
    found = (root / "store").rglob("*.arrow")
    return {f"{f.parent.name}/{f.name.split('.')[0]}": f.read_bytes() for f in found}


def actors():
    """Process ids of the actors at work: Ray gives their processes a name."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().startswith(b"ray::MapWorker"):
                found.append(int(path.parent.name))
    return found


def when_busy(act):
    """Do `act` on a thread once an actor is at work; return what waits for its end."""

    def wait():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if ray.is_initialized() and actors():
                return act()
            time.sleep(0.2)
        raise TimeoutError("no actor came to life")

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_parts_are_those_of_the_local_executor_though_an_actor_is_killed(
    pipeline, expected, tmp_path
):
    executor = Ray(workers=2, num_cpus=0.5)
    killed = []

    def kill():
        killed.extend(actors()[:1])
        os.kill(killed[0], signal.SIGKILL)

    thread = when_busy(kill)
    try:
        assert parts(run(pipeline, tmp_path, executor=executor), tmp_path) == expected
    finally:
        thread.join()
        executor.close()
    assert killed
    assert not ray.is_initialized()


def test_a_lost_node_costs_nothing_but_time(pipeline, expected, cluster, tmp_path):
    made, node = cluster
    executor = Ray(workers=3, address=made.address)
    thread = when_busy(lambda: made.remove_node(node, allow_graceful=False))
    try:
        assert parts(run(pipeline, tmp_path, executor=executor), tmp_path) == expected
    finally:
        thread.join()
        executor.close()


def test_a_task_that_always_kills_its_process_ends_the_run_and_is_named(
    pipeline, tmp_path, monkeypatch
):
    folder = tmp_path / "plugin"
    folder.mkdir()
    (folder / "poison.py").write_text(
        "import os\n"
        "from curate.stage import Stage\n"
        "class Poison(Stage):\n"
        "    needs = ('id',)\n"
        "    def apply(self, view, ctx):\n"
        "        os._exit(1)\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    text = pipeline.dumps().replace("- exact_dedup", "- poison:Poison")
    executor = Ray(workers=1, attempts=2)
    try:
        named = (
            r"stage `poison:Poison`: Ray gave a task up after 2 attempts.* shard 0, 1, 2, 3, 4, "
        )
        with pytest.raises(StageError, match=named):
            run(Pipeline.loads(text), tmp_path, executor=executor)
    finally:
        executor.close()


def test_an_error_of_a_stage_arrives_as_it_is(pipeline, tmp_path):
    text = pipeline.dumps().replace("delay_s: 0.5", "fail_every: 1")
    executor = Ray(workers=1)
    try:
        with pytest.raises(StageError, match="30 of 30 calls failed"):
            run(Pipeline.loads(text), tmp_path, executor=executor)
    finally:
        executor.close()


def test_a_stage_that_sees_every_row_survives_the_loss_of_a_worker(tmp_path, monkeypatch):
    """Its pieces run in several processes; one is killed in each of two steps."""
    here = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("PYTHONPATH", here)
    marks = tmp_path / "marks"
    marks.mkdir()
    source = tmp_path / "prompts.jsonl"
    text = "Why is {} so much of a thing for everybody here, {}?"
    rows = [{"id": f"r{i}", "prompt": text.format(i // 2, i % 2)} for i in range(200)]
    source.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[7]]))
    pipeline = Pipeline.loads(
        f"name: t\nsource: {{jsonl: {{path: {source}, shard_rows: 10}}}}\nexport: null\n"
        f"stages:\n  - exact_dedup\n"
        f"  - 'slow_dedup:SlowDedup': {{threshold: 0.7, folder: {marks}}}\n"
    )
    whole = run(pipeline, tmp_path / "local", executor=Local())
    expected = parts(whole, tmp_path / "local")
    assert whole.accounting["dropped"]["slow_dedup:SlowDedup: near duplicate"] > 50
    killed = []

    def kill():
        for step in ("shingles", "texts compare"):
            deadline = time.monotonic() + 120
            while not (seen := list(marks.glob(f"{step}-*"))) and time.monotonic() < deadline:
                time.sleep(0.01)
            number = int(seen[0].name.rpartition("-")[2])
            os.kill(number, signal.SIGKILL)
            killed.append(number)

    thread = threading.Thread(target=kill)
    thread.start()
    executor = Ray(workers=3, num_cpus=0.5, divide_from=1)
    try:
        ended = run(pipeline, tmp_path / "ray", executor=executor)
    finally:
        thread.join()
        executor.close()
    assert parts(ended, tmp_path / "ray") == expected
    assert ended.accounting == whole.accounting
    books = ended.accounting
    assert books["rows_in"] == 201 == books["rows_alive"] + sum(books["dropped"].values())
    done = [mark.name.split("-") for mark in marks.iterdir()]
    assert len(killed) == 2
    assert len({pid for _, _, pid in done}) >= 4  # three at once, and a new one for each killed
    again = {(step, number) for step, number, pid in done if int(pid) in killed}
    assert any((step, number) in again for step, number, pid in done if int(pid) not in killed)
    assert not list((tmp_path / "ray/store/.pieces").iterdir())


def test_a_cluster_without_room_is_said_and_not_waited_for_in_silence(
    pipeline, tmp_path, monkeypatch
):
    monkeypatch.setattr("curate.executors.ray._SAY_EVERY", 0.5)
    heard = []
    executor = Ray(workers=1, num_gpus=1, wait_s=2)
    try:
        with pytest.raises(StageError, match=r"`generate`: an actor needs 1 CPU and 1 GPU on one"):
            run(pipeline, tmp_path, executor=executor, listener=heard.append)
    finally:
        executor.close()
    waiting = [event for event in heard if event["event"] == "waiting"]
    assert len(waiting) >= 2
    assert waiting[0]["stage"] == "generate"
    assert "0 GPU" in waiting[0]["why"]


def test_a_cluster_that_is_not_there_is_named(pipeline, tmp_path):
    with pytest.raises(ConfigError, match="no cluster at address 'auto'"):
        run(pipeline, tmp_path, executor=Ray(workers=1, address="auto"))
