"""The Ray executor on a real local cluster, with processes and nodes killed under it."""

import contextlib
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

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
    stored = {f"{f.parent.name}/{f.name.split('.')[0]}": f.read_bytes() for f in found}
    return stored | files(root)


def files(root):
    """The dataset, but for its card, which names the shards' size."""
    folder = root / "runs/t/dataset"
    found = (path for path in folder.rglob("*") if path.suffix in (".arrow", ".parquet"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


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
    pipeline, expected, tmp_path
):
    executor = Ray(workers=2, num_cpus=0.5)
    killed, heard = [], []

    def kill():
        killed.extend(actors(b"_Host.answer")[:1])
        os.kill(killed[0], signal.SIGKILL)

    thread = when_busy(kill, b"_Host.answer")
    try:
        ended = run(pipeline, tmp_path, executor=executor, listener=heard.append)
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


def test_a_killed_worker_without_engines_is_replaced_and_told(pipeline, tmp_path, monkeypatch):
    """One that Ray Data looks after: it runs the task again without a word of its own."""
    here = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("PYTHONPATH", here)
    marks = tmp_path / "marks"
    marks.mkdir()
    text = pipeline.dumps().split("stages:")[0]
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


@pytest.mark.parametrize("rows", [7, 1000])
def test_the_dataset_is_the_same_for_any_shard_size(pipeline, expected, tmp_path, rows):
    """Held against shards of ten rows on one machine; pieces of divided stages are cut anew too."""
    text = pipeline.dumps().replace("shard_rows: 10", f"shard_rows: {rows}")
    assert text != pipeline.dumps()
    with contextlib.closing(Ray(workers=2, num_cpus=0.5, divide_from=1)) as executor:
        ended = run(Pipeline.loads(text), tmp_path, executor=executor)
    assert ended.finished
    found = files(tmp_path)
    assert found == {name: raw for name, raw in expected.items() if name in found}
    assert len(found) == 2


def test_a_lost_node_costs_nothing_but_time(pipeline, expected, cluster, tmp_path):
    made, node = cluster
    executor = Ray(workers=3, address=made.address)
    thread = when_busy(lambda: made.remove_node(node, allow_graceful=False))
    try:
        assert parts(run(pipeline, tmp_path, executor=executor), tmp_path) == expected
    finally:
        thread.join()
        executor.close()


TALKING = """
name: t
source: {jsonl: {path: PATH, shard_rows: 30}}
engines:
  seen: {'seeing_engine:Seeing': {}}
  worried: {'telling_engine:Worried': {delay_s: 2.5}}
stages:
  - generate: {engine: seen, n: 1}
  - judge: {engine: seen, score: expected}
  - combine
  - judge: {engine: worried, score: expected}
export: null
"""


def test_engines_stay_for_the_next_stage_and_are_heard(pipeline, tmp_path, monkeypatch):
    here = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("PYTHONPATH", here)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    text = TALKING.replace("PATH", str(pipeline.source.path))
    heard = []
    with contextlib.closing(Ray(workers=1, num_cpus=0.5)) as executor:
        ended = run(Pipeline.loads(text), tmp_path, executor=executor, listener=heard.append)
    assert ended.finished
    pids = {"generate": set(), "judge": set()}
    for path in (tmp_path / "store").rglob("*.json"):
        record = json.loads(path.read_bytes())
        if "seen" in record["engines"]:
            pids[record["stage"]].add(record["engines"]["seen"]["pid"])
    assert len(pids["generate"]) == 1
    assert pids["judge"] == pids["generate"]
    told = [event for event in heard if event["event"] == "trouble"]
    assert len(told) == 2
    assert {(event["stage"], event["engine"]) for event in told} == {("judge", "worried")}
    assert told[0]["why"] == "no answer for 60 s; 4 calls wait"
    loads = [(e["event"], e["engine"]) for e in heard if e["event"] in ("loading", "loaded")]
    assert loads[:2] == [("loading", "seen"), ("loaded", "seen")]
    assert {*loads[2:]} == {(event, "worried") for event in ("loading", "loaded")}
    parts_of_judges = [
        k for k, e in enumerate(heard) if e.get("stage") == "judge" and e["event"] == "part"
    ]
    assert heard.index(told[-1]) < parts_of_judges[-1]
    far = [event for event in heard if event["event"] == "progress"]
    assert (far[-1]["stage"], far[-1]["asked"]) == ("judge", 60)
    assert 0 <= far[-1]["ended"] <= 60


ENCODING = """
name: t
source: {jsonl: {path: PATH, shard_rows: 30}}
stages:
  - encoding_stage:Encoding
export: null
"""


def test_texts_that_are_encoded_are_told_of(pipeline, tmp_path, monkeypatch):
    """Of a stage without engines, whose actors are Ray Data's own."""
    here = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("PYTHONPATH", here)
    text = ENCODING.replace("PATH", str(pipeline.source.path))
    heard = []
    with contextlib.closing(Ray(workers=1)) as executor:
        run(Pipeline.loads(text), tmp_path, executor=executor, listener=heard.append)
    told = [event for event in heard if event["event"] == "progress"]
    assert {(e["stage"], e["unit"], e["rows"]) for e in told} == {
        ("encoding_stage:Encoding", "texts", 30)
    }
    ended = [e["ended"] for e in told]
    assert ended == sorted(ended)
    assert sum(0 < e["ended"] < e["asked"] for e in told) > 1


def test_engines_make_room_for_a_stage_that_finds_none(pipeline, expected, tmp_path):
    """The actors that stay hold every core of the cluster; `combine` needs one."""
    ray.init(num_cpus=2, logging_level="ERROR", log_to_driver=False)
    executor = Ray(workers=2, num_cpus=1, wait_s=60)
    try:
        assert parts(run(pipeline, tmp_path, executor=executor), tmp_path) == expected
    finally:
        executor.close()
        ray.shutdown()


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
    with contextlib.closing(Ray(workers=1, attempts=2)) as executor:
        named = (
            r"stage `poison:Poison`: Ray gave a task up after 2 attempts.* shard 0, 1, 2, 3, 4, "
        )
        with pytest.raises(StageError, match=named):
            run(Pipeline.loads(text), tmp_path, executor=executor)


def test_an_error_of_a_stage_arrives_as_it_is(pipeline, tmp_path):
    text = pipeline.dumps().replace("delay_s: 0.5", "fail_every: 1")
    failed = pytest.raises(StageError, match="30 of 30 calls failed")
    with contextlib.closing(Ray(workers=1)) as executor, failed:
        run(Pipeline.loads(text), tmp_path, executor=executor)


def test_a_cluster_without_room_is_said_and_not_waited_for_in_silence(
    pipeline, tmp_path, monkeypatch
):
    monkeypatch.setattr("curate.executors.hosts.SAY_EVERY", 0.5)
    heard = []
    said = pytest.raises(StageError, match=r"`generate`: an actor needs 1 CPU and 1 GPU on one")
    with contextlib.closing(Ray(workers=1, num_gpus=1, wait_s=2)) as executor, said:
        run(pipeline, tmp_path, executor=executor, listener=heard.append)
    waiting = [event for event in heard if event["event"] == "waiting"]
    assert len(waiting) >= 2
    assert waiting[0]["stage"] == "generate"
    assert "0 GPU" in waiting[0]["why"]


def test_a_cluster_that_is_not_there_is_named(pipeline, tmp_path):
    with pytest.raises(ConfigError, match="no cluster at address 'auto'"):
        run(pipeline, tmp_path, executor=Ray(workers=1, address="auto"))
