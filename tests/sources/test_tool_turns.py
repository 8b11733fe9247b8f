"""Conversations with tools: a row cannot hold them, so it is dropped and says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from reading import jsonl, load

import curate
from curate.errors import InputError
from curate.sources.files import Parquet

ASKED = {"role": "user", "content": "Weather?"}
CALL = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TOLD = {"role": "tool", "tool_call_id": "1", "content": "sunny"}
SAID = {"role": "assistant", "content": "It is sunny."}
NO = {"role": "assistant", "content": "No idea."}
PAIR = {"chosen": "chosen", "rejected": "rejected"}
WHY = "messages of tools or calls of them: column "


@pytest.mark.parametrize(
    ("prompt", "place"),
    [
        ([ASKED, CALLING, TOLD], "'prompt', message 2"),
        ([ASKED, TOLD], "'prompt', message 2"),
        ([ASKED, CALLING | {"content": "I look."}, ASKED], "'prompt', message 2"),
        ([ASKED, {"role": "assistant", "function_call": CALL["function"]}], "'prompt', message 2"),
        ([ASKED, {"role": "function", "name": "look", "content": "x"}], "'prompt', message 2"),
    ],
)
def test_a_prompt_with_tools_drops_its_row(tmp_path: Path, prompt: Any, place: str) -> None:
    row = {"prompt": prompt, "chosen": "a", "rejected": "b", "tools": [1]}
    plain = {"prompt": [ASKED | {"tool_calls": None}], "chosen": "a", "rejected": "b"}
    gone, stays, alone = jsonl(tmp_path, row, plain, row | {"tools": [2]}, **PAIR)
    assert gone["drop"] == alone["drop"] == WHY + place
    assert (gone["prompt"], gone["candidates"], gone["pairs"]) == ([], [], [])
    assert json.loads(gone["meta"]) == row  # `show` has it all
    assert gone["id"] != alone["id"]
    assert stays.get("drop") is None
    assert stays["prompt"] == [ASKED]
    (only,) = jsonl(tmp_path, {"prompt": prompt})  # the way of prompts alone
    assert only["drop"] == WHY + place


def test_answers_that_call_tools_drop_their_row(tmp_path: Path) -> None:
    row = {"k": "a", "chosen": [ASKED, CALLING], "rejected": [ASKED, NO], "r": "ref"}
    columns = {"prompt": None, "id": "k", "reference": "r"}
    (gone,) = jsonl(tmp_path, row, **columns, **PAIR)
    assert (gone["id"], gone["drop"]) == ("a", f"{WHY}'chosen', message 2")
    assert gone["reference"] is None
    scored = {"scores": "s", "response": "x"}
    (answer,) = jsonl(tmp_path, {"prompt": "p", "x": [ASKED, CALLING], "s": 1}, **scored)
    assert answer["drop"] == f"{WHY}'x', message 2"
    assert answer["judgments"] == []


def test_a_group_with_tools_is_dropped_whole(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "chosen": "a", "rejected": "b"},
        {"prompt": "p", "chosen": [ASKED, CALLING], "rejected": "c"},
    ]
    (gone,) = jsonl(tmp_path, *rows, group="prompt", **PAIR)
    assert gone["drop"] == f"{WHY}'chosen', message 2"
    assert json.loads(gone["meta"]) == {"rows": rows}


def test_nulls_and_empty_lists_of_calls_are_none(tmp_path: Path) -> None:
    """Parquet gives every message all fields."""
    fields = {"tool_calls": None, "tool_call_id": None}
    rows = [
        {"prompt": [ASKED | fields | {"tool_calls": []}], "chosen": "a", "rejected": "b"},
        {"prompt": [ASKED | fields, CALLING | {"tool_call_id": None}, TOLD | {"tool_calls": None}],
         "chosen": "a", "rejected": "b"},
    ]  # fmt: skip
    pl.DataFrame(rows).write_parquet(tmp_path / "a.parquet")
    columns = curate.Columns(**PAIR)
    stays, gone = load(Parquet(path=str(tmp_path / "a.parquet"), columns=columns))
    assert stays["drop"] is None
    assert gone["drop"] == f"{WHY}'prompt', message 2"


def test_other_roles_are_errors_as_ever(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown role 'asistant'; did you mean 'assistant'"):
        jsonl(tmp_path, {"prompt": [{"role": "asistant", "content": "x"}]})


def test_a_run_counts_them_under_one_reason(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"prompt": [ASKED, CALLING, TOLD], "chosen": [SAID], "rejected": [NO]},
        {"prompt": [ASKED], "chosen": [CALLING], "rejected": [NO]},
        {"prompt": [ASKED], "chosen": [SAID], "rejected": [NO]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = curate.Jsonl(path=str(path), columns=curate.Columns(**PAIR))
    ended = curate.run(curate.Pipeline(name="tools", source=source, stages=[]), tmp_path)
    assert ended.accounting["dropped"] == {"source: messages of tools or calls of them": 2}
    assert ended.accounting["rows_exported"] == 1
