"""LLaMA-Factory's description of each of its forms leads to columns that hold what it expects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.export.card import CardFacts
from curate.export.catalogue import FORMS
from curate.export.dataset import export_dataset
from curate.export.trainer_files import Layout, write_form
from curate.schema import CANDIDATES, PAIRS, PROMPT

THEIRS = sorted(name for name, form in FORMS.items() if "LLaMA-Factory" in form.description)


def rows(splits: tuple[str | None, ...] = (None, None)) -> pa.Table:
    prompt = [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "1."}, {"role": "user", "content": "Two?"},
    ]  # fmt: skip
    answers = [{"text": text, "model": "m", "drop": None} for text in ("good", "bad")]
    pairs = [{"chosen": 0, "rejected": 1, "margin": 1.0, "drop": None}]
    size = len(splits)
    return pa.table(
        {
            "id": pa.array([f"r{i}" for i in range(size)]),
            "prompt": pa.array([prompt] * size, PROMPT),
            "candidates": pa.array([answers] * size, CANDIDATES),
            "pairs": pa.array([pairs] * size, PAIRS),
            "split": pa.array(splits, pa.string()),
        }
    )


def read(folder: Path, entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The records as the trainer finds them: a file, or all files of a folder."""
    path = folder / entry["file_name"]
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    assert len({file.suffix for file in files}) == 1  # it refuses a folder of mixed kinds
    found = []
    for file in files:
        if file.suffix == ".parquet":
            found += pq.read_table(file).to_pylist()
        else:
            found += [json.loads(line) for line in file.read_text().splitlines()]
    return found


def understood(record: dict[str, Any], entry: dict[str, Any]) -> tuple[str, str, Any]:
    """What the trainer makes of a record: the last question, the answer(s), and the tag."""
    columns = entry["columns"]
    if entry["formatting"] == "alpaca":
        assert record[columns["system"]] == "Be brief."
        assert record[columns["history"]] == [["One?", "1."]]
        asked = "\n".join(filter(None, [record[columns["prompt"]], record[columns["query"]]]))
        if entry.get("ranking"):
            return asked, record[columns["chosen"]], record[columns["rejected"]]
        return asked, record[columns["response"]], record[columns["kto_tag"]]
    turns = record[columns["messages"]]
    turns = turns[1:] if turns[0]["from"] == "system" else turns
    for place, turn in enumerate(turns):
        assert turn["from"] == ("human", "gpt")[place % 2]
    assert len(turns) % 2 == bool(entry.get("ranking"))  # it skips what does not alternate
    if entry.get("ranking"):
        chosen, rejected = record[columns["chosen"]], record[columns["rejected"]]
        assert chosen["from"] == rejected["from"] == "gpt"
        return turns[-1]["value"], chosen["value"], rejected["value"]
    return turns[-2]["value"], turns[-1]["value"], record[columns["kto_tag"]]


def expected(form: str) -> list[tuple[str, Any]]:
    return [("good", True), ("bad", False)] if "kto" in form else [("good", "bad")]


def test_there_are_four_forms_and_each_is_described() -> None:
    assert THEIRS == ["alpaca", "alpaca-kto", "sharegpt", "sharegpt-kto"]
    described = {name for name, form in FORMS.items() if form.llama_factory is not None}
    assert described == set(THEIRS)


@pytest.mark.parametrize("file_format", ["parquet", "jsonl"])
@pytest.mark.parametrize("form", THEIRS)
def test_an_export_can_be_read_by_its_description(
    tmp_path: Path, form: str, file_format: str
) -> None:
    write_form([rows()], tmp_path / "mine", form, Layout(file_format))
    entries = json.loads((tmp_path / "mine" / "dataset_info.json").read_text())
    assert list(entries) == ["mine"]
    found = [understood(r, entries["mine"]) for r in read(tmp_path / "mine", entries["mine"])]
    assert [record[1:] for record in found] == expected(form) * 2
    assert all(asked == "Two?" for asked, *_ in found)


@pytest.mark.parametrize("form", THEIRS)
def test_a_dataset_of_a_run_is_described_as_a_whole_or_by_split(tmp_path: Path, form: str) -> None:
    card = CardFacts("demo", "name: demo\n")
    export_dataset([rows()], tmp_path / "whole", form=form, card=card)
    entries = json.loads((tmp_path / "whole" / "dataset_info.json").read_text())
    assert list(entries) == ["demo"]
    assert len(read(tmp_path / "whole", entries["demo"])) == 2 * len(expected(form))
    export_dataset([rows(("train", "test"))], tmp_path / "split", form=form, card=card)
    entries = json.loads((tmp_path / "split" / "dataset_info.json").read_text())
    assert sorted(entries) == ["demo-test-00000-of-00001", "demo-train-00000-of-00001"]
    for entry in entries.values():
        found = [understood(record, entry)[1:] for record in read(tmp_path / "split", entry)]
        assert found == expected(form)


def test_other_forms_have_no_description(tmp_path: Path) -> None:
    write_form([rows()], tmp_path / "mine", "preference")
    assert not (tmp_path / "mine" / "dataset_info.json").exists()
