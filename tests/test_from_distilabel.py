"""The page for people who come from distilabel: its pipelines are valid, its names exist."""

from __future__ import annotations

import re
from pathlib import Path

from curate.pipeline import Pipeline
from curate.stage import stage_registry

PAGE = Path(__file__).parents[1] / "docs/from-distilabel.md"


def test_the_pipelines_are_valid() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        Pipeline.loads(block).check()


def test_the_stages_and_their_pages_exist() -> None:
    named = re.findall(r"\[`(\w+)`\]\((stages/\w+\.md)\)", PAGE.read_text())
    assert len(named) > 8
    for kind, page in named:
        assert kind in stage_registry.names()
        assert (PAGE.parent / page).is_file(), page
