"""Whole runs over texts and answers that break careless code: rows in = out, nothing executed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hostile import ANSWERS, TEXTS

from curate import history
from curate.engines.scripted import Scripted
from curate.executors.local import Local
from curate.loop import run
from curate.outcome import Outcome
from curate.pipeline import Pipeline
from curate.report import report
from curate.sources.files import Jsonl
from curate.stage import stage_registry
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


def test_twins_that_differ_in_normal_form_alone_are_one_row_kept_as_it_was_written(go: Any) -> None:
    twins = {name: TEXTS[name] for name in ("composed", "decomposed")}
    ended, kept = go(rows_of(twins))
    (row,) = kept
    assert row["prompt"][-1]["content"] in twins.values()
    assert ended.accounting["dropped"] == {"exact_dedup: exact prompt duplicate": 1}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_judge_that_says_only_one_thing(go: Any, name: str) -> None:
    texts = {f"{i}": f"Question number {i * i} about tides?" for i in range(9)}
    _, kept = go(rows_of(texts), judge=[ANSWERS[name]])
    assert any(row["judgments"] for row in kept)
    for row in kept:
        for found in row["judgments"]:
            scored = found["score"] is not None
            assert scored == (found["status"] == "ok")
            if scored and found["b"] is None:
                assert 1 <= found["score"] <= 5


def statuses(ended: Outcome) -> set[str]:
    """Those of every judgment in the run's parts."""
    root = ended.folder.parents[1]
    store, shards = history.shards(root, history.manifest(root, "content"))
    found: set[str] = set()
    for record in (record for shard in shards for record in shard.parts):
        for column in store.read(record, ["judgments"]).values():
            found |= set(column.flatten().field("status").to_pylist())
    return found


def test_a_judge_that_says_all_of_it(go: Any) -> None:
    texts = {f"{i}": f"Question number {i * i} about tides?" for i in range(60)}
    ended, _ = go(rows_of(texts), judge=ANSWERS.values())
    assert {"ok", "parse_error"} <= statuses(ended)


def test_one_poisonous_row_in_a_batch_of_4096(go: Any) -> None:
    """The worst text stands alone among 4,095 plain ones, in one shard, and costs no other row."""
    rows = [{"id": f"r{i}", "prompt": f"What is {i} times {i + 1}?"} for i in range(4095)]
    poison = "".join(text[:500] for text in TEXTS.values())
    rows.insert(2048, {"id": "poison\x00\u202e", "prompt": poison})
    ended, kept = go(rows, writer=[f"answer {i}" for i in range(99)] + [poison], shard_rows=4096)
    assert any(row["id"].startswith("poison") for row in kept)
    assert ended.accounting["dropped"].keys() <= {"best_worst: no pair"}  # two answers were equal
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
