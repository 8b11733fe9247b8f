"""Sets whose messages are lists of parts, as chat APIs write them, under `curate lint`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.evaluation.dataset_lint import lint_dataset
from curate.evaluation.transcripts import read_answers, read_prompt

KIND = pa.list_(pa.struct([("type", pa.string()), ("text", pa.string())]))
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", KIND)]))


def said(role: str, *texts: str | None) -> dict[str, Any]:
    parts = [{"type": "image" if t is None else "text", "text": t} for t in texts]
    return {"role": role, "content": parts}


def test_parts_read_as_their_texts_with_a_newline_between() -> None:
    talks = pa.array(
        [
            [said("user", "Look:", None, "what is it?"), said("assistant", "A cat.")],
            [said("user", "Why?"), said("assistant", "Due to", "rain.")],
            [said("user"), {"role": "assistant", "content": None}],
            [],
        ],
        MESSAGES,
    )
    found = read_answers(talks, "here")
    assert found.answer.to_pylist() == ["A cat.", "Due to\nrain.", "", None]
    assert found.last.to_pylist() == ["Look:\nwhat is it?", "Why?", "", ""]
    assert read_prompt(talks, "here").text.to_pylist()[1] == "Why?\nDue to\nrain."
    alone = read_answers(pa.array([said("assistant", "a", "b")], MESSAGES.value_type), "here")
    assert alone.answer.to_pylist() == ["a\nb"]


def test_lint_finds_the_same_with_parts_and_without(tmp_path: Path) -> None:
    plain = [[("user", f"Question {k}?"), ("assistant", f"Answer {k}.")] for k in range(5)]
    plain.append([("user", "Same?"), ("assistant", "No")])
    found = []
    for name, content in (("texts", lambda t: t), ("parts", lambda t: said("", t)["content"])):
        rows = []
        for talk in plain:
            chosen = [{"role": role, "content": content(text)} for role, text in talk]
            refused = [chosen[0], {"role": "assistant", "content": content("No")}]
            rows.append({"chosen": chosen, "rejected": refused})
        path = tmp_path / name / "rows.jsonl"
        path.parent.mkdir()
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        found.append(lint_dataset(str(path)))
    texts, parts = found
    assert texts == parts
    assert "identical" in str(texts)
