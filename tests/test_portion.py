"""Parts of a run: the first rows, and shares of the shards for arrays of jobs."""

from __future__ import annotations

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from curate.errors import ConfigError
from curate.executors import Local
from curate.loop import run
from curate.outcome import Outcome
from curate.pipeline import Pipeline
from curate.portion import Portion
from curate.store import Record, Store

FILTER_FIRST = ("  - exact_dedup\n", "")


def go(path: Path, root: Path, *changes: str, **how: Any) -> tuple[Outcome, dict[str, int]]:
    """Run; return the outcome, and the tasks that each stage it came to had left."""
    todo: dict[str, int] = {}

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "stage":
            todo[event["stage"]] = event["todo"]

    executor = Local(workers=2)
    ended = run(Pipeline.load(path, changes), root, executor=executor, listener=listen, **how)
    executor.close()
    return ended, todo


def stored(root: Path) -> dict[str, str]:
    return {
        f"{p.parent.name}/{p.stem}": json.loads(p.read_bytes())["sha256"]
        for p in (root / "store").glob("*/*.json")
    }


def dataset(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in (folder / "dataset").rglob("*")
        if p.is_file()
    }


@pytest.mark.parametrize("limit", [1, 8, 20, 60, 1000])
def test_a_limited_run_is_a_run_of_the_first_rows(
    scripted_pipeline: Path, tmp_path: Path, limit: int
) -> None:
    ended, _ = go(scripted_pipeline, tmp_path, portion=Portion(limit=limit))
    assert ended.finished
    assert ended.folder.name == f"small-first-{limit}"
    assert ended.accounting["rows_in"] == min(limit, 60)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(prompts.read_text().splitlines(keepends=True)[:limit]))
    alone, _ = go(scripted_pipeline, tmp_path / "alone")
    limited, whole = dataset(ended.folder), dataset(alone.folder)
    assert {k: v for k, v in limited.items() if "README" not in k} == {
        k: v for k, v in whole.items() if "README" not in k
    }


