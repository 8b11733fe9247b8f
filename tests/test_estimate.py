"""A sample through the real engines, and what it says about the whole."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import curate

from curate.elapsed import elapsed
from curate.errors import ConfigError
from curate.estimate import (
    Price,
    add_left,
    against,
    comparison_rows,
    estimate,
    read_prices,
    rows_of,
)
from curate.executors import Local
from curate.loop import run
from curate.pipeline import Pipeline
from curate.plan import plan
from curate.tasks import all_stages


def by_stage(steps) -> dict:
    return {step["stage"]: step for step in steps}


def test_calls_and_tokens_of_the_whole_from_the_first_rows(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    pipeline = Pipeline.load(scripted_pipeline)
    prices = {"small": Price(input=2.0, output=10.0)}
    found = by_stage(estimate(pipeline, tmp_path, 20, prices=prices))
    generate = found["generate"]
    assert (generate["rows"], generate["calls"], generate["tokens"]) == (60, 180, 720)
    assert generate["prompt_tokens"] == 180
    assert generate["cost"] == pytest.approx((180 * 2.0 + 720 * 10.0) / 1e6)
    assert "cost" not in found["combine"]
    assert found["rationale"]["rows"] <= 60
    ended = run(pipeline, tmp_path)
    assert ended.finished
    beside = {pair["stage"]: pair for pair in against(tmp_path, "small")}
    # One of the 60 rows is a duplicate, which the first 20 could not show.
    assert beside["generate"]["estimated"]["calls"] == 180
    assert beside["generate"]["actual"]["calls"] == 177
    table = {row[0]: row[1:] for row in comparison_rows(list(beside.values()))}
    assert table["generate"][0].startswith("estimated 180 calls")
    assert table["generate"][1].startswith("was 177 calls")
    assert beside["generate"]["actual"]["cost"] == pytest.approx((177 * 2.0 + 708 * 10.0) / 1e6)
    assert "cost" not in beside["combine"]["actual"]
    assert list(table)[-1] == "in all"
    assert table["in all"][1].endswith("$0.01")


def test_what_is_there_is_not_to_be_paid_again(scripted_pipeline: Path, tmp_path: Path) -> None:
    text = scripted_pipeline.read_text()
    scripted_pipeline.write_text(text.replace("prompts.jsonl", "*.jsonl"))
    pipeline = Pipeline.load(scripted_pipeline)
    prices = {"small": Price(input=2.0, output=10.0)}

    def made() -> list[dict[str, Any]]:
        steps = estimate(pipeline, tmp_path, 8, prices=prices)
        add_left(steps, plan(pipeline, tmp_path))
        return steps

    fresh = by_stage(made())
    assert fresh["likelihood"]["left"]["calls"] == fresh["likelihood"]["calls"]
    run(pipeline, tmp_path)
    ended = made()
    assert by_stage(ended)["generate"]["left"]["calls"] == 0
    assert "left" not in by_stage(ended)["combine"]
    assert rows_of(ended)[-1] == ["still to do", "", "no call"]
    new = "".join(
        f'{{"id": "n{i}", "prompt": "Name {i} old songs of spring."}}\n' for i in range(6)
    )
    (tmp_path / "r.jsonl").write_text(new)
    steps = made()
    generate = by_stage(steps)["generate"]
    assert generate["calls"] == 66 * 3
    assert generate["left"]["calls"] == 6 * 3
    assert generate["left"]["tokens"] == 4 * 6 * 3
    assert generate["left"]["cost"] == pytest.approx(generate["cost"] / 11)
    assert rows_of(steps)[-2][0] == "in all"
    assert rows_of(steps)[-1][0] == "still to do"


def test_a_gpu_is_paid_by_the_hour_and_the_lines_add_up() -> None:
    steps = [
        {"stage": "a", "rows": 10, "calls": 5, "seconds": 1800.0, "cost": 1.25},
        {"stage": "b", "rows": 10, "calls": 5, "seconds": 1800.0, "cost": 1.25},
    ]
    assert rows_of(steps)[-1] == ["in all", "", "10 calls, 3,600.0 s, $2.50"]


def test_prices_by_role_and_by_model(scripted_pipeline: Path, tmp_path: Path) -> None:
    pipeline = Pipeline.load(scripted_pipeline, ["engines.small.model=big-model"])
    path = tmp_path / "prices.yaml"
    scripted = scripted_pipeline.read_text().replace(
        "small: {scripted: {}}", "{two: {scripted: {model: m-a}}, small: {scripted: {model: m-a}}}"
    )
    (tmp_path / "both.yaml").write_text(scripted.replace("engines:\n  {", "engines: {"))
    path.write_text("elsewhere: {input: 1}\n")
    with pytest.raises(ConfigError, match=r"'elsewhere'; known: m-a, small, two$"):
        read_prices(path, Pipeline.load(tmp_path / "both.yaml"))
    path.write_text("big-model: {gpu_hour: 3}\n")
    assert read_prices(path, pipeline) == {"small": Price(gpu_hour=3)}
    path.write_text("big-model: {gpu_hour: 3}\nsmall: {input: 1}\n")
    assert read_prices(path, pipeline) == {"small": Price(input=1)}
    for text, message in {
        "smal: {input: 1}": "the pipeline has no engine or model 'smal'; did you mean 'small'?",
        "small: {inputs: 1}": "small: unknown field 'inputs'; did you mean 'input'?",
        "small: {input: -1}": "small: input: Input should be greater than or equal to 0",
        "- 1": "write `engine: {input: ..., output: ...}`, dollars a million",
        "small: {": "prices.yaml: line ",
    }.items():
        path.write_text(text)
        with pytest.raises(ConfigError) as error:
            read_prices(path, pipeline)
        assert message in str(error.value), text
    with pytest.raises(ConfigError, match="cannot read prices"):
        read_prices(tmp_path / "none.yaml", pipeline)


SLOW = '''
import time
from functools import cache
import pyarrow as pa
from curate.stage import Stage

@cache
def load():
    time.sleep(1)

class Loads(Stage):
    """Loads for a second, then takes 5 ms a row."""
    needs = ("prompt",)
    writes = ("seen",)
    def apply(self, view, ctx):
        load()
        time.sleep(0.005 * len(view))
        return {"seen": pa.array([True] * len(view))}
'''


def test_what_is_taken_once_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """An encoder loads for seconds and then takes microseconds a row; 8 rows of 800 show both."""
    rows = [json.dumps({"prompt": f"Question {i}"}) + "\n" for i in range(800)]
    (tmp_path / "rows.jsonl").write_text("".join(rows))
    (tmp_path / "slow.py").write_text(SLOW)
    path = tmp_path / "p.yaml"
    path.write_text(
        f"name: slow\nsource: {{jsonl: {{path: {tmp_path}/rows.jsonl, "
        "columns: {prompt: prompt}}}\nstages: ['slow:Loads']\nexport: null\n"
    )
    command = [sys.executable, "-m", "curate", "plan", str(path), "--sample", "8", "--json",
               "--root", str(tmp_path)]  # fmt: skip
    for _ in range(2):  # measured, and then with the parts of the sample there already
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=True,
            env={**os.environ, "PYTHONPATH": f"{tmp_path}:{Path.cwd()}"},
        )  # fmt: skip
        found = by_stage(map(json.loads, ended.stdout.splitlines()))["slow:Loads"]
        assert found["once"] > 0.9
        assert 4.5 < found["seconds"] < 50  # 1 s, and 5 ms for 800 rows; in proportion it were 104


def test_a_gpu_costs_by_the_clock_not_by_the_sum_of_shards(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    pipeline = Pipeline.load(scripted_pipeline, ["engines.small.delay_s=0.3"])
    prices = {"small": Price(gpu_hour=3600)}
    with_eight = Local(workers=8)
    generate = by_stage(estimate(pipeline, tmp_path, 60, prices=prices, executor=with_eight))[
        "generate"
    ]
    kinds = [stage.kind for stage in all_stages(pipeline)]
    took = elapsed(tmp_path / "runs" / "small-first-60", kinds)[kinds.index("generate")]
    assert took.worked > 3 * took.busy  # eight shards were at work at once
    assert generate["seconds"] == pytest.approx(took.busy + took.coming_up, abs=0.11)
    assert generate["cost"] == pytest.approx(generate["seconds"])
    assert run(pipeline, tmp_path).finished
    pair = next(p for p in against(tmp_path, "small") if p["stage"] == "generate")
    assert pair["actual"]["cost"] == pytest.approx(pair["actual"]["seconds"])


def test_nothing_to_estimate_is_said(scripted_pipeline: Path, tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("")
    empty = Pipeline.load(scripted_pipeline, [f"source.path={tmp_path / 'none.jsonl'}"])
    with pytest.raises(ConfigError, match="nothing to estimate: the source has no rows"):
        estimate(empty, tmp_path, 5)


def test_the_commands(scripted_pipeline: Path, tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("small: {output: 1000}\n")
    root = ("--root", tmp_path)
    text = curate("plan", scripted_pipeline, "--sample", "8", "--prices", prices, *root).stdout
    assert "generate" in text
    assert "$0.72" in text
    assert text.splitlines()[-1].startswith("in all ")
    said = curate("run", scripted_pipeline, *root).stderr
    assert re.search(r"(?m)^generate  +estimated 180 calls.*\$0.72  +was 177 calls.*\$0.71$", said)
    shown = curate("status", "small", *root).stdout
    assert re.search(r"(?m)^generate  +estimated 180 calls", shown)
    status = json.loads(curate("status", "small", "--json", *root).stdout)
    assert {pair["stage"] for pair in status["estimates"]} >= {"generate", "rationale"}
