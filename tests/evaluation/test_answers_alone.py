"""`curate lint` on sets of answers without pairs: raw UltraFeedback, lists, a row an answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.errors import CurateError
from curate.evaluation.dataset_lint import lint_dataset

CUT = "As we know, it is the"
ANSWERS = [
    ["Rain falls from clouds.", "Water drops."],
    ["The sky is blue.<|im_end|>", ""],
    [CUT, "Grass grows in the sun."],
    [],
]
FOUND = {"empty_response": 1, "special_tokens": 1, "truncated": 1}


def asked(row: int) -> str:
    return f"What happens in case {row}?"


def completions(field: str) -> list[dict[str, Any]]:
    """One prompt a row, with its answers in `completions`, as UltraFeedback has them."""
    return [
        {"instruction": asked(k), "models": ["m"] * len(texts),
         "completions": [{field: text, "rating": 1.5} for text in texts]}
        for k, texts in enumerate(ANSWERS)
    ]  # fmt: skip


def jsonl(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "set.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def parquet(folder: Path, rows: list[dict[str, Any]]) -> str:
    pl.DataFrame(rows).write_parquet(folder / "set.parquet")
    return str(folder / "set.parquet")


@pytest.mark.parametrize("write", [jsonl, parquet])
@pytest.mark.parametrize("field", ["text", "response", "content", "answer"])
def test_ultrafeedback_is_told_by_its_columns_and_by_a_mapping(
    tmp_path: Path, write: Any, field: str
) -> None:
    path = write(tmp_path, completions(field))
    told = lint_dataset(path)
    assert told["columns"] == ["instruction", "completions", "models"]
    mapped = lint_dataset(path, ["prompt=instruction", "candidates=completions"])
    assert mapped["columns"] == ["instruction", "completions"]
    for report in (told, mapped):
        assert (report["rows"], report["findings"]) == (4, FOUND)
        assert "unlabelled" not in report


def test_a_mapped_list_of_texts_under_prompt_and_input(tmp_path: Path) -> None:
    rows = [{"q": "Answer.", "of": asked(k), "a": texts} for k, texts in enumerate(ANSWERS)]
    path = jsonl(tmp_path, rows)
    assert lint_dataset(path, ["prompt=q", "input=of", "candidates=a"])["findings"] == FOUND
    # The same answer under other inputs answers other prompts, and is no copy of a row.
    alike = parquet(tmp_path, [{"q": "Answer.", "of": asked(k), "a": ["Yes."]} for k in range(4)])
    found = lint_dataset(alike, ["prompt=q", "input=of", "candidates=a"])["findings"]
    assert found == {"repeated_response": 4}
    assert lint_dataset(alike, ["prompt=q", "candidates=a"])["findings"] == {"duplicate_pair": 3}


def test_one_answer_a_row(tmp_path: Path) -> None:
    rows = [
        {"instruction": asked(k), "input": "", "response": text}
        for k, texts in enumerate(ANSWERS)
        for text in texts
    ]
    told = lint_dataset(jsonl(tmp_path, rows))
    assert told["columns"] == ["instruction", "input", "response"]
    mapped = lint_dataset(jsonl(tmp_path, rows), ["prompt=instruction", "response=response"])
    for report in (told, mapped):
        assert (report["rows"], report["findings"]) == (6, FOUND)


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        (["candidates=completion"], "no column 'completion'; did you mean 'completions'"),
        (["prompt=q", "candidates=completions"], "no column 'q'.*--map prompt=COLUMN"),
        (["candidates=completions", "chosen=c"], "candidates and chosen exclude each other"),
        (["candidates=completions", "response=c"], "candidates and response exclude each other"),
        (["candidates=instruction"], "'instruction' must hold lists of texts, or of"),
        (["candidate=completions"], "did you mean 'candidates'"),
    ],
)
def test_a_mapping_that_fits_nothing_is_one_clear_error(
    tmp_path: Path, mapping: list[str], words: str
) -> None:
    with pytest.raises(CurateError, match=words) as caught:
        lint_dataset(jsonl(tmp_path, completions("text")), mapping)
    assert "\n" not in str(caught.value)


def test_a_mapped_set_without_rows_says_so(tmp_path: Path) -> None:
    with pytest.raises(CurateError, match="has no rows"):
        lint_dataset(jsonl(tmp_path, []), ["candidates=completions"])


def test_a_list_of_answers_without_ranks_is_told_how_to_be_read(tmp_path: Path) -> None:
    path = jsonl(tmp_path, [{"prompt": asked(0), "answers": ANSWERS[0]}])
    with pytest.raises(CurateError, match="for lists of answers alone: --map candidates=answers"):
        lint_dataset(path)
