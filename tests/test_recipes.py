"""Every recipe runs to its end on a few rows with the scripted engine, and its output is clean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from datasets import load_from_disk

from curate import history
from curate.evaluation.dataset_lint import has_errors, lint_dataset
from curate.loop import run
from curate.pipeline import Pipeline
from curate.portion import Portion
from curate.recipes import FOLDER, page, recipes
from curate.work import live_tables

GRADES = "scripted: {replies: ['Poor. Score: 1', 'Fair. Score: 2', 'Good. Score: 4', 'Score: 5']}"


def plain(*roles: str) -> list[str]:
    """Return the changes that give each of these engines hashed words as answers."""
    return [f"engines.{role}={{scripted: {{model: {role}}}}}" for role in roles]


def told(*stages: str) -> list[str]:
    """Return the changes that let scripted models, all of one mind, differ by an instruction."""
    return [f"{stage}.minus_system=as in {stage}" for stage in stages]


def grader(role: str) -> str:
    """Return the change that gives this engine grades as answers."""
    return f"engines.{role}={{{GRADES}}}"


def says(role: str, *replies: str) -> list[str]:
    """Return the change that gives this engine one of these answers."""
    return [f"engines.{role}={{scripted: {{model: {role}, replies: {list(replies)}}}}}"]


def verdicts(role: str) -> list[str]:
    """Return the change that gives this engine verdicts on two answers."""
    return says(role, "[[A]]", "[[B]]", "[[tie]]")


CRITERIA = "specificity, domain knowledge, complexity, problem-solving, creativity, real-world use"
MET = [json.dumps({"tags": CRITERIA.split(", ")[:k]}) for k in (4, 5, 6)]
TAGS = [json.dumps({"tags": tags.split()}) for tags in ("advice home", "Advice! list tone", "plan")]
OWN = [*says("policy", "No.", "I cannot say."), "rank_models.order=[policy, null]"]

CLAIMS = [
    json.dumps({"claims": [{"claim": f"It is {k}.", "question": f"{k}?", "answer": k} for k in ks]})
    for ks in ("abc", "bcd", "defg", "")
]
SAME = [{"first": ["a", "b"], "second": ["b"], "same": same} for same in ([[2, 1]], [])]
KIND = [
    '{"tags": ["closed"]}',
    "A tide is what the sea does.",
    "Tides follow the moon.",
    "The sea!",
]

DOMAINS = ['{"tags": ["safety", "chat"]}', '{"tags": ["reasoning"]}', "Keep it in a cool place."]
ROUTED = told("route.to.safety.likelihood", "route.to.reasoning.likelihood")
ROUTED += [*told("route.otherwise.likelihood"), "tag.structured=false"]

MEETS = says("judge", "1: yes", "1: no")
TAGGED = [json.dumps({"tags": [tag]}) for tag in ("moderate_intent", "severe_safety", "closed")]
PERSON = [*MEETS, *plain("policy")]
COMPLAINT = [*MEETS, *plain("policy"), "judge_prompts.at_least=1"]
COMPLAINT += ["rank_models.order=[policy, conversation]"]

MODELS = ("large", "medium", "other", "small", "tiny")
JURY = [*verdicts("one"), *verdicts("two"), *verdicts("three")]

SORTS = [
    '{"tags": ["solution"]}',
    '{"tags": ["chat"]}',
    "Poor. Score: 1",
    "Fair. Score: 2",
    "Good. Score: 4",
    "Score: 9",
]
JUDGES = [*says("first", *SORTS), grader("second"), grader("third"), "judge_prompts.at_least=2"]
JUDGES += ["tag.structured=false"]

KEEPS_TO_SOME = [
    *says("policy", "all is fine here", "All is fine here", "All is fine, here and there"),
    "constrain.kinds=[no_commas, lowercase]",
    *plain("judge"),
]


def in_lines(role: str, *replies: str) -> str:
    """Return the change that gives this engine one of these answers of several lines."""
    return f"engines.{role}={json.dumps({'scripted': {'model': role, 'replies': replies}})}"


WRONG = "def digit_sum(n):\n    return n\ndef second_largest(numbers):\n    return 2"
RIGHT = "def digit_sum(n):\n    return sum(map(int, str(abs(n))))\ndef rotate(items, k):"
RIGHT += "\n    k = k % len(items) if items else 0\n    return items[-k:] + items[:-k]"
CODE = [
    in_lines("policy", WRONG, RIGHT),
    *(f"{stage}.allow_code=true" for stage in ("check_tests", "run_tests")),
    *(f"{stage}.isolation=machine" for stage in ("check_tests", "run_tests")),
]

FOUR = ["1: 2\n2: 4\n3: N/A\n4: 5", "Poor. Score: 2", "Fair. Score: 5", "Good. Score: 9"]

WRITER = [in_lines("writer", "It counts.\n[[A]]", "It does not count.\n[[B]]")]

SOLUTIONS = [f"Let us see.\nThat is {n}.\nA: {n}" for n in (26, 49, 6, 20, 120, 54, 18, 84)]

# Name, the changes that make it scripted and small, and the columns that its records hold beside
# prompt, chosen and rejected.
TABLE: Sequence[tuple[str, list[str], set[str]]] = [
    ("lcpo", plain("reward"), {"margin", "p_correct"}),
    ("reward_ensemble", [], set()),
    ("secrets_rlhf", [], {"margin", "p_correct"}),
    ("c_rlft", [], {"messages", "model", "score", "goal"}),
    ("curry", [], {"margin", "curriculum_step"}),
    ("reward_augmented", [], {"chosen", "rejected", "goal_met_by_better"}),
    ("deita", [*plain("judge"), "diverse.keep=0.3"], {"margin"}),
    ("trees", [], {"margin", "weight"}),
    ("forum_votes", [], {"margin", "weight"}),
    ("fifa", [grader("judge"), "diverse.keep=0.3"], {"margin"}),
    ("helpsteer2", [], {"margin", "weight"}),
    ("margin_weights", plain("reward"), {"margin", "weight"}),
    ("math_steps", [in_lines("policy", *SOLUTIONS)], {"completions", "labels"}),
    ("mixed_preference", plain("reward"), {"margin", "curriculum_step"}),
    ("ranked_lists", [], {"answers"}),
    ("rationales", WRITER, {"rationale", "specific_rationale"}),
    ("robust_dpo", [*verdicts("one"), *verdicts("two")], {"p_correct"}),
    ("skywork_v2", [*plain("gold", "best"), *verdicts("judge")], set()),
    ("cdr", [*says("policy", *DOMAINS), *plain("strong", "weak"), *ROUTED], set()),
    ("bleuberi", plain("policy", "reward"), {"margin"}),
    ("coig_p", [*plain(*"abcdef"), *JUDGES], {"margin"}),
    ("code_verified", CODE, {"margin"}),
    ("constraints", [*KEEPS_TO_SOME, "min_score.at_least=1"], {"margin", "weight"}),
    ("instag", [*says("tagger", *TAGS), "merge_tags.min_rows=1", "cover.keep=8"], {"margin"}),
    ("negatives_only", OWN, {"rejected", "samples"}),
    ("prompts_benchbuilder", [*says("judge", *MET), "cluster.min_rows=2"], {"prompt"}),
    ("cream", [*plain("now", "before", "base"), *told("3", "4")], {"p_correct"}),
    ("delta", [*plain("strong", "weak"), "rank_models.order=[strong, weak]"], {"margin"}),
    ("flr", plain("policy"), set()),
    (
        "factuality",
        [*says("policy", *"abcdef"), *says("reader", *CLAIMS), "claims.structured=false"],
        {"margin"},
    ),
    ("relevance", [*says("policy", *KIND), "tag.structured=false"], {"margin"}),
    (
        "critiques",
        [
            *WRITER,
            *says("judge", "It counts.\n[[A]]", "It does not.\n[[B]]", "Alike.\n[[tie]]"),
            *says("reader", *map(json.dumps, SAME)),
            "critique_agreement.structured=false",
        ],
        {"rationale"},
    ),
    ("pluralistic", [*plain("writer"), "generate_set.structured=false"], {"margin"}),
    ("pugc", [*plain("policy", "judge"), "backtranslate.at_least=0.2"], {"margin"}),
    ("raft", plain("policy", "reward"), {"messages", "score"}),
    ("rlhf_workflow", plain("policy", "reward"), {"margin"}),
    ("rso", [*plain("policy", "reward"), "generate.n=12"], {"weight"}),
    ("salmon", plain("policy"), {"margin"}),
    ("scir", [*plain("policy", "base"), *told("likelihood"), "9.at_least=0.1"], {"margin"}),
    ("self_rewarding", [grader("policy")], set()),
    ("spa", [*plain("policy", "sft"), *told("likelihood")], {"p_correct"}),
    ("ultrafeedback", [*plain(*MODELS), in_lines("judge", *FOUR)], {"margin"}),
    ("hybrid_routing", [*says("tagger", *TAGGED), "tag.structured=false"], set()),
    ("personas", [*says("writer", "- Is it short?"), *PERSON], {"margin"}),
    ("fspo", [*plain("policy", "judge"), "few_shot.n=1"], {"margin"}),
    ("knowledge_conflict", [*plain("policy", "judge"), "margin.at_least=0.1"], {"margin"}),
    ("mapl", [*KEEPS_TO_SOME, "min_score.at_least=1"], {"prompt_rejected", "completion"}),
    ("wildfeedback", [*says("reader", "3: ignored", "3: style"), *COMPLAINT], {"margin"}),
    ("ultrafeedback_repair", [], {"margin"}),
    ("upo", [*plain("policy", "reward"), *JURY], {"p_correct"}),
]


@pytest.mark.parametrize(("name", "changes", "columns"), TABLE, ids=[row[0] for row in TABLE])
def test_it_runs_balances_and_is_clean(
    tmp_path: Path, name: str, changes: list[str], columns: set[str]
) -> None:
    pipeline = Pipeline.load(FOLDER / f"{name}.yaml", changes)
    assert pipeline.name == name
    ended = run(pipeline, tmp_path, portion=Portion.parse(12, ""))
    books = ended.accounting
    lost = sum(books["dropped"].values()) + sum(books["failed"].values())
    assert ended.finished
    assert 0 < books["rows_in"] == books["rows_exported"] + lost
    assert books["rows_exported"] > 0
    folder = ended.folder / "dataset"
    for split in load_from_disk(str(folder)).values():
        held = {c for c in split.column_names if any(v is not None for v in split[c])}
        assert not split.num_rows or columns <= held
    assert not has_errors(lint_dataset(str(folder), split="train"))


def test_what_is_shown_of_a_person_is_in_the_persons_own_part(tmp_path: Path) -> None:
    changes = next(row[1] for row in TABLE if row[0] == "fspo")
    parts = "split.parts={train: 0.5, test: 0.5}"
    ended = run(Pipeline.load(FOLDER / "fspo.yaml", [*changes, parts]), tmp_path)
    store, shards = history.shards(tmp_path, history.manifest(tmp_path, "fspo"))
    (rows,) = (table.to_pylist() for table in live_tables(store, shards))
    part = {row["id"]: row["split"] for row in rows}
    assert set(part.values()) == {"train", "test"}
    assert len(rows) == ended.accounting["rows_exported"]
    for row in rows:
        assert row["shots"]
        person = json.loads(row["meta"])["person"]
        for shown in row["shots"]:
            assert shown.startswith(f"{person}/")
            assert part[shown] == row["split"]


def live_rows(root: Path, name: str, changes: list[str]) -> dict[str, dict[str, Any]]:
    """Run a recipe and return the rows that nothing dropped, by their ids."""
    run(Pipeline.load(FOLDER / f"{name}.yaml", changes), root)
    store, shards = history.shards(root, history.manifest(root, name))
    return {row["id"]: row for table in live_tables(store, shards) for row in table.to_pylist()}


def test_people_who_rank_in_a_circle_get_the_card_s_consensus(tmp_path: Path) -> None:
    rows = live_rows(tmp_path, "trees", [])
    assert rows["reply-07"]["scores"] == [1.0, 0.5, 0.0]  # four abc, three bca, two cab
    pairs = [(p["chosen"], p["rejected"]) for p in rows["reply-07"]["pairs"]]
    assert pairs == [(0, 1), (0, 2), (1, 2)]


def test_the_better_answer_of_a_forum_came_later(tmp_path: Path) -> None:
    rows = live_rows(tmp_path, "forum_votes", [])
    assert rows
    for row in rows.values():
        said = {(j["judge"], j["a"]): j["score"] for j in row["judgments"]}
        live = [p for p in row["pairs"] if p["drop"] is None]
        assert live
        for pair in live:
            assert said["posted", pair["chosen"]] > said["posted", pair["rejected"]]
            assert pair["margin"] > 0


def test_a_draw_by_doubt_leaves_the_doubt_to_the_labels_alone(tmp_path: Path) -> None:
    """UPO: no weight stands beside a label softened by the same doubt; reasons are each stage's."""
    changes = next(row[1] for row in TABLE if row[0] == "upo")
    ended = run(
        Pipeline.load(FOLDER / "upo.yaml", changes), tmp_path, portion=Portion.parse(24, "")
    )
    dropped = ended.accounting["dropped"]
    drawn = {name for name in dropped if name.startswith("draw_pairs")}
    assert drawn == {"draw_pairs: not drawn"}  # not why `consensus` dropped a row's other pairs
    found = load_from_disk(str(ended.folder / "dataset"))
    rows = [row for split in found.values() for row in split]
    assert rows
    assert {row["weight"] for row in rows} == {None}
    assert all(0.5 <= row["p_correct"] <= 1 for row in rows)


def test_every_recipe_is_complete_and_fits_together() -> None:
    for recipe in recipes():  # raises for an incomplete comment
        pipeline = Pipeline.loads(recipe.text)
        pipeline.check()
        assert pipeline.name == recipe.name
        assert Pipeline.loads(pipeline.dumps()) == pipeline


def test_the_page_is_that_of_the_recipes() -> None:
    found = (Path(__file__).parents[1] / "docs/recipes.md").read_text(encoding="utf-8")
    assert found == page(), "run `make docs`"


def test_the_table_holds_every_recipe() -> None:
    assert {recipe.name for recipe in recipes()} == {name for name, *_ in TABLE}
