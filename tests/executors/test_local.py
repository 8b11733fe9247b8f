import json
from itertools import pairwise

import pytest

from curate.engines.scripted import Scripted
from curate.engines.vllm import VLLM
from curate.errors import ConfigError
from curate.executors import Local, local
from curate.executors.local import gpu_shares, visible_gpus
from curate.loop import run
from curate.pipeline import Pipeline

PIPELINE = """
name: t
source: {jsonl: {path: PATH, shard_rows: 4, columns: {id: id, prompt: prompt}}}
engines: {seen: {'seeing_engine:Seeing': {}}}
stages:
  - generate: {engine: seen, n: 1}
export: null
"""


def test_one_copy_a_gpu_or_a_group_of_them():
    eight = [str(k) for k in range(8)]
    assert gpu_shares([Scripted()], None, eight) == eight
    pairs = gpu_shares([VLLM(model="m", tensor_parallel_size=2)], None, eight)
    assert pairs == ["0,1", "2,3", "4,5", "6,7"]
    assert gpu_shares([VLLM(model="m", tensor_parallel_size=8)], None, eight) == [None]
    assert gpu_shares([Scripted()], 3, eight) == ["0", "1", "2"]
    assert gpu_shares([Scripted()], None, []) == [None]
    assert gpu_shares([Scripted()], 2, []) == [None, None]
    with pytest.raises(ConfigError, match=r"need 6; there are 4"):
        gpu_shares([VLLM(model="m", tensor_parallel_size=2)], 3, eight[:4])


def test_the_visible_gpus_are_those_of_the_environment(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-abc")
    assert visible_gpus() == ["3", "GPU-abc"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


@pytest.mark.usefixtures("own_components")
def test_copies_share_the_shards_and_each_sees_its_own_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    path = tmp_path / "prompts.jsonl"
    rows = [{"id": f"r{i}", "prompt": f"p{i}"} for i in range(32)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    executor = Local(workers=1)
    try:
        ended = run(
            Pipeline.loads(PIPELINE.replace("PATH", str(path))), tmp_path, executor=executor
        )
    finally:
        executor.close()
    assert ended.finished
    records = [json.loads(p.read_bytes()) for p in (tmp_path / "store/generate").glob("*.json")]
    seen = [record["engines"]["seen"] for record in records]
    assert len(seen) == 8
    assert {one["gpus"] for one in seen} == {"5", "7"}
    assert len({one["pid"] for one in seen}) == 2


@pytest.mark.usefixtures("own_components")
def test_an_engine_in_a_child_is_heard_while_it_works(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"id": "r", "prompt": "p"}) + "\n")
    text = PIPELINE.replace("seeing_engine:Seeing", "telling_engine:Worried")
    heard = []
    executor = Local(workers=1)
    try:
        run(
            Pipeline.loads(text.replace("PATH", str(path))),
            tmp_path,
            executor=executor,
            listener=heard.append,
        )
    finally:
        executor.close()
    (told,) = [event for event in heard if event["event"] == "trouble"]
    assert (told["stage"], told["engine"]) == ("generate", "seen")
    assert told["why"] == "no answer for 60 s; 4 calls wait"
    loads = [e["event"] for e in heard if e.get("engine") == "seen" and e is not told]
    assert loads == ["loading", "loaded"]
    assert [e["event"] for e in heard].index("loaded") < heard.index(told)
    assert heard.index(told) < next(i for i, e in enumerate(heard) if e.get("stage") == "generate"
                                    and e["event"] == "part")  # fmt: skip


def heard_of(text, root):
    """Run the pipeline with one worker; return its events."""
    heard = []
    executor = Local(workers=1)
    try:
        run(Pipeline.loads(text), root, executor=executor, listener=heard.append)
    finally:
        executor.close()
    return heard


@pytest.mark.parametrize("engine", ["scripted", "'telling_engine:Slow'"])
@pytest.mark.usefixtures("own_components")
def test_a_shard_in_flight_says_how_far_it_is(tmp_path, monkeypatch, engine):
    """In this process and in a child: sums that grow, from the stage's beginning, in no file."""
    monkeypatch.setattr(local, "PROGRESS_EVERY", 0.4)
    path = tmp_path / "prompts.jsonl"
    rows = [{"id": f"r{i}", "prompt": f"p{i}"} for i in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = PIPELINE.replace("'seeing_engine:Seeing': {}", f"{engine}: {{delay_s: 2}}")
    text = text.replace("n: 1}", "n: 2}\n  - judge: {engine: seen}")
    text = text.replace("shard_rows: 4", "shard_rows: 8").replace("PATH", str(path))
    heard = heard_of(text, tmp_path)
    told = {}
    for event in heard:
        if event["event"] == "progress":
            told.setdefault(event["stage"], []).append(event)
    assert set(told) == {"generate", "judge"}
    for stage, calls in (("generate", 16), ("judge", 16)):
        assert all((e["rows"], e["asked"], e["failed"]) == (8, calls, 0) for e in told[stage])
        assert {e["unit"] for e in told[stage]} == {"calls"}
        ended = [e["ended"] for e in told[stage]]
        assert len(ended) >= 2
        times = [e["time"] for e in told[stage]]
        assert min(two - one for one, two in pairwise(times)) > 0.3
        assert ended == sorted(set(ended))
        assert any(0 < count < calls for count in ended)
        assert all(e["tokens"] == 4 * e["ended"] for e in told[stage])
    written = (tmp_path / "runs/t/events.jsonl").read_text()
    assert '"part"' in written
    assert '"progress"' not in written


@pytest.mark.parametrize("child", [False, True])
@pytest.mark.usefixtures("own_components")
def test_texts_that_are_encoded_are_told_of(tmp_path, child):
    """By a stage itself, wherever it runs; distinct texts, as each is encoded once."""
    path = tmp_path / "prompts.jsonl"
    path.write_text(
        "".join(json.dumps({"id": f"r{i}", "prompt": f"p{i}"}) + "\n" for i in range(8))
    )
    text = PIPELINE.replace("'seeing_engine:Seeing'", "'telling_engine:Slow'")
    fields = "{engine: seen}" if child else "{}"
    text = text.replace("generate: {engine: seen, n: 1}", f"'encoding_stage:Encoding': {fields}")
    text = text.replace("shard_rows: 4", "shard_rows: 8").replace("PATH", str(path))
    heard = heard_of(text, tmp_path)
    told = [event for event in heard if event["event"] == "progress"]
    assert all((e["rows"], e["unit"], e["asked"]) == (8, "texts", 8) for e in told)
    ended = [e["ended"] for e in told]
    assert ended == sorted(set(ended))
    assert any(0 < count < 8 for count in ended)
