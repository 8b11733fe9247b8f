"""The Ray executor on a real local cluster: the same bytes, what is heard, and how it fails."""

import contextlib
import json

import pytest
from ray_runs import files, parts

from curate.errors import ConfigError, StageError
from curate.loop import run
from curate.pipeline import Pipeline

ray = pytest.importorskip("ray", reason="needs the extra `ray`")
from curate.executors.ray import Ray  # noqa: E402

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


@pytest.mark.parametrize("rows", [7, 1000])
def test_the_dataset_is_the_same_for_any_shard_size(sixty, expected, tmp_path, rows):
    """Held against shards of ten rows on one machine; pieces of divided stages are cut anew too."""
    text = sixty.dumps().replace("shard_rows: 10", f"shard_rows: {rows}")
    assert text != sixty.dumps()
    with contextlib.closing(Ray(workers=2, num_cpus=0.5, divide_from=1)) as executor:
        ended = run(Pipeline.loads(text), tmp_path, executor=executor)
    assert ended.finished
    found = files(tmp_path)
    assert found == {name: raw for name, raw in expected.items() if name in found}
    assert len(found) == 2


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


@pytest.mark.usefixtures("own_components")
def test_engines_stay_for_the_next_stage_and_are_heard(sixty, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    text = TALKING.replace("PATH", str(sixty.source.path))
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


@pytest.mark.usefixtures("own_components")
def test_texts_that_are_encoded_are_told_of(sixty, tmp_path):
    """Of a stage without engines, whose actors are Ray Data's own."""
    text = ENCODING.replace("PATH", str(sixty.source.path))
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


def test_engines_make_room_for_a_stage_that_finds_none(sixty, expected, tmp_path):
    """The actors that stay hold every core of the cluster; `combine` needs one."""
    ray.init(num_cpus=2, logging_level="ERROR", log_to_driver=False)
    executor = Ray(workers=2, num_cpus=1, wait_s=60)
    try:
        assert parts(run(sixty, tmp_path, executor=executor), tmp_path) == expected
    finally:
        executor.close()
        ray.shutdown()


def test_an_error_of_a_stage_arrives_as_it_is(sixty, tmp_path):
    text = sixty.dumps().replace("delay_s: 0.5", "fail_every: 1")
    failed = pytest.raises(StageError, match="30 of 30 calls failed")
    with contextlib.closing(Ray(workers=1)) as executor, failed:
        run(Pipeline.loads(text), tmp_path, executor=executor)


def test_a_cluster_without_room_is_said_and_not_waited_for_in_silence(sixty, tmp_path, monkeypatch):
    monkeypatch.setattr("curate.executors.hosts.SAY_EVERY", 0.5)
    heard = []
    said = pytest.raises(StageError, match=r"`generate`: an actor needs 1 CPU and 1 GPU on one")
    with contextlib.closing(Ray(workers=1, num_gpus=1, wait_s=2)) as executor, said:
        run(sixty, tmp_path, executor=executor, listener=heard.append)
    waiting = [event for event in heard if event["event"] == "waiting"]
    assert len(waiting) >= 2
    assert waiting[0]["stage"] == "generate"
    assert "0 GPU" in waiting[0]["why"]


def test_a_cluster_that_is_not_there_is_named(sixty, tmp_path):
    with pytest.raises(ConfigError, match="no cluster at address 'auto'"):
        run(sixty, tmp_path, executor=Ray(workers=1, address="auto"))
