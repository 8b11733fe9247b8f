"""What a page says beside its charts: the steps, what was lost inside rows, copies, findings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate.commands.results import report as write_page
from curate.errors import ConfigError
from curate.executors import Local
from curate.history import manifest, shards
from curate.loop import run
from curate.pipeline import Pipeline
from curate.report import gather, report
from curate.report.calibration import Calibration, people_of
from curate.report.compare import compare, merged
from curate.report.features import vectors_column
from curate.report.findings import findings
from curate.report.judges import judges_by_step
from curate.report.page import render
from curate.report.prompt_map import coverage_map
from curate.report.samples import turns
from curate.report.steps import exported, steps_of
from curate.report.words import two_digits
from curate.schema import CANDIDATES, JUDGMENTS, PAIRS

pytest.importorskip("vl_convert", reason="needs the extra `report`")

HOSTILE = "<script>alert(1)</script>"
PIPELINE = """
name: NAME
source: {jsonl: {path: PATH/rows.jsonl, shard_rows: 40, columns: {id: id, prompt: prompt,
  reference: reference, candidates: answers, scores: scores}}}
engines:
  j: {scripted: {model: m, replies: ["[[A]]"]}}
stages:
  - exact_dedup
  - near_dedup: {threshold: 0.6}
  - decontaminate: {benchmarks: [{name: mine, path: PATH/bench.jsonl, column: question}]}
  - judge_pairs: {engine: j}
  - combine: {weights: {scores: 1.0}}
  - all_pairs
  - margin: {at_least: 0.25}
  - embed: {on: reference}
  - embed: {on: candidates, to: vectors}
  - margin: {at_least: 0.45}
  MORE
