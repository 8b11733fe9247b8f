"""A server that comes to answer as another model between two runs is said, not mixed in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openai_answers import answer
from serving import address, serving

from curate.engines.served import mixed_models
from curate.executors import Local
from curate.loop import run
from curate.pipeline import Pipeline
from curate.report import gather
from curate.report.findings import findings

PIPELINE = """
name: nights
source: {jsonl: {path: "FOLDER/*.jsonl", columns: {id: id, prompt: prompt}}}
engines: {gen: {openai: {model: alias, base_url: "URL/v1", api_key_env: ""}}}
stages:
  - generate: {engine: gen, n: 1}
export: candidates
"""


def test_only_an_engine_with_several_names_is_named() -> None:
    one = {"role": "a", "model": "m", "served": "M1"}
    other = {"role": "b", "served": "M2"}
    assert mixed_models([one, one | {"version": "2"}, other, {"role": "c"}]) == []
    (said,) = mixed_models([one, other, one | {"served": "M2"}])
    assert said.startswith("the server of the engine a answered as M1 and as M2: ")


def test_the_run_the_card_and_the_report_say_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    pytest.importorskip("openai", reason="needs the extra `openai`")
    serves = "M1"

    def act(handler: Any, body: Any) -> None:
        handler.send(200, answer() | {"model": serves})

    def night(name: str) -> list[str]:
        row = {"id": name, "prompt": f"Why is {name}?"}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
        events: list[dict[str, Any]] = []
        executor = Local(workers=1)
        run(pipeline, tmp_path, executor=executor, listener=events.append)
        executor.close()
        (written,) = (event for event in events if event["event"] == "export")
        return list(written["mixed"])

    def card() -> str:
        return (tmp_path / "runs/nights/dataset/README.md").read_text(encoding="utf-8")

    with serving(act) as server:
        text = PIPELINE.replace("FOLDER", str(tmp_path)).replace("URL", address(server))
        pipeline = Pipeline.loads(text)
        assert night("a") == []
        assert "answers of several models" not in card()
        serves = "M2"
        (said,) = night("b")
    assert "answered as M1 and as M2" in said
    assert "- The server of the engine gen answered as M1 and as M2: answers of several" in card()
    assert said in [finding.text for finding in findings(gather(tmp_path, "nights"))]
