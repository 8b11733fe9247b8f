"""What `curate export` writes is read back by the sources: the same prompts, pairs and margins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curate.export.card import CardFacts
from curate.export.dataset import export_dataset
from curate.export.read_back import READ_BACK
from curate.export.trainer_files import Layout, write_form
from curate.schema import COLUMNS
from curate.sources.columns import Columns
from curate.sources.contract import Source
from curate.sources.files import Jsonl, Parquet
from curate.sources.hf import HuggingFace

Rows = list[dict[str, Any]]
Said = list[tuple[str, str]]

ASKED: dict[str, Said] = {
    "plain": [("user", "Why is the sky blue?")],
    "blank": [("user", " two\n\nuser: lines \n")],
    "system": [("system", "Be brief."), ("user", "naïve \u2028 😀"), ("assistant", "ok"),
               ("user", "and \x00 then?")],
    "begun": [("user", "Write on."), ("assistant", "Once upon")],
}  # fmt: skip
TEXTS = ["a\n\nAssistant: b", " good ", "good\nHuman: c", "x" * 5000]
SCORES = [0.1, 4.5, -2.0, 1e-8]
PAIRS = [(1, 0, 4.4), (0, 2, 2.1), (1, 2, 6.5), (3, 2, -0.25)]


def canonical() -> pa.Table:
    rows = [
        {
            "id": key,
            "prompt": [{"role": role, "content": content} for role, content in asked],
            "candidates": [{"text": text, "model": f"m{k}"} for k, text in enumerate(TEXTS)],
            "scores": SCORES,
            "pairs": [{"chosen": c, "rejected": r, "margin": m} for c, r, m in PAIRS],
            "reference": f"of {key}",
            "split": "test" if key == "system" else None,
        }
        for key, asked in ASKED.items()
    ]
    names = ("id", "prompt", "candidates", "scores", "pairs", "reference", "split")
    return pa.Table.from_pylist(rows, schema=pa.schema([(n, COLUMNS[n]) for n in names]))


def rows_of(source: Source) -> Rows:
    return [row for unit in source.units() for t in source.read(unit) for row in t.to_pylist()]


def from_jsonl(form: str, folder: Path, columns: Columns) -> Rows:
    write_form([canonical()], folder / "out.jsonl", form)
    return rows_of(Jsonl(path=str(folder / "out.jsonl"), columns=columns))


def from_parquet(form: str, folder: Path, columns: Columns) -> Rows:
    write_form([canonical()], folder / "out", form, Layout("parquet"))
    return rows_of(Parquet(path=str(folder / "out" / "*.parquet"), columns=columns))


def from_disk(form: str, folder: Path, columns: Columns) -> Rows:
    pytest.importorskip("datasets")
    export_dataset([canonical()], folder / "dataset", form=form, card=CardFacts("d", "name: d\n"))
    splits = [
        HuggingFace(path=str(folder / "dataset"), split=split, columns=columns)
        for split in ("train", "test")
    ]
    return [row for source in splits for row in rows_of(source)]


def from_export_of_disk(form: str, folder: Path, columns: Columns) -> Rows:
    """The Parquet files of a run's own dataset, as the Hub has them."""
    export_dataset([canonical()], folder / "dataset", form=form, card=CardFacts("d", "name: d\n"))
    return rows_of(Parquet(path=str(folder / "dataset" / "data" / "*.parquet"), columns=columns))


def prompt_of(row: dict[str, Any]) -> Said:
    return [(turn["role"], turn["content"]) for turn in row["prompt"]]


def single(number: float | None) -> float | None:
    """As a score or a margin is stored: in 32 bits."""
    found: float | None = pa.array([number], pa.float32())[0].as_py()
    return found


@pytest.fixture(params=[from_jsonl, from_parquet, from_disk, from_export_of_disk])
def read_back(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Rows]:
    def read(form: str) -> Rows:
        rows: Rows = request.param(form, tmp_path, Columns(**READ_BACK[form]))
        assert all(row.get("drop") is None for row in rows)
        return rows

    return read


PAIRED = [form for form, columns in READ_BACK.items() if "chosen" in columns]
CHATS = [form for form, columns in READ_BACK.items() if "response" in columns]


@pytest.mark.parametrize("form", PAIRED)
def test_pairs_come_back(read_back: Callable[[str], Rows], form: str) -> None:
    margins = "margin" in READ_BACK[form]
    expected = sorted(
        (asked, TEXTS[c], TEXTS[r], single(m) if margins else 0)
        for asked in ASKED.values()
        for c, r, m in PAIRS
    )
    rows = read_back(form)
    found = []
    for row in rows:
        texts = [candidate["text"] for candidate in row["candidates"]]
        for pair in row["pairs"]:
            margin = pair["margin"] if margins else 0
            found.append((prompt_of(row), texts[pair["chosen"]], texts[pair["rejected"]], margin))
            assert pair["drop"] is None
    assert sorted(found) == expected
    if "group" in READ_BACK[form]:  # it has the rows' ids, so that they come back whole
        assert {row["id"]: prompt_of(row) for row in rows} == ASKED
        assert all(len(row["candidates"]) == len(TEXTS) for row in rows)


@pytest.mark.parametrize("form", CHATS)
def test_scored_answers_come_back(read_back: Callable[[str], Rows], form: str) -> None:
    rows = read_back(form)
    assert {row["id"]: prompt_of(row) for row in rows} == ASKED
    known = {text: (single(SCORES[k]), f"m{k}") for k, text in enumerate(TEXTS)}
    if form == "best":
        known = {text: facts for text, facts in known.items() if facts[0] == max(SCORES)}
    for row in rows:
        scores = {j["a"]: j["score"] for j in row["judgments"]}
        found = {c["text"]: (scores[k], c["model"]) for k, c in enumerate(row["candidates"])}
        assert found == known


def test_ranked_lists_come_back(read_back: Callable[[str], Rows]) -> None:
    rows = read_back("ranked")
    assert {row["id"]: prompt_of(row) for row in rows} == ASKED
    falling = [TEXTS[k] for k in sorted(range(len(TEXTS)), key=lambda k: -SCORES[k])]
    for row in rows:
        places = {j["a"]: -j["score"] for j in row["judgments"] if j["judge"] == "rank"}
        assert sorted(places.values()) == [1, 2, 3, 4]
        order = sorted(places, key=lambda k: places[k])
        assert [row["candidates"][k]["text"] for k in order] == falling
        scores = {j["a"]: j["score"] for j in row["judgments"] if j["judge"] == "score"}
        assert [scores[k] for k in order] == [single(k) for k in sorted(SCORES, reverse=True)]


@pytest.mark.parametrize("form", ["prompt-only", "verl"])
def test_prompts_come_back(read_back: Callable[[str], Rows], form: str) -> None:
    rows = read_back(form)
    assert {row["id"]: prompt_of(row) for row in rows} == ASKED
    if form == "verl":
        assert {row["id"]: row["reference"] for row in rows} == {key: f"of {key}" for key in ASKED}


def test_every_mapping_is_tried() -> None:
    assert set(READ_BACK) == {*PAIRED, *CHATS, "ranked", "prompt-only", "verl"}
