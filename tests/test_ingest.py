"""What a source's parts tell of its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import curate
from curate.errors import RepeatedId

HEAD = """\
name: twice
export: null
stages: [exact_dedup]
source:
  jsonl:
    path: PATH/*/rows.jsonl
"""


def said(folder: Path, columns: str, *files: list[dict[str, str | None]]) -> str:
    for number, rows in enumerate(files):
        path = folder / str(number) / "rows.jsonl"
        path.parent.mkdir()
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = HEAD.replace("PATH", str(folder)) + f"    shard_rows: 2\n    columns: {columns}\n"
    with pytest.raises(RepeatedId) as error:
        curate.run(curate.Pipeline.loads(text), folder)
    return str(error.value)


def test_rows_of_one_id_are_found_in_their_files_behind_rows_that_the_source_drops(
    tmp_path: Path,
) -> None:
    first = [{"key": f"k{n}", "prompt": None if n < 3 else f"q{n}"} for n in range(5)]
    second = [
        {"key": "new", "prompt": "another"},
        {"key": "k4", "prompt": None},
        {"key": "k4", "prompt": "unlike"},
    ]
    assert said(tmp_path, "{id: key, prompt: prompt}", first, second) == (
        "rows that differ share the id 'k4' (column 'key'): rows.jsonl:5, rows.jsonl:3 (file:row, "
        "blank lines not counted); map another column as id, or none to have ids made from the "
        "rows' content"
    )


def test_of_many_rows_the_first_four_are_named(tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": f"q{n}"} for n in range(6)]
    text = said(tmp_path, "{id: id, prompt: prompt}", rows)
    assert ": rows.jsonl:1, rows.jsonl:2, rows.jsonl:3, rows.jsonl:4 and 2 more (file:row" in text
