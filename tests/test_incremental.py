"""Yesterday's new prompts only: what is old is reused, and what is new is said."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate import history
from curate.component import Runtime
from curate.engines.contract import Completions, Requests
from curate.engines.scripted import Scripted, ScriptedEngine
from curate.executors.local import Local
from curate.export.records import Exported
from curate.export.versions import Versions, changes
from curate.loop import run
from curate.pipeline import Pipeline
from curate.work import live_tables

ASKED: Counter[str] = Counter()


class Counting(Scripted, name="counting_in_tests"):
    """Counts who was asked what, by the last turn of each conversation."""

    log: Runtime[str] = ""

    def load(self) -> ScriptedEngine:
        return CountingEngine(self)


class CountingEngine(ScriptedEngine):
    def chat(self, requests: Requests) -> Completions:
        texts = [turns[-1]["content"] for turns in requests.conversations.to_pylist()]
        which = range(len(texts)) if requests.which is None else requests.which.tolist()
        ASKED.update(texts[i] for i in which)
        return super().chat(requests)


PIPELINE = """\
name: daily
source: {jsonl: {path: "FOLDER/*.jsonl", shard_rows: 5, columns: {id: id, prompt: prompt}}}
engines: {judge: {counting_in_tests: {}}}
stages:
  - exact_dedup
  - generate: {engine: judge, n: 2}
  - judge: {engine: judge, score: expected}
  - combine
  - best_worst
  - margin: {at_least: 0.0}
