import json

import pyarrow as pa
import pytest
from datasets import load_from_disk

from curate.errors import InputError
from curate.evaluation.dataset_lint import has_errors, lint_dataset
from curate.export.card import CardFacts
from curate.export.catalogue import FORMS
from curate.export.dataset import export_dataset
from curate.schema import COLUMNS

NAMES = ("id", "prompt", "candidates", "scores", "pairs", "steps", "step_pairs", "other_prompt",
         "goals", "reference")  # fmt: skip
WITHOUT_ANSWERS = {"prompt-only", "verl"}


def user(text):
    return [{"role": "user", "content": text}]


def canonical(key, better, worse, asked=None):
    """Return a row that every export form makes a record of."""
    answers = [
        {"text": t, "model": "m", "finish_reason": "stop", "tokens": 1, "drop": None}
        for t in (better, worse)
    ]
    step_pair = {
        "prefix": "First.\n", "chosen": better, "rejected": worse, "q_chosen": 1.0,
        "q_rejected": 0.0, "n_chosen": 4, "n_rejected": 4, "confidence": 0.5,
    }  # fmt: skip
    pair = {"chosen": 0, "rejected": 1, "margin": 1.0, "p_correct": None, "weight": None,
            "source": "s", "drop": None}  # fmt: skip
    return {
        "id": key,
        "prompt": user(f"Question {key}?" if asked is None else asked),
        "candidates": answers,
        "scores": [2.0, 1.0],
        "pairs": [pair],
        "steps": [
            {"candidate": c, "text": t, "right": True, "tries": 1, "ended_right": 1}
            for c, t in enumerate((better, worse))
        ],
        "step_pairs": [step_pair],
        "other_prompt": user(f"Another {key}?"),
        "goals": ["Two.", "One."],
        "reference": f"The truth of {key}.",
    }


def exported(folder, rows, form):
    table = pa.Table.from_pylist(rows, schema=pa.schema([(n, COLUMNS[n]) for n in NAMES]))
    export_dataset(iter([table]), folder, form=form, card=CardFacts("demo", "name: demo\n"))
    return str(folder)


GOOD = [canonical(str(i), f"The answer is {i}.", f"It was {i * i + 1}.") for i in range(6)]
BAD = [
    *GOOD,
    canonical("cut", "So it is.<|im_end|>", "So it was."),
    canonical("poor", "So it may be.", "As we know, it is the"),
]


@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_export_form_is_read_from_a_folder_and_from_json(tmp_path, form):
    clean = lint_dataset(exported(tmp_path / "good", GOOD, form))
    assert clean["rows"] >= 6
    assert clean["findings"] == {}
    bad = exported(tmp_path / "bad", BAD, form)
    found = lint_dataset(bad)["findings"]
    records = load_from_disk(bad)["train"].to_list()
    lines = tmp_path / "bad.jsonl"
    lines.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert lint_dataset(str(lines))["findings"] == found
    if form in WITHOUT_ANSWERS:
        assert found == {}
        return
    expected = sum("<|im_end|>" in json.dumps(record) for record in records)
    assert expected >= 1
    # A step is no end, so that of a step pair alone a beginning may be found.
    assert found["special_tokens"] == expected
    if form != "best":  # which holds no poor answer
        assert found["truncated"] >= 1


@pytest.mark.parametrize("form", sorted(set(FORMS) - {"nemo-aligner-rm", "step-preference"}))
def test_a_blank_prompt_is_an_error_in_every_form(tmp_path, form):
    rows = [*GOOD, canonical("blank", "Nobody asked.", "Nobody did ask.", asked=" ")]
    folder = exported(tmp_path / "set", rows, form)
    report = lint_dataset(folder)
    if form == "goals":  # the goal is part of what is asked
        assert not has_errors(report)
        return
    assert report["findings"]["empty_prompt"] >= 1
    assert has_errors(report)


