"""Axolotl's own strategies over its forms, and what some of its strategies make of others."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from trainer_rows import (
    CHOSEN,
    PROMPTS,
    REJECTED,
    SYSTEM,
    asked,
    byte_tokenizer,
    exported,
    hold_to_record,
    loaded,
    needs,
)

needs("axolotl")
END = "<|im_end|>"


def dpo(folder: Path, strategy: str) -> list[dict[str, Any]]:
    """The records that the trainer's DPO strategy makes of a folder."""
    from axolotl.prompt_strategies.dpo import load
    from axolotl.utils.dict import DictDefault

    told = {"datasets": [{"type": strategy}], "chat_template": "tokenizer_default"}
    found = load(strategy, DictDefault(told))
    transform, options = found if isinstance(found, tuple) else (found, {})
    if "tokenizer" in inspect.signature(transform).parameters:
        options = options | {"fn_kwargs": {"tokenizer": byte_tokenizer()}}
    return list(loaded(folder).map(transform, **options))


@pytest.mark.parametrize(
    ("form", "strategy"),
    [("axolotl", "chat_template.default"), ("axolotl-chat", "chat_template.argilla_chat")],
)
def test_pairs(tmp_path: Path, form: str, strategy: str) -> None:
    records = dpo(exported(tmp_path, form), strategy)
    assert [record["prompt"] for record in records] == [asked(n) for n in range(len(PROMPTS))]
    assert [record["chosen"] for record in records] == [text + END for text in CHOSEN]
    assert [record["rejected"] for record in records] == [text + END for text in REJECTED]
    hold_to_record(form, "Axolotl", "axolotl")


@pytest.mark.parametrize(
    ("form", "strategy"),
    [("ultrafeedback", "chatml.ultra"), ("axolotl-chat", "chatml.argilla_chat")],
)
def test_strategies_that_read_single_questions_alone(
    tmp_path: Path, form: str, strategy: str
) -> None:
    """docs/exports.md says so: of a longer conversation they take the second message."""
    first, *longer = dpo(exported(tmp_path, form), strategy)
    assert first["prompt"] == asked(0)
    assert (first["chosen"], first["rejected"]) == (CHOSEN[0] + END, REJECTED[0] + END)
    assert all(record["chosen"] == record["rejected"] for record in longer)
    hold_to_record(form, "Axolotl", "axolotl")


def test_nectar_is_turned_round(tmp_path: Path) -> None:
    """docs/exports.md warns of it: the day that this fails, the warning goes."""
    records = dpo(exported(tmp_path, "ranked"), "zephyr.nectar")
    assert [record["chosen"] for record in records] == REJECTED


def tokenised(folder: Path, strategy: Any) -> list[dict[str, Any]]:
    from axolotl.datasets import TokenizedPromptDataset

    return list(TokenizedPromptDataset(strategy, loaded(folder), process_count=1))


def test_a_reward_model(tmp_path: Path) -> None:
    """It asks for a system message, and of an empty one makes an empty turn, on both sides."""
    from axolotl.prompt_strategies.bradley_terry import load
    from axolotl.utils.dict import DictDefault

    tokenizer = byte_tokenizer()
    told = {"sequence_len": 4096, "reward_model": True, "chat_template": "tokenizer_default"}
    strategy = load("chat_template", tokenizer, DictDefault(told), DictDefault({}))
    records = tokenised(exported(tmp_path, "bradley-terry"), strategy)
    assert len(records) == len(CHOSEN)
    for number, record in enumerate(records):
        turns = [turn for turn in PROMPTS[number] if turn is not SYSTEM]
        text = "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)
        system = SYSTEM["content"] if SYSTEM in PROMPTS[number] else ""
        question = text if turns[1:] else turns[0]["content"]
        prompt = f"<|im_start|>system\n{system}{END}\n<|im_start|>user\n{question}{END}\n"
        for side, answer in (("chosen", CHOSEN[number]), ("rejected", REJECTED[number])):
            said = f"{prompt}<|im_start|>assistant\n{answer}{END}\n"
            assert tokenizer.decode(record[f"{side}_ids"]) == said
    hold_to_record("bradley-terry", "Axolotl", "axolotl")


def test_steps(tmp_path: Path) -> None:
    from axolotl.prompt_strategies.stepwise_supervised import load
    from axolotl.utils.dict import DictDefault

    tokenizer = byte_tokenizer()
    strategy = load(tokenizer, DictDefault({"sequence_len": 4096}), DictDefault({}))
    records = tokenised(exported(tmp_path, "axolotl-stepwise"), strategy)
    assert len(records) == len(PROMPTS)
    for record in records:
        assert tokenizer.decode(record["input_ids"]).endswith("6 is even.\nSo 7 is.\n")
        marked = [
            (label, tokenizer.decode(record["input_ids"][: place + 1]))
            for place, label in enumerate(record["labels"])
            if label != -100
        ]
        assert [(label, text[-9:]) for label, text in marked] == [
            (1, " is even.\n"[-9:]), (0, "So 7 is.\n"),
        ]  # fmt: skip
    hold_to_record("axolotl-stepwise", "Axolotl", "axolotl")
