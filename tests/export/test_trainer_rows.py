"""The rows that other trainers document, to the letter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curate.export.catalogue import FORMS
from curate.export.trainer_files import Layout, write_form
from curate.schema import CANDIDATES, PAIRS, PROMPT

USER, GOOD, BAD = (
    {"role": role, "content": text}
    for role, text in (("user", "Why?"), ("assistant", "good"), ("assistant", "bad"))
)
WHOLE = {"chosen": [USER, GOOD], "rejected": [USER, BAD], "margin": 1.5}
ASKED = {"instruction": "Why?", "input": "", "system": "", "history": []}
ROWS: dict[str, list[dict[str, Any]]] = {
    "alpaca": [{**ASKED, "chosen": "good", "rejected": "bad"}],
    "alpaca-kto": [
        {**ASKED, "output": "good", "kto_tag": True},
        {**ASKED, "output": "bad", "kto_tag": False},
    ],
    "sharegpt-kto": [
        {
            "conversations": [
                {"from": "human", "value": "Why?"},
                {"from": "gpt", "value": text},
            ],
            "kto_tag": tag,
        }
        for text, tag in (("good", True), ("bad", False))
    ],
    "unpaired": [
        {"prompt": [USER], "completion": [GOOD], "label": True},
        {"prompt": [USER], "completion": [BAD], "label": False},
    ],
    "axolotl-chat": [WHOLE],
    "torchtune": [WHOLE],
    "bradley-terry": [{"system": "", "input": "Why?", "chosen": "good", "rejected": "bad"}],
    "nemo-aligner": [
        {
            "prompt": "Why?", "chosen_response": "good", "rejected_response": "bad",
            "chosen_reward": 2.0, "rejected_reward": 0.5,
        }
    ],
    "nemo-aligner-rm": [{"text": "Why?\n\ngood"}, {"text": "Why?\n\nbad"}],
    "verl": [
        {
            "data_source": "curate", "prompt": [USER], "ability": "general",
            "reward_model": {"style": "rule", "ground_truth": "because"},
            "extra_info": {"id": "r", "split": "train", "index": 0},
        }
    ],
    "verl-rm": [{"prompt": "Why?", "chosen": "good", "rejected": "bad"}],
}  # fmt: skip


@pytest.mark.parametrize("form", sorted(ROWS))
def test_a_trainer_finds_the_row_it_documents(tmp_path: Path, form: str) -> None:
    answers = [{"text": text, "model": "m", "drop": None} for text in ("good", "bad")]
    table = pa.table(
        {
            "id": ["r"],
            "prompt": pa.array([[USER]], PROMPT),
            "reference": ["because"],
            "candidates": pa.array([answers], CANDIDATES),
            "scores": pa.array([[2.0, 0.5]], pa.list_(pa.float32())),
            "pairs": pa.array([[{"chosen": 0, "rejected": 1, "margin": 1.5}]], PAIRS),
        }
    )
    path = tmp_path / "rows.jsonl"
    write_form([table], path, form, Layout("jsonl"))
    assert [json.loads(line) for line in path.read_text().splitlines()] == ROWS[form]


def test_alpaca_keeps_the_turns_of_a_conversation() -> None:
    def say(*turns: tuple[str, str]) -> list[dict[str, str]]:
        return [{"role": role, "content": text} for role, text in turns]

    asked, told = ("user", "one"), ("assistant", "1")
    prompts = [
        say(("system", "Be brief."), asked, told, ("user", "two")),
        say(asked, ("user", "two")),  # does not alternate
    ]
    answers = [{"text": text, "model": "m", "drop": None} for text in ("good", "bad")]
    table = pa.table(
        {
            "id": ["a", "b"],
            "prompt": pa.array(prompts, PROMPT),
            "candidates": pa.array([answers] * 2, CANDIDATES),
            "pairs": pa.array([[{"chosen": 0, "rejected": 1}]] * 2, PAIRS),
        }
    )
    whole, flat = FORMS["alpaca"].build(table).table.to_pylist()
    assert (whole["instruction"], whole["system"], whole["history"]) == (
        "two", "Be brief.", [["one", "1"]],
    )  # fmt: skip
    assert (flat["instruction"], flat["system"], flat["history"]) == (
        "user: one\n\nuser: two", "", [],
    )  # fmt: skip
    assert FORMS["alpaca"].build(table.slice(0, 0)).table.num_rows == 0


def test_bradley_terry_takes_the_system_message_apart() -> None:
    system, told = {"role": "system", "content": "Be brief."}, {"role": "assistant", "content": "1"}
    prompts = [[USER], [system, USER], [system, USER, told, USER], [system], [USER, system]]
    answers = [{"text": text, "model": "m", "drop": None} for text in ("good", "bad")]
    table = pa.table(
        {
            "id": [str(number) for number in range(len(prompts))],
            "prompt": pa.array(prompts, PROMPT),
            "candidates": pa.array([answers] * len(prompts), CANDIDATES),
            "pairs": pa.array([[{"chosen": 0, "rejected": 1}]] * len(prompts), PAIRS),
        }
    )
    for rows in (table, table.slice(1)):
        records = FORMS["bradley-terry"].build(rows).table.to_pylist()
        assert [(record["system"], record["input"]) for record in records] == [
            ("", "Why?"),
            ("Be brief.", "Why?"),
            ("Be brief.", "user: Why?\n\nassistant: 1\n\nuser: Why?"),
            ("", "Be brief."),
            ("", "user: Why?\n\nsystem: Be brief."),
        ][-len(rows) :]
    assert FORMS["bradley-terry"].build(table.slice(0, 0)).table.num_rows == 0
