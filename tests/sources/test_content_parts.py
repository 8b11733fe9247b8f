"""Messages whose content is a list of parts, as chat APIs write them."""

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

PAIR = {"chosen": "chosen", "rejected": "rejected"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
WHY = "messages with a part that is no text: column "


def text(said: str, kind: str = "text") -> dict[str, Any]:
    return {"type": kind, "text": said}


def asks(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([text("Why?")], "Why?"),
        ([text("Read this."), text("{a} <b>")], "Read this.\n{a} <b>"),
        ([text("in", "input_text"), text("out", "output_text")], "in\nout"),
        (["bare", {"text": "untyped"}], "bare\nuntyped"),
    ],
)
def test_texts_are_joined_by_a_newline(tmp_path: Path, parts: list[Any], said: str) -> None:
    (alone,) = jsonl(tmp_path, {"prompt": [asks(*parts)]})
    assert alone["prompt"] == [{"role": "user", "content": said}]
    assert alone.get("drop") is None
    assert alone["meta"] == "{}"
    plain = jsonl(tmp_path, {"prompt": said})
    assert alone["id"] == plain[0]["id"]  # it is the same prompt
    answer = [{"role": "assistant", "content": parts}]
    (pair,) = jsonl(tmp_path, {"prompt": said, "chosen": answer, "rejected": "no"}, **PAIR)
    assert pair["candidates"][0]["text"] == said
    wide = {"prompt": "p", "answers": [{"content": parts, "model": "m"}, "other"]}
    (listed,) = jsonl(tmp_path, wide, candidates="answers")
    assert [one["text"] for one in listed["candidates"]] == [said, "other"]


def test_what_a_part_says_beside_its_text_is_kept(tmp_path: Path) -> None:
    cached = [asks(text("Why?") | {"cache_control": {"type": "ephemeral"}, "index": None})]
    (row,) = jsonl(tmp_path, {"prompt": cached})
    assert row["prompt"][0]["content"] == "Why?"
    assert json.loads(row["meta"]) == {"prompt": cached}
    shared = [{"from": "human", "value": cached[0]["content"]}]
    (row,) = jsonl(tmp_path, {"prompt": shared})
    assert row["prompt"][0]["content"] == "Why?"
    assert json.loads(row["meta"]) == {"prompt": shared}


@pytest.mark.parametrize("part", [IMAGE, {"type": "input_audio", "input_audio": {}}])
def test_a_part_that_is_no_text_drops_its_row(tmp_path: Path, part: dict[str, Any]) -> None:
    row = {"prompt": [asks(text("What is it?"), part)]}
    (gone,) = jsonl(tmp_path, row)
    assert gone["drop"] == WHY + "'prompt', message 1"
    assert json.loads(gone["meta"]) == row
    wide = {"prompt": "p", "answers": [{"content": [part]}]}
    (listed,) = jsonl(tmp_path, wide, candidates="answers")
    assert listed["drop"] == WHY + "'answers'"


@pytest.mark.parametrize("part", [None, 3, {"type": "text"}, {"type": "text", "text": ["a"]}, []])
def test_what_is_no_part_is_an_error(tmp_path: Path, part: Any) -> None:
    with pytest.raises(InputError, match=r"a\.jsonl, row 1: column 'prompt', message 1: a list as"):
        jsonl(tmp_path, {"prompt": [asks(text("a"), part)]})


def test_no_parts_are_no_text(tmp_path: Path) -> None:
    (row,) = jsonl(tmp_path, {"prompt": [asks()]})
    assert row["drop"] == "prompt is empty"


def test_parquet_gives_every_part_all_fields(tmp_path: Path) -> None:
    rows = [
        {"prompt": [asks(text("Why?") | {"image_url": None})]},
        {"prompt": [asks(text("And this?") | {"image_url": None}, IMAGE | {"text": None})]},
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "a.parquet")
    stays, gone = load(Parquet(path=str(tmp_path / "a.parquet"), columns=curate.Columns()))
    assert (stays["drop"], stays["prompt"][0]["content"]) == (None, "Why?")
    assert stays["meta"] == "{}"
    assert gone["drop"] == WHY + "'prompt', message 1"
