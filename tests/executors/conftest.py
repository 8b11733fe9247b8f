"""Fixtures of the executors' tests: components of their own, and a run to hold those on Ray to."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ray_runs import PIPELINE, parts

from curate.executors import Local
from curate.loop import run
from curate.pipeline import Pipeline


@pytest.fixture
def own_components(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages and engines of this folder can be named, here and in processes that are started."""
    here = Path(__file__).parent
    monkeypatch.syspath_prepend(str(here))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(here.parents[1])]))


@pytest.fixture(scope="session")
def sixty(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Sixty rows, five of which repeat others, and an engine that takes its time."""
    path = tmp_path_factory.mktemp("source") / "prompts.jsonl"
    lines = [{"id": f"r{i}", "prompt": f"What about {i % 55}?"} for i in range(60)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Pipeline.loads(PIPELINE.replace("PATH", str(path)))


@pytest.fixture(scope="session")
def expected(sixty: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the run leaves on one machine."""
    root = tmp_path_factory.mktemp("local")
    return parts(run(sixty, root, executor=Local(workers=2)), root)
