"""The order in which input files are named, listed or sorted, and what of it a run may show."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from datasets import load_from_disk

from curate.executors import Local
from curate.loop import run
from curate.pipeline import Pipeline

PIPELINE = """
name: t
source: {jsonl: {path: PATHS, shard_rows: 3, columns: {id: id, prompt: prompt}}}
engines: {small: {scripted: {}}}
stages:
  - generate: {engine: small, n: 3}
  - judge: {engine: small, score: expected}
  - combine
  - best_worst
  - split: {parts: {train: 0.5, test: 0.5}}
"""


def write(folder: Path, *names: str) -> list[str]:
    """Four rows a file, no prompt twice."""
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        rows = [{"id": f"{number}-{k}", "prompt": f"Ask {number} about {k}?"} for k in range(4)]
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [str(folder / name) for name in names]


def left(root: Path) -> dict[str, str]:
    """Every part and every file of the dataset but its card, which shows `path` as it is given."""
    found = [*(root / "store").rglob("*.arrow"), *(root / "runs/t/dataset").rglob("*")]
    return {
        str(path.relative_to(root)).split(".")[0]: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in found
        if path.is_file() and path.name != "README.md"
    }


def go(root: Path, paths: object) -> dict[str, int]:
    """Run over the files; return how many tasks of each stage there were to do."""
    todo: dict[str, int] = {}

    def hear(event: dict[str, object]) -> None:
        if event["event"] == "stage":
            todo[str(event["stage"])] = int(str(event["todo"]))

    pipeline = Pipeline.loads(PIPELINE.replace("PATHS", json.dumps(paths)))
    assert run(pipeline, root, executor=Local(workers=2), listener=hear).finished
    return todo


def test_files_named_in_any_order_or_by_a_pattern_are_one_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read in the order of their names, whatever order they are listed in."""
    a, b, c = write(tmp_path / "data", "a.jsonl", "b.jsonl", "c.jsonl")
    go(tmp_path / "one", [a, b, c])
    expected = left(tmp_path / "one")
    assert len(expected) > 30
    monkeypatch.chdir(tmp_path)
    for number, paths in enumerate(
        ([c, a, b], [b, c, a, b], "data/*.jsonl", ["data/[bc].jsonl", "data/a.jsonl"])
    ):
        root = tmp_path / str(number)
        go(root, paths)
        assert left(root) == expected, paths


def test_files_whose_names_sort_otherwise_change_the_order_of_rows_alone(tmp_path: Path) -> None:
    """Content, not path, is what parts depend on: nothing that looks at a shard is redone."""
    a, b, c = write(tmp_path / "data", "a.jsonl", "b.jsonl", "c.jsonl")
    go(tmp_path, [a, b, c])
    before = records(tmp_path)
    moved = Path(a).rename(tmp_path / "data" / "z.jsonl")
    todo = go(tmp_path, [str(moved), b, c])
    assert todo.pop("unique_id") == todo.pop("split") == 1  # they see all rows, in their order
    assert set(todo.values()) == {0}
    after = records(tmp_path)
    assert list(before) != list(after)
    assert before == after
    assert next(iter(after)).startswith("1")  # the rows of b.jsonl come first now


def records(root: Path) -> dict[str, object]:
    """The exported rows by id, in their order."""
    found = load_from_disk(str(root / "runs/t/dataset"))
    return {row["id"]: (split, row) for split in found for row in found[split]}
