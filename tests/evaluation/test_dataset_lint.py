import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.errors import ConfigError, CurateError, InputError
from curate.evaluation.dataset_lint import has_errors, lint_dataset

GOOD = [
    {
        "prompt": f"Question {i}?",
        "chosen": f"The answer is {i}.",
        "rejected": f"It was {i * i + 1}.",
    }
    for i in range(12)
]


def changed(**at):
    rows = [dict(row) for row in GOOD]
    for place, fields in at.items():
        rows[int(place[1:])] |= fields
    return rows


def messages(row):
    return {
        side: [
            {"role": "user", "content": row["prompt"]},
            {"role": "assistant", "content": row[side]},
        ]
        for side in ("chosen", "rejected")
    }


def transcript(row):
    return {
        side: f"\n\nHuman: {row['prompt']}\n\nAssistant: {row[side]}"
        for side in ("chosen", "rejected")
    }


def parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


ROWS = changed(
    r0={"rejected": "The answer is 0."}, r1={"chosen": " "}, r2={"rejected": "The answer"},
    r3={"prompt": "Question 4?", "chosen": "It was 17.", "rejected": "The answer is 4."},
    r5={"rejected": "Maybe."}, r6={"rejected": "Maybe."}, r7={"rejected": "Maybe."},
    r8={"chosen": "I'm sorry, but I can't help with that."},
    r9={"chosen": "It starts here. Then it goes on with the"},
)  # fmt: skip
FOUND = {
    "empty_response": 1, "identical_pair": 1, "contradictory_pair": 2, "prefix_pair": 1,
    "repeated_response": 3, "refusal": 1, "refusal_preferred": 1, "truncated": 1,
}  # fmt: skip


@pytest.mark.parametrize("shape", [dict, messages, transcript])
@pytest.mark.parametrize("write", [parquet, jsonl])
def test_planted_faults_are_counted_whatever_the_shape(tmp_path, shape, write):
    path = tmp_path / ("x.parquet" if write is parquet else "x.jsonl")
    report = lint_dataset(write(path, [shape(row) for row in ROWS]))
    asked = ["prompt"] if shape is dict else []  # else it is what the answers begin with
    assert report == {"rows": 12, "columns": [*asked, "chosen", "rejected"], "findings": FOUND}
    assert has_errors(report)


def test_a_sound_set_has_no_findings_and_warnings_are_no_errors(tmp_path):
    assert lint_dataset(parquet(tmp_path / "x.parquet", GOOD))["findings"] == {}
    warned = changed(r0={"rejected": "The answer"})
    report = lint_dataset(parquet(tmp_path / "y.parquet", warned))
    assert report["findings"] == {"prefix_pair": 1}
    assert not has_errors(report)


def test_saved_datasets_folders_and_patterns_are_read(tmp_path):
    import datasets

    parts = {
        "train": datasets.Dataset.from_list(ROWS[:6]),
        "test": datasets.Dataset.from_list(ROWS[6:]),
    }
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    assert lint_dataset(str(tmp_path / "saved"))["findings"] == FOUND
    assert lint_dataset(str(tmp_path / "saved"), split="test")["rows"] == 6
    (tmp_path / "folder/data").mkdir(parents=True)
    parquet(tmp_path / "folder/data/train-0.parquet", ROWS[:6])
    parquet(tmp_path / "folder/data/train-1.parquet", ROWS[6:])
    assert lint_dataset(str(tmp_path / "folder"))["findings"] == FOUND
    assert lint_dataset(str(tmp_path / "folder/data/*.parquet"))["findings"] == FOUND


def test_a_prompt_of_chosen_that_is_not_rejected_s_is_a_mismatch(tmp_path):
    rows = [messages(row) for row in GOOD]
    rows[4]["rejected"][0]["content"] = "Another question?"
    assert lint_dataset(parquet(tmp_path / "x.parquet", rows))["findings"] == {"prompt_mismatch": 1}
    named = [{"prompt": row["prompt"], **messages(row)} for row in GOOD]
    named[3]["prompt"] = "Unasked?"
    assert lint_dataset(parquet(tmp_path / "y.parquet", named))["findings"] == {
        "prompt_mismatch": 1
    }
    told = [messages(row) for row in GOOD]
    for row in told:
        row["prompt"] = row["chosen"][:1]
        row["chosen"] = row["chosen"][1:]
    assert lint_dataset(parquet(tmp_path / "z.parquet", told))["findings"] == {}