"""


def write(path: Path, *ids: str, prompt: str = "Tell me about {}.", mode: str = "w") -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open(mode) as file:
        for name in ids:
            file.write(json.dumps({"id": name, "prompt": prompt.format(name)}) + "\n")


def go(root: Path, *sets: str) -> tuple[dict[str, int], dict[str, Any]]:
    """Run; return the shards that each stage had to do, and dataset.json."""
    ASKED.clear()
    todo: dict[str, int] = {}

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "stage":
            todo[event["stage"]] = event["todo"]

    text = PIPELINE.replace("FOLDER", str(root / "prompts"))
    ended = run(Pipeline.loads(text, sets), root, executor=Local(workers=1), listener=listen)
    assert ended.finished
    books = ended.accounting
    lost = sum(books["dropped"].values()) + sum(books["failed"].values())
    assert books["rows_in"] == books["rows_exported"] + lost
    return todo, json.loads((root / "runs/daily/dataset.json").read_bytes())


def exported(root: Path) -> list[str]:
    store, shards = history.shards(root, history.manifest(root, "daily"))
    return [i for table in live_tables(store, shards) for i in table["id"].to_pylist()]


def names(start: int, stop: int) -> list[str]:
    return [f"p{number}" for number in range(start, stop)]


PER_ROW = ("generate", "judge", "combine", "best_worst", "margin")


def test_a_new_file_costs_its_own_rows_alone(tmp_path: Path) -> None:
    write(tmp_path / "prompts/monday.jsonl", *names(0, 12))
    _, first = go(tmp_path)
    assert first["changes"] is None
    assert {t for t in ASKED if t.startswith("Tell me")} == {
        f"Tell me about {n}." for n in names(0, 12)
    }
    old = exported(tmp_path)
    # Tuesday's file has six new prompts, one of Monday's again under another id, and one twice.
    write(tmp_path / "prompts/tuesday.jsonl", *names(12, 18))
    write(tmp_path / "prompts/tuesday.jsonl", "x", prompt="Tell me about p3.", mode="a")
    write(tmp_path / "prompts/tuesday.jsonl", "y", prompt="Tell me about p17.", mode="a")
    todo, second = go(tmp_path)
    assert {t for t in ASKED if t.startswith("Tell me")} == {
        f"Tell me about {n}." for n in names(12, 18)
    }
    assert not any(f"about {n}." in text for text in ASKED for n in names(0, 10))  # nor judged
    assert todo["exact_dedup"] == 1  # one task, which saw old and new:
    store, shards = history.shards(tmp_path, history.manifest(tmp_path, "daily"))
    assert {row["id"] for row in history.dropped(store, shards)} == {"x", "y"}
    assert {todo[stage] for stage in PER_ROW} == {2}  # the two shards of the new file
    new = exported(tmp_path)
    assert new[: len(old)] == old
    assert second["changes"] == {
        "rows_added": len(new) - len(old), "rows_removed": 0,
        "records_added": second["summary"]["records"] - first["summary"]["records"],
        "records_removed": 0,
    }  # fmt: skip
    assert second["changes"]["rows_added"] == 6
    again, third = go(tmp_path)
    assert set(again.values()) == {0}
    assert not ASKED
    assert third == second  # nothing was made, so the changes are still the last version's


def test_a_file_that_sorts_first_moves_the_others_and_costs_nothing_more(tmp_path: Path) -> None:
    write(tmp_path / "prompts/b.jsonl", *names(0, 11))
    go(tmp_path)
    write(tmp_path / "prompts/a.jsonl", *names(20, 24))
    todo, _ = go(tmp_path)
    assert {todo[stage] for stage in PER_ROW} == {1}
    assert {t for t in ASKED if t.startswith("Tell me")} == {
        f"Tell me about {n}." for n in names(20, 24)
    }


def test_lines_added_to_a_file_leave_its_full_shards_alone(tmp_path: Path) -> None:
    """Full shards of a file that only grew keep their values, so nothing after them runs again."""
    path = tmp_path / "prompts/all.jsonl"
    write(path, *names(0, 12))
    go(tmp_path)
    write(path, *names(12, 17), mode="a")
    todo, mark = go(tmp_path)
    # Shards 0-4 and 5-9 are what they were; 10-14 and 15-16 are new.
    assert {todo[stage] for stage in PER_ROW} == {2}
    assert {t for t in ASKED if t.startswith("Tell me")} == {
        f"Tell me about {n}." for n in names(10, 17)
    }
    assert mark["changes"]["rows_added"] == 5


def test_a_changed_row_costs_its_shard_and_one_put_first_the_whole_file(tmp_path: Path) -> None:
    """As docs/sources.md warns: shards are cut by place, so what is put first shifts them all."""
    path = tmp_path / "prompts/all.jsonl"
    write(path, *names(0, 15))
    go(tmp_path)
    text = path.read_text()
    path.write_text(text.replace("about p7.", "about seven."))
    todo, _ = go(tmp_path)
    assert {todo[stage] for stage in PER_ROW} == {1}  # of three shards
    write(path, "new")
    path.write_text(path.read_text() + text)
    todo, _ = go(tmp_path)
    assert {todo[stage] for stage in PER_ROW} == {4}


def test_rows_that_go_are_said_too(tmp_path: Path) -> None:
    write(tmp_path / "prompts/a.jsonl", *names(0, 10))
    write(tmp_path / "prompts/b.jsonl", *names(10, 15))
    go(tmp_path)
    (tmp_path / "prompts/a.jsonl").unlink()
    write(tmp_path / "prompts/c.jsonl", *names(15, 18))
    _, mark = go(tmp_path)
    assert mark["changes"] == {
        "rows_added": 3, "rows_removed": 10, "records_added": 3, "records_removed": 10,
    }  # fmt: skip
    assert not ASKED.keys() & {f"Tell me about {n}." for n in names(10, 15)}


def test_a_version_whose_export_was_cut_short_counts_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed when the new dataset is in place and its mark is not: the changes are still right."""
    write(tmp_path / "prompts/a.jsonl", *names(0, 10))
    _, first = go(tmp_path)
    write(tmp_path / "prompts/b.jsonl", *names(10, 15))
    with monkeypatch.context() as patch:
        patch.setattr(Versions, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            go(tmp_path)
    mark = json.loads((tmp_path / "runs/daily/dataset.json").read_bytes())
    assert (mark["state"], mark["rows"]) == (None, first["rows"])
    _, second = go(tmp_path)
    assert second["changes"]["rows_added"] == 5
    assert [p.name for p in (tmp_path / "runs/daily").glob("rows-*")] == [second["rows"]]
    assert list(second["changes"].values())[1:] == [0, 5, 0]


def version(**records: int) -> Exported:
    keys = [int(name[1:]) for name in records]
    return Exported(
        pa.array(np.array(keys, np.uint64)), pa.array(list(records.values()), pa.int32())
    )


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (version(), version(), (0, 0, 0, 0)),
        (version(), version(k1=2, k2=1), (2, 0, 3, 0)),
        (version(k1=2, k2=1), version(), (0, 2, 0, 3)),
        (version(k1=2, k2=1), version(k2=1, k1=2), (0, 0, 0, 0)),
        (version(k1=2, k2=3, k3=1), version(k1=5, k2=1, k4=1), (1, 1, 4, 3)),
    ],
)
def test_changes_between_versions(before: Exported, now: Exported, expected: Any) -> None:
    assert tuple(changes(before, now).values()) == expected
