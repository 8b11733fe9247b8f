"""LLaMA-Factory's own loader, converter and tokenisation over its four forms."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from trainer_rows import (
    CHOSEN,
    REJECTED,
    asked,
    byte_tokenizer,
    exported,
    hold_to_record,
    needs,
    table,
    trained_on,
)

from curate.export.card import CardFacts
from curate.export.dataset import export_dataset

needs("llamafactory")
END = "<|im_end|>\n"


@pytest.fixture(scope="module", autouse=True)
def _no_sounds() -> None:
    """The trainer imports torchaudio for sounds alone, whose builds ask for a torch of theirs."""
    if importlib.util.find_spec("torchaudio") is None:
        silent = ModuleType("torchaudio")
        silent.__spec__ = ModuleSpec("torchaudio", None)
        sys.modules["torchaudio"] = silent


def read(folder: Path, stage: str, tokenizer: Any, name: str = "mine") -> list[dict[str, Any]]:
    """What the trainer trains on: the folder's `dataset_info.json` says how to read it."""
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import DataArguments, ModelArguments, TrainingArguments

    beside = folder.parent
    data = DataArguments(
        dataset=name, dataset_dir=str(folder), template="chatml", cutoff_len=4096,
        overwrite_cache=True,
    )  # fmt: skip
    model = ModelArguments(model_name_or_path="none", cache_dir=str(beside / "cache"))
    training = TrainingArguments(output_dir=str(beside / "out"), report_to=[], use_cpu=True)
    template = get_template_and_fix_tokenizer(tokenizer, data)
    found = get_dataset(template, model, data, training, stage, tokenizer)
    return list(found["train_dataset"])


@pytest.mark.parametrize("file", ["parquet", "jsonl"])
@pytest.mark.parametrize("form", ["sharegpt", "alpaca"])
def test_pairs(tmp_path: Path, form: str, file: str) -> None:
    tokenizer = byte_tokenizer()
    records = read(exported(tmp_path, form, file), "rm", tokenizer)
    assert len(records) == len(CHOSEN)
    for number, record in enumerate(records):
        for side, answer in (("chosen", CHOSEN[number]), ("rejected", REJECTED[number])):
            ids, labels = record[f"{side}_input_ids"], record[f"{side}_labels"]
            assert tokenizer.decode(ids) == asked(number) + answer + END
            assert trained_on(ids, labels, tokenizer) == answer + END
    hold_to_record(form, "LLaMA-Factory", "llamafactory")


@pytest.mark.parametrize("form", ["sharegpt-kto", "alpaca-kto"])
def test_answers_with_a_tag(tmp_path: Path, form: str) -> None:
    tokenizer = byte_tokenizer()
    records = read(exported(tmp_path, form), "kto", tokenizer)
    assert [record["kto_tags"] for record in records] == [True, False] * len(CHOSEN)
    answers = [text for pair in zip(CHOSEN, REJECTED, strict=True) for text in pair]
    for place, (record, answer) in enumerate(zip(records, answers, strict=True)):
        assert tokenizer.decode(record["input_ids"]) == asked(place // 2) + answer + END
        assert trained_on(record["input_ids"], record["labels"], tokenizer) == answer + END
    hold_to_record(form, "LLaMA-Factory", "llamafactory")


def test_the_dataset_that_a_run_writes(tmp_path: Path) -> None:
    """Its entry is called as the run, and names the folder of its Parquet files."""
    card = CardFacts("demo", "name: demo\n")
    export_dataset([table()], tmp_path / "dataset", form="sharegpt", card=card)
    tokenizer = byte_tokenizer()
    records = read(tmp_path / "dataset", "rm", tokenizer, "demo")
    texts = [tokenizer.decode(record["chosen_input_ids"]) for record in records]
    assert texts == [asked(number) + answer + END for number, answer in enumerate(CHOSEN)]