def test_a_label_says_which_answer_is_better(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for i in range(200):
        first = rng.random() < 0.8
        a, b = (f"Good {i}." if first else f"Poor {i}.", f"Poor {i}." if first else f"Good {i}.")
        rows.append({"q": f"{i}?", "r1": a, "r2": b, "v": "A" if first else "B"})
    rows[0]["v"], rows[1]["v"] = "tie", "??"
    path = parquet(tmp_path / "x.parquet", rows)
    mapping = ["prompt=q", "chosen=r1", "rejected=r2", "label=v"]
    report = lint_dataset(path, mapping)
    assert report["unlabelled"] == 2
    assert report["columns"] == ["q", "r1", "r2", "v"]
    assert set(report["findings"]) == {"order_imbalance"}
    assert 140 < report["findings"]["order_imbalance"] < 180


def test_leanings_of_the_set_are_found(tmp_path):
    rows = [
        {**row, "prompt": f"{k} {row['prompt']}", "chosen": row["chosen"] + f" And more on {k}.",
         "rejected": f"{row['rejected']} {k}.", "chosen_model": "big", "rejected_model": "small"}
        for k in range(10)
        for row in GOOD
    ]  # fmt: skip
    report = lint_dataset(parquet(tmp_path / "x.parquet", rows))
    assert report["findings"] == {"length_skew": 120, "one_model_wins": 120}


@pytest.mark.parametrize(
    ("rows", "mapping", "words"),
    [
        ([{"prompt": "a", "chosen": "b"}], [], "no column 'rejected'"),
        ([{"prompt": "a", "chosen": 1, "rejected": 2}], [], "must be text or lists"),
        ([{"chosen": "a", "rejected": "b"}], [], "no prompt column"),
        (GOOD, ["choosen=chosen"], "did you mean 'chosen'"),
        (GOOD, ["chosen"], "write meaning=column"),
        (GOOD, ["prompt=promt"], "did you mean 'prompt'"),
    ],
)
def test_malformed_input_is_one_clear_error(tmp_path, rows, mapping, words):
    with pytest.raises(CurateError, match=words) as caught:
        lint_dataset(parquet(tmp_path / "x.parquet", rows), mapping)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.jsonl", b'{"prompt": "a", "chosen": "b", "rejected"\n', "row 1"),
        ("x.parquet", b"not parquet", "not a readable Parquet file"),
        ("x.jsonl", b"", "has no rows"),
        ("x.txt", b"hello", "ends in"),
        ("x.jsonl", b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n'
         b'{"prompt": "a", "chosen": 1, "rejected": "c"}\n', "mixes kinds of values"),
    ],
)  # fmt: skip
def test_unreadable_files_are_one_clear_error(tmp_path, name, content, words):
    path = Path(tmp_path / name)
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        lint_dataset(str(path))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_columns_may_hold_anything_and_an_empty_conversation_is_no_answer(tmp_path):
    rows = [{**messages(row), "extra": [1, "x", {}][i % 3]} for i, row in enumerate(GOOD)]
    path = jsonl(tmp_path / "x.jsonl", rows)
    assert lint_dataset(path)["findings"] == {}
    rows[2]["chosen"] = []
    assert lint_dataset(jsonl(tmp_path / "y.jsonl", rows))["findings"] == {
        "empty_response": 1,
        "prompt_mismatch": 1,
    }


def test_a_missing_path_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no file matches"):
        lint_dataset(str(tmp_path / "nothing.parquet"))
    with pytest.raises(InputError, match="no dataset folder"):
        lint_dataset(str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="no Parquet"):
        lint_dataset(str(tmp_path))
    with pytest.raises(ConfigError, match="unknown meaning"):
        lint_dataset(parquet(tmp_path / "x.parquet", GOOD), ["wat=prompt"])


def test_prompts_under_another_name_are_read_with_answers_or_without(tmp_path):
    rows = [{"q": "Why is the sky blue?"}, {"q": " "}]
    report = lint_dataset(parquet(tmp_path / "x.parquet", rows), ["prompt=q"])
    assert report == {"rows": 2, "columns": ["q"], "findings": {"empty_prompt": 1}}
    rows = [row | {"response": ""} for row in rows]
    report = lint_dataset(parquet(tmp_path / "y.parquet", rows), ["prompt=q"])
    assert report["columns"] == ["q", "response"]
    assert report["findings"]["empty_response"] == 2
    both = [row | {"candidates": ["a", "b"]} for row in rows]
    assert lint_dataset(parquet(tmp_path / "b.parquet", both), ["prompt=q"])["columns"] == [
        "q", "candidates"
    ]  # fmt: skip
    with pytest.raises(CurateError, match="no column 'question'"):
        lint_dataset(parquet(tmp_path / "z.parquet", rows), ["prompt=question"])


def test_half_a_character_is_named_with_its_row(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": "b \\ud83d"}\n{"prompt": "\\ud83d"}\n')
    with pytest.raises(CurateError, match=r"row 2: column 'prompt' is not valid Unicode; mend"):
        lint_dataset(str(path))
