"""The plan: what is done, what is not and why, and the calls it will take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.executors import Local
from curate.loop import run
from curate.pipeline import Pipeline
from curate.plan import _changes, plan, rows_of
from curate.portion import Portion
from curate.stage import Context, Result, Stage

JUDGE = "  - judge: {engine: small, samples: 2, sampling: {temperature: 1.0}}\n"


def steps(path: Path, root: Path, *changes: str) -> dict[str, dict[str, Any]]:
    return {step["stage"]: step for step in plan(Pipeline.load(path, changes), root)}


def go(path: Path, root: Path, *changes: str, **how: Any) -> dict[str, int]:
    """Run; return the calls each stage made."""
    calls: dict[str, int] = {}

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "part":
            made = event["counts"].get("calls", 0)
            calls[event["stage"]] = calls.get(event["stage"], 0) + made

    executor = Local(workers=2)
    run(Pipeline.load(path, changes), root, executor=executor, listener=listen, **how)
    executor.close()
    return calls


def test_before_the_first_run_calls_follow_from_the_fields(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    scripted_pipeline.write_text(
        scripted_pipeline.read_text().replace("  - combine\n", JUDGE + "  - combine\n")
    )
    found = steps(scripted_pipeline, tmp_path)
    assert found["unique_id"]["state"] == "todo"
    assert found["generate"]["state"] == "waiting"
    assert found["generate"]["why"] == "never run; after unique_id"
    assert found["generate"]["rows"] == 60
    assert found["generate"]["calls"] == 60 * 3
    assert found["likelihood"]["calls"] == 60 * 3
    assert found["judge"]["calls"] == 60 * 3 * 2
    assert 0 < found["rationale"]["calls"] <= 60
    assert "calls" not in found["combine"]
    assert "tokens" not in found["generate"]  # nothing is known of them yet


def test_after_a_part_of_the_run_the_rest_is_extrapolated(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    one = go(scripted_pipeline, tmp_path, portion=Portion(number=1, of=4))
    found = steps(scripted_pipeline, tmp_path)
    assert found["exact_dedup"]["state"] == "done"
    todo = found["generate"]
    assert (todo["state"], todo["done"], todo["shards"]) == ("todo", 2, 8)
    assert todo["why"] == "6 shards are new or unfinished"
    whole = go(scripted_pipeline, tmp_path)
    assert one["generate"] + whole["generate"] == 59 * 3
    assert todo["calls"] == whole["generate"]
    assert todo["tokens"] == 4 * todo["calls"]  # the scripted engine writes four tokens a call
    assert todo["seconds"] >= 0


def test_a_finished_run_is_done_and_costs_nothing(scripted_pipeline: Path, tmp_path: Path) -> None:
    go(scripted_pipeline, tmp_path)
    found = steps(scripted_pipeline, tmp_path)
    assert {step["state"] for step in found.values()} == {"done"}
    assert not any("calls" in step for step in found.values())


def test_a_changed_field_is_said_in_words_and_what_follows_waits(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    scripted_pipeline.write_text(
        scripted_pipeline.read_text().replace("  - combine\n", JUDGE + "  - combine\n")
    )
    go(scripted_pipeline, tmp_path)
    found = steps(scripted_pipeline, tmp_path, "judge.samples=3")
    assert found["likelihood"]["state"] == "done"
    assert found["judge"]["state"] == "todo"
    assert found["judge"]["why"] == "samples 2 -> 3"
    assert found["judge"]["calls"] == 59 * 3 * 3
    assert found["judge"]["tokens"] == 4 * 59 * 3 * 3
    assert found["combine"]["state"] == "waiting"
    assert found["combine"]["why"] == "after judge"
    assert found["rationale"]["calls"] > 0
    text = rows_of([found["judge"]])[0][-1]
    assert "samples 2 -> 3" in text
    assert "531 calls" in text


def test_a_changed_engine_seed_or_source_is_said(scripted_pipeline: Path, tmp_path: Path) -> None:
    go(scripted_pipeline, tmp_path)
    found = steps(scripted_pipeline, tmp_path, "engines.small.model=other")
    assert found["generate"]["why"] == "engine small: model scripted -> other"
    found = steps(scripted_pipeline, tmp_path, "seed=7")
    assert found["generate"]["why"] == "seed 0 -> 7"
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(prompts.read_text() + '{"id": "new", "prompt": "Why is rain warm?"}\n')
    found = steps(scripted_pipeline, tmp_path)
    assert found["unique_id"]["why"] == "what it reads changed"


def test_the_second_stage_of_a_kind_is_compared_with_the_second(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    text = scripted_pipeline.read_text()
    again = "  - generate: {engine: small, n: 1, system: Be brief.}\n"
    scripted_pipeline.write_text(text.replace("  - likelihood", again + "  - likelihood"))
    go(scripted_pipeline, tmp_path)
    path = tmp_path / "changed.yaml"
    path.write_text(scripted_pipeline.read_text().replace("n: 1,", "n: 2,"))
    last = [s for s in plan(Pipeline.load(path), tmp_path) if s["stage"] == "generate"]
    assert [s["state"] for s in last] == ["done", "todo"]
    assert last[1]["why"] == "n 1 -> 2"
    assert last[1]["calls"] == 59 * 2


def test_a_night_pays_for_the_new_file_alone_and_the_plan_says_so(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    text = scripted_pipeline.read_text()
    scripted_pipeline.write_text(text.replace("prompts.jsonl", "*.jsonl"))
    go(scripted_pipeline, tmp_path)
    new = "".join(
        f'{{"id": "n{i}", "prompt": "Name {i} old songs of spring."}}\n' for i in range(5)
    )
    (tmp_path / "r.jsonl").write_text(new)  # behind the others: their shards stay as they are
    found = steps(scripted_pipeline, tmp_path)
    assert found["unique_id"]["state"] == "todo"
    assert found["generate"]["state"] == "waiting"
    assert (found["generate"]["done"], found["generate"]["shards"]) == (8, 9)
    assert found["generate"]["rows"] == 5
    made = go(scripted_pipeline, tmp_path)
    assert made["generate"] == 5 * 3
    for stage in ("generate", "likelihood"):
        assert found[stage]["calls"] == made[stage]


def test_another_rubric_redoes_no_other_judge_and_the_plan_says_so(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    judges = "  - judge: {engine: small}\n  - judge: {engine: small, rubric: honesty}\n"
    text = scripted_pipeline.read_text().replace("  - combine\n", judges + "  - combine\n")
    scripted_pipeline.write_text(text)
    go(scripted_pipeline, tmp_path)
    path = tmp_path / "changed.yaml"
    path.write_text(
        text.replace("judge: {engine: small}", "judge: {engine: small, rubric: overall}")
    )
    first, second = (s for s in plan(Pipeline.load(path), tmp_path) if s["stage"] == "judge")
    assert (first["state"], second["state"], second["rows"]) == ("todo", "kept", 0)
    assert "calls" not in second
    assert second["why"] == "if judge drops what it did"
    assert rows_of([second])[0][1:3] == ["kept", "8 of 8 shards"]
    assert len(first["why"]) < 300  # it named whole templates
    assert "Helpfulness" in first["why"]
    assert "Overall" in first["why"]
    assert go(path, tmp_path)["judge"] == first["calls"] == 59 * 3


def test_behind_a_changed_filter_all_is_paid_for_again(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    go(scripted_pipeline, tmp_path)
    found = steps(scripted_pipeline, tmp_path, "margin.at_least=0.1")
    assert found["rationale"]["state"] == "waiting"
    assert found["rationale"]["done"] == 0
    assert found["rationale"]["calls"] > 0


def test_a_long_value_that_changed_is_shown_where_it_differs() -> None:
    was, now = (
        {"templates": ["same", "x" * 200 + "old"]},
        {"templates": ["same", "x" * 200 + "new"]},
    )
    (said,) = _changes(was, now, {})
    assert "same" not in said
    assert "old'] -> " in said
    assert said.endswith("new']")
    assert len(said) < 220
    assert _changes({"a": [1, 2]}, {"a": [2, 1]}, {}) == ["a [1, 2] -> [2, 1]"]
    assert _changes({}, {"n": 2}, {"n": 1}) == ["n 1 -> 2"]


class Whole(Stage):
    """Sees all rows, and does not say how it divides; those built in all do."""

    scope = "dataset"
    needs = ("id", "prompt")

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        return {}


def test_a_stage_that_needs_all_rows_in_one_process_says_how_much(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    found = steps(scripted_pipeline, tmp_path)
    assert not any("memory" in found[name] for name in ("near_dedup", "split"))  # they divide
    assert "memory" not in found["generate"]  # it sees a shard at a time
    text = scripted_pipeline.read_text().replace("  - near_dedup\n", "  - 'test_plan:Whole'\n")
    scripted_pipeline.write_text(text)
    (whole,) = (s for s in steps(scripted_pipeline, tmp_path).values() if "memory" in s)
    size = sum(len(row) for row in (tmp_path / "prompts.jsonl").read_text().splitlines())
    assert size / 4 < whole["memory"] < size * 4
    large = {**whole, "memory": 31_000_000_000}
    assert "all rows in one process: 31.0 GB of columns or more" in rows_of([large])[0][-1]