def test_a_limited_run_shares_whole_shards_with_the_full_run(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    scripted_pipeline.write_text(scripted_pipeline.read_text().replace(*FILTER_FIRST))
    go(scripted_pipeline, tmp_path, portion=Portion(limit=20))
    kinds = Counter(name.partition("/")[0] for name in stored(tmp_path))
    assert 4 <= kinds["source"] < 9  # 8, 8 and 8 rows, 4 cut from the third, some read ahead
    assert kinds["generate"] == 3
    ended, todo = go(scripted_pipeline, tmp_path)
    assert todo["generate"] == 8 - 2
    alone, _ = go(scripted_pipeline, tmp_path / "alone")
    assert dataset(ended.folder) == dataset(alone.folder)
    assert stored(tmp_path / "alone").items() <= stored(tmp_path).items()
    _, again = go(scripted_pipeline, tmp_path, portion=Portion(limit=20))
    assert set(again.values()) == {0}


def test_a_limit_reads_no_more_of_the_source_than_it_needs(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    good = "".join(f'{{"id": "r{i}", "prompt": "Name {i} birds."}}\n' for i in range(3000))
    prompts.write_text(good + "not JSON\n")
    ended, _ = go(scripted_pipeline, tmp_path, portion=Portion(limit=8))
    assert ended.accounting["rows_in"] == 8


@pytest.mark.parametrize("of", [2, 3, 11])
def test_shares_do_the_work_and_a_plain_run_finishes(
    scripted_pipeline: Path, tmp_path: Path, of: int
) -> None:
    done: Counter[str] = Counter()
    for number in range(1, of + 1):
        ended, todo = go(scripted_pipeline, tmp_path, portion=Portion(number=number, of=of))
        assert not ended.finished
        assert ended.folder.name == f"small-shard-{number}-of-{of}"
        assert not (ended.folder / "dataset").exists()
        assert "near_dedup" not in todo  # the first stage that needs all shards again
        done.update(todo)
    assert done["exact_dedup"] == 1  # whoever comes first does what stands before the shards
    assert {done[stage] for stage in ("generate", "likelihood", "margin")} == {8}
    ended, todo = go(scripted_pipeline, tmp_path)
    assert ended.finished
    assert {stage for stage, n in todo.items() if n} == {"near_dedup", "rationale", "split"}
    alone, _ = go(scripted_pipeline, tmp_path / "alone")
    assert dataset(ended.folder) == dataset(alone.folder)
    assert stored(tmp_path) == stored(tmp_path / "alone")


def test_shares_at_once_do_nothing_twice(
    scripted_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that start together wait for the one that does what comes before the shards."""
    commit, committed, waited = Store.commit, Counter[str](), list[str]()

    def counted(store: Store, record: Record, columns: Any) -> Record:
        committed[record.stage] += 1
        time.sleep(0.02)  # so that the shares would meet
        return commit(store, record, columns)

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "waiting":
            waited.append(event["why"])

    monkeypatch.setattr(Store, "commit", counted)

    def share(number: int) -> Outcome:
        portion, pipeline = Portion(number=number, of=3), Pipeline.load(scripted_pipeline)
        executor = Local(workers=1)
        try:
            return run(pipeline, tmp_path, executor=executor, portion=portion, listener=listen)
        finally:
            executor.close()

    with ThreadPoolExecutor(3) as pool:
        assert not any(ended.finished for ended in pool.map(share, (1, 2, 3)))
    assert waited
    assert set(committed.values()) == {8}


def test_shares_go_on_behind_a_stage_that_the_whole_run_has_done(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    go(scripted_pipeline, tmp_path, until="near_dedup")
    ended, todo = go(scripted_pipeline, tmp_path, portion=Portion(number=2, of=3))
    assert todo["near_dedup"] == 0
    assert todo["rationale"] == 3  # shards 1, 4 and 7 of 0 to 7
    assert "split" not in todo
    assert not ended.finished


def test_a_share_of_a_limited_run(scripted_pipeline: Path, tmp_path: Path) -> None:
    first = Portion(limit=20, number=1, of=2)
    ended, todo = go(scripted_pipeline, tmp_path, portion=first)
    assert ended.folder.name == "small-first-20-shard-1-of-2"
    assert todo["generate"] == 2
    _, todo = go(scripted_pipeline, tmp_path, portion=Portion(limit=20))
    assert todo["generate"] == 1


def test_until_stops_behind_a_stage_and_knows_the_names(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    ended, todo = go(scripted_pipeline, tmp_path, until="generate")
    assert list(todo) == ["unique_id", "exact_dedup", "generate"]
    assert not ended.finished
    with pytest.raises(ConfigError, match="did you mean 'generate'"):
        go(scripted_pipeline, tmp_path, until="generat")


@pytest.mark.parametrize("share", ["0/4", "5/4", "1", "1/0", "-1/2", "1/2/3", "a/b"])
def test_a_share_that_does_not_exist_is_refused(share: str) -> None:
    with pytest.raises(ConfigError, match="--shard"):
        Portion.parse(None, share)


@pytest.mark.parametrize("text", ["", "\n\n", None])
def test_an_empty_source_gives_a_finished_run_with_an_empty_dataset(
    scripted_pipeline: Path, tmp_path: Path, text: str | None
) -> None:
    from datasets import load_from_disk

    if text is None:  # some rows, of which none is left
        scripted_pipeline.write_text(
            scripted_pipeline.read_text().replace("at_least: 0.01", "at_least: 1000")
        )
    else:
        (tmp_path / "prompts.jsonl").write_text(text)
    ended, _ = go(scripted_pipeline, tmp_path)
    assert ended.finished
    assert ended.accounting["rows_exported"] == 0
    assert ended.accounting["rows_in"] == (60 if text is None else 0)
    data = load_from_disk(str(ended.folder / "dataset"))
    assert {name: len(split) for name, split in data.items()} == {"train": 0}
    assert {"prompt", "chosen", "rejected"} <= set(data["train"].column_names)
    _, again = go(scripted_pipeline, tmp_path)
    assert set(again.values()) == {0}
