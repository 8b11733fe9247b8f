"""What many tests share: a small pipeline with the scripted engine, written to a folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from ruamel.yaml.parser import Parser
from small import SMALL

# vLLM compiles its first log probability, 15 s of work. Our engines say no to that, but PyTorch
# looks when it is imported, which another test may have done before.
os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")

settings.register_profile(  # shared machines are slow at times, and that is no failure
    "shared", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared")

SCRIPTED = (
    SMALL
    + """\
  - near_dedup
  - rationale: {engine: small}
  - split
"""
)


@pytest.fixture
def yaml_events(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the YAML parser has given so far: how much of a text was read."""
    given: list[object] = []
    get_event = Parser.get_event

    def counted(parser: Parser) -> object:
        given.append(get_event(parser))
        return given[-1]

    monkeypatch.setattr(Parser, "get_event", counted)
    return given


@pytest.fixture
def scripted_pipeline(tmp_path: Path) -> Path:
    """A pipeline file over 60 prompts, two of which are the same."""
    prompts = tmp_path / "prompts.jsonl"
    subjects = ["tides", "bread", "sonnets", "gears", "maps", "bees", "glass", "drums"]
    rows = [
        {"id": f"p{i}", "prompt": f"Tell me {i} facts about {subjects[i % 8]} and number {i * i}."}
        for i in range(59)
    ]
    rows.append({"id": "again", "prompt": rows[0]["prompt"]})
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / "pipeline.yaml"
    path.write_text(SCRIPTED.replace("PROMPTS", str(prompts)))
    return path
