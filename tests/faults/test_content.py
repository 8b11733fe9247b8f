"""Whole runs over texts and answers that break careless code: rows in = out, nothing executed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hostile import ANSWERS, TEXTS

from curate import history
from curate.engines.scripted import Scripted
from curate.errors import ConfigError
from curate.executors.local import Local
from curate.loop import Outcome, run
from curate.pipeline import Pipeline
from curate.report import report
from curate.sources.files import Jsonl
from curate.stage import stage_registry
from curate.store import Record, Store
from curate.work import live_tables
from curate.yaml_form import read_yaml

STAGES = """
  - exact_dedup
  - generate: {engine: writer, n: 3}
  - judge: {engine: judge, max_error_rate: 1.0}
  - judge: {engine: judge, score: expected, name: sure, max_error_rate: 1.0}
  - judge_pairs: {engine: judge, max_error_rate: 1.0}
  - combine
  - best_worst
  - margin: {at_least: 0.0}
  - near_dedup
  - lint
  - rationale: {engine: judge, max_error_rate: 1.0}
  - split
"""


def rows_of(texts: dict[str, str]) -> list[dict[str, Any]]:
    return [{"id": f"{name} {text[:9]}", "prompt": text} for name, text in texts.items()]


@pytest.fixture
def go(tmp_path: Path) -> Any:
    """Run texts as prompts and answers; check the books and that nothing else was written."""
    world = tmp_path / "world"
    root = world / "a/b/c/root"
    root.mkdir(parents=True)
    canary = world / "canary"

    def start(
        rows: list[dict[str, Any]], writer: Any = (), judge: Any = (), shard_rows: int = 7
    ) -> tuple[Outcome, list[dict[str, Any]]]:
        swap = lambda text: text.replace("CANARY", str(canary))  # noqa: E731
        source = root / "prompts.jsonl"
        lines = [{k: swap(v) for k, v in row.items()} for row in rows]
        source.write_text("".join(json.dumps(line) + "\n" for line in lines))
        columns = {"id": "id", "prompt": "prompt"}
        pipeline = Pipeline(
            name="content",
            source=Jsonl(path=str(source), shard_rows=shard_rows, columns=columns),
            stages=[stage_registry.parse(form, "stage") for form in read_yaml(STAGES)],
            engines={
                "writer": Scripted(replies=tuple(map(swap, writer))),
                "judge": Scripted(model="judge", replies=tuple(judge)),
            },
        )
        assert Pipeline.loads(pipeline.dumps()) == pipeline
        executor = Local(workers=2)
        ended = run(pipeline, root, executor=executor)
        executor.close()
        books = ended.accounting
        lost = sum(books["dropped"].values()) + sum(books["failed"].values())
        assert ended.finished
        assert books["rows_in"] == len(rows) == books["rows_exported"] + lost
        store, shards = history.shards(root, history.manifest(root, "content"))
        gone = history.dropped(store, shards, most=10**6)
        kept = [row for table in live_tables(store, shards) for row in table.to_pylist()]
        assert sorted([r["id"] for r in gone] + [r["id"] for r in kept]) == sorted(
            line["id"] for line in lines
        )
        asked = {line["id"]: line["prompt"] for line in lines}
        for row in kept:
            assert row["prompt"][-1]["content"] == asked[row["id"]]
        return ended, kept

    yield start
    assert not canary.exists()
    outside = {p for p in world.rglob("*") if p.is_file() and root not in p.parents}
    assert outside == set()
    assert {p.name for p in root.iterdir()} <= {"prompts.jsonl", "runs", "store"}


def test_hostile_prompts_and_answers(go: Any) -> None:
    """Every text as a prompt, and each an answer to some prompt; the dataset holds them whole."""
    from datasets import load_dataset, load_from_disk

    ended, kept = go(rows_of(TEXTS), writer=TEXTS.values())
    texts = {candidate["text"] for row in kept for candidate in row["candidates"]}
    assert len(texts) > len(TEXTS) / 2
    folder = ended.folder / "dataset"
    saved = [record for split in load_from_disk(str(folder)).values() for record in split]
    cache = ended.folder.parents[2] / "cache"
    other = load_dataset(str(folder), cache_dir=str(cache))
    assert sorted(map(str, saved)) == sorted(str(r) for split in other.values() for r in split)
    told = {row["prompt"][-1]["content"] for row in kept}
    assert {record["prompt"][-1]["content"] for record in saved} <= told
    assert len(saved) == ended.accounting["records"] > 3
    page = report(ended.folder.parents[1], "content", None)
    assert "<script>alert(1)" not in page
    assert "onerror=alert" not in page.replace("&lt;img src=x onerror=alert", "")
    import shutil

    shutil.rmtree(cache)


def test_twins_that_differ_in_normal_form_alone_are_two_rows_or_one_with_a_reason(go: Any) -> None:
    twins = {name: TEXTS[name] for name in ("composed", "decomposed")}
    _, kept = go(rows_of(twins))
    for row in kept:  # whichever is kept is kept as it was written
        assert row["prompt"][-1]["content"] in twins.values()


@pytest.mark.parametrize("name", ANSWERS)
def test_a_judge_that_says_only_one_thing(go: Any, name: str) -> None:
    texts = {f"{i}": f"Question number {i * i} about tides?" for i in range(9)}
    _, kept = go(rows_of(texts), judge=[ANSWERS[name]])
    for row in kept:
        for found in row["judgments"]:
            scored = found["score"] is not None
            assert scored == (found["status"] == "ok")
            if scored and found["b"] is None:
                assert 1 <= found["score"] <= 5


def test_a_judge_that_says_all_of_it(go: Any) -> None:
    texts = {f"{i}": f"Question number {i * i} about tides?" for i in range(60)}
    ended, _ = go(rows_of(texts), judge=ANSWERS.values())
    counted = {s for part in parts(ended) for s in part["status"]}
    assert {"ok", "parse_error"} <= counted


def parts(ended: Outcome) -> list[dict[str, Any]]:
    root = ended.folder.parents[1]
    store, shards = history.shards(root, history.manifest(root, "content"))
    found = []
    for shard in shards:
        for record in shard.parts:
            columns = store.read(record, ["judgments"]).values()
            found.extend({"status": c.flatten().field("status").to_pylist()} for c in columns)
    return found


def test_one_poisonous_row_in_a_batch_of_4096(go: Any) -> None:
    """The worst text stands alone among 4,095 plain ones, in one shard, and costs no other row."""
    rows = [{"id": f"r{i}", "prompt": f"What is {i} times {i + 1}?"} for i in range(4095)]
    poison = "".join(text[:500] for text in TEXTS.values())
    rows.insert(2048, {"id": "poison\x00\u202e", "prompt": poison})
    ended, kept = go(rows, writer=[f"answer {i}" for i in range(99)] + [poison], shard_rows=4096)
    assert any(row["id"].startswith("poison") for row in kept) or ended.accounting["dropped"]
    assert not ended.accounting["failed"]


SHAPES = {
    "one row": (["Why?"], ["It is."]),
    "one row twice": (["Why?"] * 40, ["It is."]),
    "equal answers": ([f"Why {i * i}?" for i in range(40)], ["It is."]),
    "no answer at all": ([f"Why {i * i}?" for i in range(9)], [""]),
    "near copies": ([f"Why would anybody want to ask {i}?" for i in range(40)], ["Yes.", "No."]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_data_of_one_kind_only(go: Any, shape: str) -> None:
    """`go` balances the books; and the same judgment of everything is no preference."""
    prompts, answers = SHAPES[shape]
    texts = [{"id": f"r{i}", "prompt": text} for i, text in enumerate(prompts)]
    ended, kept = go(texts, writer=answers, judge=["Score: 3"])
    if shape == "one row twice":
        assert ended.accounting["dropped"]["exact_dedup: exact prompt duplicate"] == 39
    if len(answers) == 1:
        assert ended.accounting["records"] == 0
        assert not any(pair["margin"] for row in kept for pair in row["pairs"])


BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "line 1: anchors and aliases are not allowed"),
        ("name: &n x\nother: *n\n", "anchors and aliases"),
        ("name: !!python/object/apply:os.system ['touch CANARY']\n", "python"),
        ("name: !!python/name:os.system\n", "python"),
        ("!!python/object:curate.pipeline.Pipeline {}\n", "python"),
        ("name: !mine x\n", "!mine"),
        ("[" * 300, "line 1: nested deeper than 64 levels"),
        ("[" * 5000, "line 1: nested deeper than 64 levels"),
        ("a: [" + "[\n" * 5000, "line 63: nested deeper than 64 levels"),
        ("name: x\n" + "? " * 5000, "line 2: nested deeper than 64 levels"),
        ("{a: " * 5000, "line 1: nested deeper than 64 levels"),
        ("- " * 5000, "line 1: nested deeper than 64 levels"),
        ("name: x\nname: y\n", "name"),
        ("name: [\x00]\n", ""),
        ('name: "\\ud83d\\ude80"\n', "halves of characters"),
    ],
)
def test_yaml_is_data_or_a_clear_error(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "p.yaml"
    path.write_text(text)
    started = time.process_time()
    with pytest.raises(ConfigError) as caught:
        Pipeline.load(path)
    assert time.process_time() - started < 5  # 5,000 brackets take half a minute to parse
    assert words in str(caught.value)
    assert len(str(caught.value)) < 500
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "/etc/x", "..", ".", ".hidden", "a\x00b", "a\nb", "", "x" * 200, "~root"],
)
def test_a_runs_name_cannot_leave_its_folder(name: str, tmp_path: Path) -> None:
    form = {"name": name, "source": {"jsonl": {"path": "x", "columns": {"prompt": "prompt"}}},
            "stages": ["exact_dedup"]}  # fmt: skip
    with pytest.raises(ConfigError):
        Pipeline.loads(json.dumps(form))


SECRET = "outside"


@pytest.fixture
def store(tmp_path: Path) -> tuple[Store, Record]:
    store = Store(tmp_path / "store")
    draft = Record("s", "0" * 64, "", "", ("x",), (), 1, 1)
    return store, store.commit(draft, {"x": pa.array([1])})


@pytest.mark.parametrize(
    "file", ["../secret.arrow", "/etc/passwd", "s/../../secret", "s/a\x00.arrow"]
)
def test_a_record_cannot_lead_out_of_the_store(
    store: tuple[Store, Record], tmp_path: Path, file: str
) -> None:
    here, record = store
    (tmp_path / "secret.arrow").write_text(SECRET)
    path = here.root / f"s/{record.key}.json"
    path.write_text(json.dumps({**record.to_json(), "file": file}))
    assert Store(here.root).find("s", record.key) is None
    assert (tmp_path / "secret.arrow").read_text() == SECRET


@pytest.mark.parametrize("key", ["../outside", "/etc/passwd", "a/b", "", "nul\x00", "x" * 300])
def test_a_manifests_key_cannot_lead_out_of_the_store(tmp_path: Path, key: str) -> None:
    store = Store(tmp_path / "store")
    (tmp_path / "store/s").mkdir(parents=True)
    outside = tmp_path / "store/outside.json"
    outside.write_text("{}")
    assert store.find("s", key) is None
    assert outside.read_text() == "{}"  # not taken for a damaged record, and set aside


def test_a_stages_name_cannot_lead_out_of_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for stage in ("../up", "a/../../up", "/abs", "nul\x00", ".."):
        draft = Record(stage, "0" * 64, "", "", ("x",), (), 1, 1)
        try:
            store.commit(draft, {"x": pa.array([1])})
        except (ConfigError, OSError, ValueError):
            continue
    inside = tmp_path / "store"
    assert {p for p in tmp_path.rglob("*") if p.is_file() and inside not in p.parents} == set()


def test_a_part_that_is_a_link_to_elsewhere_is_not_taken_for_ours(
    store: tuple[Store, Record], tmp_path: Path
) -> None:
    here, record = store
    secret = tmp_path / "secret.arrow"
    secret.write_text(SECRET)
    part = here.root / record.file
    part.unlink()
    part.symlink_to(secret)
    assert Store(here.root).find("s", record.key) is None  # its bytes are not the record's
    assert secret.read_text() == SECRET


KEY = "sk-canary-5f2e9a77"


def test_a_key_is_in_nothing_that_is_written_or_said(tmp_path: Path) -> None:
    """A server echoes the key in answers, errors and its model's name; a child; every command."""
    pytest.importorskip("openai")
    from chat_server import chatting, said

    def act(handler: Any, prompt: str, number: int) -> None:
        echo = handler.headers["Authorization"]
        assert KEY in echo
        if number == 1 and "3" in prompt:
            return handler.send(500, {"error": {"message": echo}})
        if "4" in prompt:
            return handler.send(400, {"error": {"message": echo}})
        text = f"your key is {echo}, {prompt}"
        return handler.send(body=said(text, model=f"m {KEY}", finish_reason=f"stop {echo}"))

    rows = [{"id": f"r{i}", "prompt": f"p{i}"} for i in range(8)]
    source = tmp_path / "prompts.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    log = tmp_path / "logs"
    log.mkdir()
    with chatting(act) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        form = {
            "name": "secret",
            "source": {"jsonl": {"path": str(source), "columns": {"id": "id", "prompt": "prompt"}}},
            "engines": {
                "far": {"openai": {"model": "m", "base_url": url, "retries": 1}},
                "near": {"crashing:Crashing": {"folder": str(log)}},
            },
            "stages": [
                {"generate": {"engine": "far", "n": 1, "max_error_rate": 0.5}},
                {"generate": {"engine": "near", "n": 1}},
            ],
            "export": "candidates",
        }  # fmt: skip
        pipeline = tmp_path / "p.yaml"
        pipeline.write_text(json.dumps(form))
        here = Path(__file__).parent
        environment = {
            **os.environ, "OPENAI_API_KEY": KEY, "NO_PROXY": "*",
            "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])]),
        }  # fmt: skip
        spoken = ""
        for words in (
            ["run", pipeline, "--json"], ["plan", pipeline, "--json"],
            ["status", "secret", "--json"], ["show", "secret", "--id", "r3"],
            ["show", "secret", "--dropped"],
            ["report", "secret"], ["gc", "--json"], ["doctor"],
        ):  # fmt: skip
            place = [] if words[0] == "doctor" else ["--root", str(tmp_path)]
            ended = subprocess.run(
                [sys.executable, "-m", "curate", *map(str, words), *place],
                env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert ended.returncode == 0, ended.stderr
            spoken += ended.stdout + ended.stderr
    assert "your key is Bearer [key]" in spoken
    assert KEY not in spoken
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


def test_a_key_written_into_a_pipeline_is_refused_unsaid(tmp_path: Path) -> None:
    """There is no field for a key, and the error does not repeat what stood there."""
    for fields in (
        {"api_key": KEY}, {"base_url": f"http://user:{KEY}@host/v1"},
        {"api_key_env": KEY}, {"api_key_file": KEY},
    ):  # fmt: skip
        form = {"name": "x", "source": {"jsonl": {"path": "x", "columns": {"prompt": "prompt"}}},
                "engines": {"far": {"openai": {"model": "m", "base_url": "http://h/v1", **fields}}},
                "stages": ["exact_dedup"]}  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            Pipeline.loads(json.dumps(form))
        assert KEY not in str(caught.value)
