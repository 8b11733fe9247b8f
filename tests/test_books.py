"""The books tell of pairs that were dropped inside rows that stay, whatever the shards."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from curate import history
from curate.books import account, funnel
from curate.commands.options import book_lines
from curate.fate import INSIDE
from curate.loop import run
from curate.outcome import Outcome
from curate.pipeline import Pipeline
from curate.work import live_tables

ROWS = 40
STAGES = """
name: pairs
source:
  jsonl:
    path: PATH
    shard_rows: SIZE
    columns: {id: id, prompt: prompt, candidates: answers, scores: scores}
stages:
  - combine
  - min_score: {at_least: 0.1}
  - all_pairs
  - margin: {at_least: 0.25}
  - margin: {at_least: AT_LEAST}
"""


def go(root: Path, size: int = 16, at_least: float = 0.45) -> Outcome:
    root.mkdir(exist_ok=True)
    path = root / "rows.jsonl"
    rows = [
        {"id": f"r{i}", "prompt": f"Question {i}?", "answers": [*"abcd"],
         "scores": [0.0, 0.2, 0.2 + 0.04 * (i % 9), 1.0]}
        for i in range(ROWS)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = STAGES.replace("PATH", str(path)).replace("SIZE", str(size))
    return run(Pipeline.loads(text.replace("AT_LEAST", str(at_least))), root)


def test_what_was_dropped_inside_rows_is_what_the_parts_hold(tmp_path: Path) -> None:
    ended = go(tmp_path)
    books = ended.accounting
    assert (books["rows_in"], books["rows_exported"]) == (ROWS, ROWS)
    store, shards = history.shards(tmp_path, history.manifest(tmp_path, "pairs"))
    rows = [row for table in live_tables(store, shards) for row in table.to_pylist()]
    inside = books["dropped_inside"]
    for column, stage in (("pairs", "margin"), ("candidates", "min_score")):
        held = Counter(f"{stage}: {one['drop']}" for row in rows for one in row[column])
        kept = held.pop(f"{stage}: None")
        assert inside[column] == held
        assert kept == books["records"] or column == "candidates"
    assert inside["candidates"] == {"min_score: score below 0.1": ROWS}
    assert len(inside["pairs"]) == 2


@pytest.mark.parametrize("size", [1, 7, 64])
def test_the_numbers_do_not_depend_on_the_shards(tmp_path: Path, size: int) -> None:
    whole, cut = go(tmp_path / "16"), go(tmp_path / "n", size)
    assert whole.accounting == cut.accounting


def test_parts_that_did_not_count_are_no_zeros(tmp_path: Path) -> None:
    go(tmp_path)
    _, shards = history.shards(tmp_path, history.manifest(tmp_path, "pairs"))
    old = shards[0].parts[-1]
    early = replace(old, info={k: v for k, v in old.info.items() if k != INSIDE})
    mixed = [replace(shards[0], parts=(*shards[0].parts[:-1], early)), *shards[1:]]
    *others, last = funnel(mixed)
    assert others == funnel(shards)[:-1]
    assert last["inside"] == {}
    assert funnel(shards)[-1]["inside"] != {}
    assert [*account(mixed, 6, None)["dropped_inside"]["pairs"]] == ["margin: margin below 0.25"]


def test_it_is_said_in_words_and_only_where_there_is_something(tmp_path: Path) -> None:
    books = {"rows_in": 2, "rows_exported": 2, "dropped": {}, "failed": {}, "records": 1}
    assert book_lines(Path("x"), books) == [
        "2 rows = 2 kept + 0 dropped + 0 failed", "1 records in x/dataset"
    ]  # fmt: skip
    books["dropped_inside"] = {"pairs": {"margin: margin below 1": 1234}}
    assert book_lines(Path("x"), books)[1:3] == [
        "dropped inside rows that stayed:", "    1234  pairs, margin: margin below 1"
    ]  # fmt: skip
    assert len(book_lines(Path("x"), books, reasons=False)) == 1
    card = (go(tmp_path).folder / "dataset" / "README.md").read_text()
    assert "| failed | dropped inside rows that stayed |" in card
    assert "pairs: margin below 0.45: " in card
    assert f"candidates: score below 0.1: {ROWS}" in card


def test_a_run_that_drops_no_pair_says_nothing_of_pairs(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "a", "prompt": "Why?", "answers": ["x", "y"], "scores": [1, 0]}\n')
    text = STAGES.replace("PATH", str(path)).replace("SIZE", "8").replace("AT_LEAST", "0.5")
    ended = run(Pipeline.loads(text.replace("  - min_score: {at_least: 0.1}\n", "")), tmp_path)
    assert "dropped_inside" not in ended.accounting
    assert "inside" not in (ended.folder / "dataset" / "README.md").read_text()
