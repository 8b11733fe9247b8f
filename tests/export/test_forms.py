"""The records of each form, and which rows give none."""

import json

import pytest
from export_rows import STEP_PAIR, STEPS, candidate, pair, row, say, table

from curate.export.catalogue import FORMS
from curate.export.trainer_files import Layout, write_form


@pytest.mark.parametrize("size", [2600, 333, 7])
def test_verl_knows_each_record_by_its_number_in_its_split(tmp_path, size):
    """Past the rows that are reshaped at once, and those that give no record."""
    rows = [
        row(f"r{i}", turns=1 if i % 5 else 2, split="test" if i % 7 == 0 else None)
        for i in range(2600)
    ]
    whole = table(rows)
    parts = (whole.slice(i, size) for i in range(0, len(rows), size))
    write_form(parts, tmp_path / "all.jsonl", "verl")
    lines = (tmp_path / "all.jsonl").read_text().splitlines()
    found = {"train": [], "test": []}
    for line in lines:
        extra = json.loads(line)["extra_info"]
        found[extra["split"]].append((extra["index"], extra["id"]))
    kept = {"train": [], "test": []}
    for made in rows:
        if made["reference"] is not None:
            kept[made["split"] or "train"].append(made["id"])
    assert found == {split: list(enumerate(ids)) for split, ids in kept.items()}


U, A, B = say("user", "a0"), say("assistant", "good"), say("assistant", "bad")
EXPECTED = {
    "preference-text": {"prompt": "a0", "chosen": "good", "rejected": "bad"},
    "implicit": {"chosen": [U, A], "rejected": [U, B], "margin": 1.5},
    "unpaired": {"prompt": [U], "completion": [A], "label": True},
    "prompt-only": {"id": "a", "prompt": [U]},
    "ranked": {
        "id": "a",
        "prompt": "a0",
        "answers": [
            {"answer": "good", "rank": 1, "score": 2.0},
            {"answer": "bad", "rank": 2, "score": 1.0},
        ],
        "messages": [U],
    },
    "best": {"id": "a", "messages": [U, A], "score": 2.0, "model": "m"},
    "scored": {"id": "a", "messages": [U, A], "score": 2.0, "model": "m", "goal": "worth 2"},
    "negatives": {"id": "a", "prompt": [U], "rejected": "bad", "samples": ["good"]},
    "stepwise": {
        "id": "a", "prompt": "a0", "completions": ["one", "two"], "labels": [True, False],
    },
    "step-preference": {
        "id": "a", "prompt": "a0\none\n",
        **{k: v for k, v in STEP_PAIR.items() if k != "prefix"},
    },
    "candidates": {k: v for k, v in row("a").items() if k != "split"},
    "sharegpt": {
        "conversations": [{"from": "human", "value": "a0"}],
        "chosen": {"from": "gpt", "value": "good"},
        "rejected": {"from": "gpt", "value": "bad"},
    },
    "openrlhf": {"prompt": [U], "chosen": [A], "rejected": [B], "margin": 1.5},
    "axolotl": {"messages": [U], "chosen": A, "rejected": B},
    "nemo-rl": {
        "context": [U],
        "completions": [{"rank": 0, "completion": [A]}, {"rank": 1, "completion": [B]}],
    },
    "ultrafeedback": {
        "prompt": "a0", "prompt_id": "a", "chosen": [U, A], "rejected": [U, B],
        "score_chosen": 2.0, "score_rejected": 1.0,
    },
}  # fmt: skip


@pytest.mark.parametrize("form", sorted(EXPECTED))
def test_form_gives_exact_record(tmp_path, form):
    path = tmp_path / "x.jsonl"
    summary = write_form([table([row("a")])], path, form, Layout("jsonl"))
    first = json.loads(path.read_text().splitlines()[0])
    if form == "preference-text":
        first = {k: first[k] for k in EXPECTED[form]}
    assert first == EXPECTED[form]
    assert summary.records == (2 if form in ("unpaired", "scored", "stepwise") else 1)


def test_every_answer_stands_under_both_prompts():
    given = [row("a"), row("e", turns=0), row("b") | {"other_prompt": None}]
    given += [row("c", ("x", candidate("y", "too long")))]
    found = FORMS["prompts"].build(table(given))
    assert found.rows.tolist() == [0, 0, 3]
    one = found.table.to_pylist()[1]
    assert one["prompt_chosen"] == [say("user", "a0")]
    assert one["prompt_rejected"] == [say("user", "another a")]
    assert one["completion"] == [say("assistant", "bad")]
    assert one["chosen"] == [say("user", "a0"), say("assistant", "bad")]
    assert one["rejected"] == [say("user", "another a"), say("assistant", "bad")]


def test_a_prompt_ends_where_the_steps_part(tmp_path):
    begun = row("a") | {"step_pairs": [STEP_PAIR | {"prefix": ""}]}
    assert FORMS["step-preference"].build(table([begun])).table["prompt"].to_pylist() == ["a0\n"]
    lost = row("a", pairs=[pair(0, 1, "margin"), pair(0, 1)])
    lost |= {"step_pairs": [STEP_PAIR | {"chosen": "other"}, STEP_PAIR]}
    assert FORMS["step-preference"].build(table([lost])).table["chosen"].to_pylist() == ["two"]


def test_steps_without_a_prompt_or_label_are_left_out():
    unknown = [STEPS[0] | {"right": None}, *STEPS[1:]]
    given = [row("a") | {"steps": unknown}, row("e", turns=0), row("b") | {"steps": []}]
    found = FORMS["stepwise"].build(table(given))
    assert found.table["completions"].to_pylist() == [["two"], ["three"]]
    assert found.rows.tolist() == [0, 0]


def test_ties_share_a_rank_and_unscored_is_left_out():
    tied = row("a", ("w", "x", "y", "z")) | {"scores": [1.0, 2.0, 2.0, None]}
    answers = FORMS["ranked"].build(table([tied])).table["answers"].to_pylist()[0]
    assert [(a["answer"], a["rank"]) for a in answers] == [("x", 1), ("y", 1), ("w", 3)]
    best = FORMS["best"].build(table([row("b") | {"scores": [None, None, None]}, tied]))
    assert [m[-1]["content"] for m in best.table["messages"].to_pylist()] == ["x"]
    assert best.rows.tolist() == [1]
    each = FORMS["scored"].build(table([row("b") | {"scores": [None, None, None]}, tied]))
    assert [m[-1]["content"] for m in each.table["messages"].to_pylist()] == ["x", "y", "w"]
    assert each.rows.tolist() == [1, 1, 1]


def test_a_negative_stands_once_against_all_that_it_lost_to():
    lost = [pair(3, 2), pair(0, 1), pair(3, 1), pair(1, 2, "margin too small"), pair(0, 2)]
    given = [row("a", ("s", "no", "never", "t"), lost), row("b"), row("c", pairs=[])]
    found = FORMS["negatives"].build(table(given))
    assert found.table.select(["id", "rejected", "samples"]).to_pylist() == [
        {"id": "a", "rejected": "never", "samples": ["t", "s"]},
        {"id": "a", "rejected": "no", "samples": ["s", "t"]},
        {"id": "b", "rejected": "bad", "samples": ["good"]},
    ]
    assert found.rows.tolist() == [0, 0, 1]
    assert FORMS["negatives"].build(table([])).table.num_rows == 0
