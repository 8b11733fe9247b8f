"""Processes and nodes killed under the Ray executor: the same parts, or the task is named."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from ray_runs import parts

from curate.errors import StageError
from curate.loop import run
from curate.pipeline import Pipeline

ray = pytest.importorskip("ray", reason="needs the extra `ray`")
from curate.executors.ray import Ray  # noqa: E402

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


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


def actors(kind=b""):
    """Process ids of the actors at work: Ray gives their processes a name."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            name = path.read_bytes()
            if name.startswith((b"ray::MapWorker", b"ray::_Host")) and kind in name:
                found.append(int(path.parent.name))
    return found


def when_busy(act, kind=b""):
    """Do `act` on a thread once an actor is at work; return what waits for its end."""

    def wait():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if ray.is_initialized() and actors(kind):
                return act()
            time.sleep(0.2)
        raise TimeoutError("no actor came to life")

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_parts_are_those_of_the_local_executor_though_an_engine_is_killed(
    sixty, expected, tmp_path
):
    executor = Ray(workers=2, num_cpus=0.5)
    killed, heard = [], []

    def kill():
        killed.extend(actors(b"_Host.answer")[:1])
        os.kill(killed[0], signal.SIGKILL)

    thread = when_busy(kill, b"_Host.answer")
    try:
        ended = run(sixty, tmp_path, executor=executor, listener=heard.append)
        assert parts(ended, tmp_path) == expected
    finally:
        thread.join()
        executor.close()
    assert killed
    assert not ray.is_initialized()
    retries = [event for event in heard if event["event"] == "retry"]
    assert retries
    assert {(event["stage"], event["attempt"]) for event in retries} == {("generate", 1)}
    assert all("Actor" in event["why"] for event in retries)


@pytest.mark.usefixtures("own_components")
def test_a_killed_worker_without_engines_is_replaced_and_told(sixty, tmp_path):
    """One that Ray Data looks after: it runs the task again without a word of its own."""
    marks = tmp_path / "marks"
    marks.mkdir()
    text = sixty.dumps().split("stages:")[0]
    text += f"stages:\n  - 'slow_stage:Slow': {{folder: {marks}}}\nexport: null\n"
    heard, killed = [], []

    def kill():
        deadline = time.monotonic() + 60
        while not (found := list(marks.iterdir())) and time.monotonic() < deadline:
            time.sleep(0.01)
        killed.append(int(found[0].name))
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    executor = Ray(workers=2, num_cpus=0.5)
    try:
        ended = run(Pipeline.loads(text), tmp_path, executor=executor, listener=heard.append)
    finally:
        thread.join()
        executor.close()
    assert ended.finished
    assert ended.accounting["rows_alive"] == 60
    (told,) = [event for event in heard if event["event"] == "retry"]
    assert (told["stage"], told["attempt"]) == ("slow_stage:Slow", 1)
    assert "Ray runs a task again, now in process" in told["why"]


def test_a_lost_node_costs_nothing_but_time(sixty, expected, cluster, tmp_path):
    made, node = cluster
    executor = Ray(workers=3, address=made.address)
    thread = when_busy(lambda: made.remove_node(node, allow_graceful=False))
    try:
        assert parts(run(sixty, tmp_path, executor=executor), tmp_path) == expected
    finally:
        thread.join()
        executor.close()


def test_a_task_that_always_kills_its_process_ends_the_run_and_is_named(
    sixty, tmp_path, monkeypatch
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
    text = sixty.dumps().replace("- exact_dedup", "- poison:Poison")
    with contextlib.closing(Ray(workers=1, attempts=2)) as executor:
        named = (
            r"stage `poison:Poison`: Ray gave a task up after 2 attempts.* shard 0, 1, 2, 3, 4, "
        )
        with pytest.raises(StageError, match=named):
            run(Pipeline.loads(text), tmp_path, executor=executor)
