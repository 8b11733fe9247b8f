"""The plan: what is done, what is not and why, and the calls it will take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.executors import Local
from curate.loop import run
from curate.pipeline import Pipeline
from curate.plan import plan, rows_of
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