"""
TOPICS = ["rivers", "engines", "cats", "bread", "sailors", "winters", "stones", "clouds"]


def lines_of(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sections")
    draws = np.random.default_rng(0)
    rows = []
    for i in range(120):
        words = " ".join(f"{draws.choice(TOPICS)}{draws.integers(9999)}" for _ in range(8))
        words = f"{HOSTILE} {words}"
        if i in (5, 6):
            words = rows[4]["prompt"][1]["content"]  # copies
        if i == 7:
            words = rows[4]["prompt"][1]["content"] + " once more"
        if i in (8, 9):
            words = "Tell me how many apples the seven farmers of the valley sold on that Friday"
        rows.append(
            {
                "id": f"r{i}",
                "prompt": [
                    {"role": "system", "content": "Say aye."},
                    {"role": "user", "content": words},
                ],
                "reference": "A reference." if i % 3 else None,
                "answers": [
                    {"text": f"Answer {k} to {i}." + " Yes!" * (k + i % 2), "model": f"m{k}"}
                    for k in range(3)
                ],
                "scores": [1.0, 0.45 if i % 2 else 0.2, 0.0],
            }
        )
    (made / "rows.jsonl").write_text(lines_of(rows))
    bench = "Say how many apples the seven farmers of the valley sold on that Friday"
    (made / "bench.jsonl").write_text(lines_of([{"question": bench}, {"question": "Who are you?"}]))
    for name, more in (("one", ""), ("two", "- min_score: {at_least: 0.0}")):
        text = PIPELINE.replace("PATH", str(made)).replace("NAME", name).replace("MORE", more)
        run(Pipeline.loads(text), made, executor=Local(workers=1))
    return made


@pytest.fixture(scope="module")
def facts(root: Path) -> dict:
    return gather(root, "one")


def test_stages_of_one_kind_are_told_apart_and_explained(facts: dict) -> None:
    steps = {step["name"]: step for step in facts["funnel"]}
    assert steps["margin"]["about"] == "at_least 0.25"
    assert steps["margin 2"]["about"] == "at_least 0.45"
    assert steps["judge_pairs"]["about"] == "j:helpfulness:pairs"
    assert steps["source"]["about"] == "scores"
    assert steps["exact_dedup"]["about"] == ""
    assert steps["exact_dedup"]["summary"].startswith("Drop all but one of the rows")
    assert steps["source"]["summary"]


def test_the_funnel_goes_on_to_the_records(root: Path, facts: dict) -> None:
    accounting = manifest(root, "one")["accounting"]
    found = facts["exported"]
    assert found["records"] == accounting["records"] == found["splits"]["train"]
    assert exported(root / "runs" / "one", accounting | {"records": 1}) is None
    assert exported(root / "runs" / "nowhere", accounting) is None
    assert f"{found['records']} records: train {found['records']}" in report(root, "one")


def test_pairs_dropped_inside_rows_that_stay_are_counted(root: Path, facts: dict) -> None:
    rows = facts["funnel"][-1]["rows_out"]
    pairs = {facts["funnel"][r["place"]]["name"]: r for r in facts["inside"]["pairs"]}
    made = pairs["all_pairs"]
    assert made["made"] == made["left"] == 3 * rows
    first, second = pairs["margin"], pairs["margin 2"]
    assert dict(first["dropped"]) == {"margin below 0.25": 3 * rows - first["left"]}
    assert second["left"] == rows  # the widest of each
    assert first["gone"] == second["gone"] == 0
    said = manifest(root, "one")["accounting"]["dropped_inside"]["pairs"]  # counted as it ran
    assert said == {f"margin: {why}": n for one in (first, second) for why, n in one["dropped"]}
    answers = facts["inside"]["answers"]
    assert answers[0]["made"] == 360
    assert sum(row["gone"] for row in answers) == 3 * (120 - rows)


def test_copies_and_benchmark_items_are_shown_with_their_twins(facts: dict) -> None:
    exact, near = facts["removed"]["duplicates"]
    assert (exact["kind"], exact["rows"]) == ("exact prompt duplicate", 3)
    twins = {(one["id"], one["twin"]) for one in exact["examples"]}
    assert twins == {("r5", "r4"), ("r6", "r4"), ("r9", "r8")}
    assert all(one["text"] == one["twin_text"] for one in exact["examples"])
    (one,) = near["examples"]
    assert (one["id"], one["twin"]) == ("r7", "r4")
    assert 0.6 <= float(one["similarity"]) < 1
    assert one["text"] == one["twin_text"] + " once more"
    (looked,) = facts["removed"]["contamination"]
    assert looked["benchmarks"] == [{"name": "mine", "items": 2, "found": 1, "rows": 1}]
    assert looked["examples"][0]["id"] == "r8"
    assert looked["examples"][0]["reason"].startswith("overlaps mine (item 1, ")


def test_what_is_beyond_a_threshold_is_said_first(root: Path, facts: dict) -> None:
    said = [finding.text for finding in findings(facts)]
    assert (
        "the judge j:helpfulness:pairs takes the answer shown first in 100% of its verdicts" in said
    )
    assert "rows held items of benchmarks, and were dropped: mine (1 rows)" in said
    assert (
        "the model m0 wins 100% of its pairs: the set may teach its style rather than quality"
        in said
    )
    page = report(root, "one")
    assert page.index("Look at these first") < page.index("What became of the rows")
    calm = facts | {
        "funnel": [], "engines": [], "audit": None, "calibration": None,
        "removed": {"duplicates": [], "contamination": []},
        "leanings": {"agreement": []},
        "summary": {"judges": [], "models": [], "longer": None, "cut": None, "spreads": {}},
    }  # fmt: skip
    assert findings(calm) == []


def test_an_embedding_of_some_rows_only_makes_a_map(root: Path) -> None:
    store, parts = shards(root, manifest(root, "one"))
    found = coverage_map(store, parts)
    assert found is not None
    assert found["before"] == found["after"] < sum(shard.rows for shard in parts)


def test_features_come_from_the_vectors_that_the_run_stored(root: Path, facts: dict) -> None:
    store, parts = shards(root, manifest(root, "one"))
    assert vectors_column(store, parts) == "vectors"
    assert "are too few; 200 are needed" in facts["audit"]["embeddings"]  # said, not raised


def test_a_run_beside_itself_and_beside_another(root: Path, facts: dict) -> None:
    alone = compare(facts, gather(root, "one", texts=False))
    assert all(
        line.here == line.there
        for table in alone
        if table.section != "cost"
        for line in table.lines
    )
    assert not any(line.apart for table in alone for line in table.lines)
    tables = {table.title: table for table in compare(facts, gather(root, "two", texts=False))}
    rows = {line.name: line for line in tables["Rows after each stage"].lines}
    assert rows["min_score"].here == "–"  # noqa: RUF001
    assert rows["min_score"].there == rows["margin (at_least 0.45)"].there
    assert {"margin (at_least 0.25)", "exported records"} <= rows.keys()
    assert {"Judges", "Which model wins", "What the pairs prefer", "Cost"} <= tables.keys()
    judged = [line.name for line in tables["Judges"].lines]
    assert "j:helpfulness:pairs: takes the first" in judged


def test_steps_that_only_the_other_run_has_stand_where_they_were() -> None:
    assert merged("abd", "abcd") == list("abcd")
    assert merged("abd", "cba") == list("cabd")
    assert merged("", "xy") == list("xy")
    assert merged("xy", "") == list("xy")


def test_p_correct_is_held_against_people() -> None:
    two = [{"text": "a", "drop": None}, {"text": "b", "drop": None}]
    rows = []
    for i in range(400):
        right = i % 5 > 0  # four of five labels are right
        verdict = {"judge": f"people:{i % 3}", "a": 0, "b": 1, "order": "ab", "status": "ok"}
        rows.append(
            {
                "candidates": two,
                "pairs": [{"chosen": 0, "rejected": 1, "p_correct": 0.8 if i < 200 else 0.95}],
                "judgments": [verdict | {"score": 1.0 if right else -1.0}],
            }
        )
    kinds = {"candidates": CANDIDATES, "pairs": PAIRS, "judgments": JUDGMENTS}
    table = {name: pa.array([row[name] for row in rows], kind) for name, kind in kinds.items()}
    found = Calibration(["people"])
    for start in (0, 150):
        found.add(
            {name: column.slice(start, 150 if not start else 250) for name, column in table.items()}
        )
    held = found.summary()
    assert (held["n"], [b["n"] for b in held["bins"]]) == (400, [200, 200])
    assert [b["observed"] for b in held["bins"]] == pytest.approx([0.8, 0.8])
    assert held["ece"] == pytest.approx(0.075, abs=1e-6)
    few = Calibration(["people"])
    few.add({name: column.slice(0, 9) for name, column in table.items()})
    assert few.summary() == {"people": ["people"], "n": 9}
    assert Calibration([]).summary() is None
    assert people_of([{"kind": "people", "name": "us"}, {"kind": "judge"}]) == ["us"]
    assert people_of([{"kind": "calibrate", "labels": ["gold"]}, {"kind": "people"}]) == ["gold"]


def test_an_estimate_stands_beside_what_it_was(facts: dict) -> None:
    beside = [
        {
            "stage": step["stage"],
            "estimated": {"calls": 7, "cost": 3.5},
            "actual": {"cost": 2.25, "seconds": 61.5},
        }
        for step in facts["funnel"]
    ]
    page = render(facts | {"estimates": beside, "findings": []})
    assert "$2.25" in page
    assert "$3.50" in page
    assert "61.5" in page
    assert "No estimate was made" not in page
    assert (
        "$"
        not in render(facts | {"estimates": [], "findings": []})
        .split('id="cost"')[1]
        .split("</section>")[0]
    )


def test_samples_show_the_whole_conversation() -> None:
    said = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": None}]
    assert [turn["content"] for turn in turns(said)] == ["Be kind.", ""]
    long = turns([{"role": "user", "content": str(n)} for n in range(20)])
    assert [turn["content"] for turn in long] == [
        "0", "1", "2", "3", "(12 more messages)", "16", "17", "18", "19",
    ]  # fmt: skip


def test_no_number_is_minus_nothing() -> None:
    assert two_digits(-0.001) == "0.00"
    assert two_digits(-0.25) == "-0.25"
    assert two_digits(None) == "-"


def test_a_folder_is_no_file_to_write_to(root: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder; name a file in it"):
        write_page("one", out=root, root=root)


def test_hostile_text_in_twins_and_features_stays_text(root: Path) -> None:
    page = report(root, "one")
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 10
    assert page == report(root, "one")


def test_judges_of_a_step_are_those_of_the_first_shard_that_has_some(root: Path) -> None:
    store, parts = shards(root, manifest(root, "one"))
    found = judges_by_step(store, parts)
    assert found == {0: ["scores"], 5: ["j:helpfulness:pairs"]}
    assert steps_of(parts, [], found)[5]["about"] == "j:helpfulness:pairs"