def mapl(folder, rows):
    folder.mkdir()
    lines = [
        {
            "prompt_chosen": user(own), "prompt_rejected": user(other),
            "completion": [{"role": "assistant", "content": text}],
            "chosen": [*user(own), {"role": "assistant", "content": text}],
            "rejected": [*user(other), {"role": "assistant", "content": text}],
        }
        for own, other, text in rows
    ]  # fmt: skip
    path = folder / "x.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return lint_dataset(str(path))["findings"]


def test_one_answer_under_two_prompts_is_wrong_only_where_the_prompts_are(tmp_path):
    three = [(f"In {n} words?", f"In {n + 9} words?", "It is so.") for n in (3, 4, 5)]
    assert mapl(tmp_path / "a", three) == {}
    assert mapl(tmp_path / "b", [*three, ("Why?", " Why?", "So.")]) == {"identical_pair": 1}
    turned = (three[0][1], three[0][0], three[0][2])
    assert mapl(tmp_path / "c", [*three, turned]) == {"contradictory_pair": 2}
    assert mapl(tmp_path / "d", [*three, three[1]]) == {"duplicate_pair": 1}
    assert mapl(tmp_path / "e", [("Why?", "", "So.")]) == {"empty_prompt": 1}


def ranked(tmp_path, *lists):
    path = tmp_path / "x.jsonl"
    rows = [
        {"prompt": f"{i}?", "answers": [{"answer": t, "rank": r} for t, r in answers]}
        for i, answers in enumerate(lists)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return lint_dataset(str(path))


def test_of_a_ranked_list_every_answer_counts_and_best_against_worst(tmp_path):
    report = ranked(
        tmp_path,
        [("Yes.", 1), ("Perhaps [[A]].", 2), ("No.", 3)],
        [("I'm sorry, but I can't help.", 1), ("So be it.", 2), ("Not so.", 3)],
        [("One.", 1), ("Two.", 1), ("I can't say.", 1)],  # equal answers are no pair
        [("Same.", 1), ("Other.", 2), ("Same.", 3)],
    )
    assert report["rows"] == 4
    assert report["findings"] == {
        "identical_pair": 1, "duplicate_pair": 1, "refusal": 2, "refusal_preferred": 1,
        "verdict_syntax": 1,
    }  # fmt: skip


def test_answers_and_prompts_alone_are_compared_with_each_other(tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [{"prompt": f"{i}?", "completion": "Maybe.", "label": True} for i in range(3)]
    rows += [{"prompt": "3?", "completion": " ", "label": False}, rows[0]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert lint_dataset(str(path))["findings"] == {
        "empty_response": 1, "duplicate_pair": 1, "repeated_response": 4,
    }  # fmt: skip
    path.write_text("".join(json.dumps({"prompt": p}) + "\n" for p in ("a?", "b?", "a?", " ")))
    assert lint_dataset(str(path))["findings"] == {"empty_prompt": 1, "duplicate_pair": 1}


@pytest.mark.parametrize("others", [{}, {"input": ""}, {"system": "", "history": [], "input": ""}])
@pytest.mark.parametrize("sides", [("chosen", "rejected"), ("output",)])
def test_an_instruction_is_what_is_asked_however_much_stands_beside_it(tmp_path, others, sides):
    path = tmp_path / "x.jsonl"
    rows = [{"instruction": f"{i}?", **others} | {s: f"{s} {i}." for s in sides} for i in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = lint_dataset(str(path))
    assert report["findings"] == {}  # an empty input is no empty prompt
    assert {*report["columns"]} == {"instruction", *others, *sides}


def test_answers_called_response_are_read(tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [{"prompt": "a?", "response": f"It is {i}."} for i in range(3)]
    rows += [{"prompt": "b?", "response": " "}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert lint_dataset(str(path)) == {
        "rows": 4, "columns": ["prompt", "response"], "findings": {"empty_response": 1},
    }  # fmt: skip


def test_what_a_form_must_hold_is_said(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"prompt": "a?", "answers": ["b", "c"]}) + "\n")
    with pytest.raises(InputError, match="'answers' must hold lists of answer and rank"):
        lint_dataset(str(path))
