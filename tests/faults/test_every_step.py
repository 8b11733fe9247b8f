"""A small run with a fault at each of its steps in turn; the same command gives the same bytes.

No step is left out: every file below the root that is opened, synced, linked, renamed or removed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from harness import Calm, Runs, left

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
KILLED, STOPPED = -9, 3


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("steps")
    rows = [{"id": f"r{i}", "prompt": f"Why is {i % 6} a number?"} for i in range(7)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "steps.yaml"
    path.write_text(STEPS.replace("PROMPTS", str(folder / "prompts.jsonl")))
    return path


@pytest.fixture(scope="module")
def calm_steps(runs: Runs, pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Calm:
    root = tmp_path_factory.mktemp("calm")
    ended = runs(root, "--workers", "1", pipeline=[pipeline], at=0)
    assert ended.code == 0, ended.said
    return Calm(root, left(root, "steps"), ended.steps)


@pytest.fixture
def ends_as_ever(runs: Runs, pipeline: Path, calm_steps: Calm) -> Callable[[Path, str], None]:
    def check(root: Path, after: str) -> None:
        again = runs(root, "--workers", "2", pipeline=[pipeline])
        assert again.code == 0, f"after {after}: {again.said}"
        assert left(root, "steps") == calm_steps.left, after

    return check


def test_killed_at_every_step(
    runs: Runs,
    pipeline: Path,
    calm_steps: Calm,
    ends_as_ever: Callable[[Path, str], None],
    tmp_path: Path,
) -> None:
    for at in range(1, len(calm_steps.steps) + 1):
        root = tmp_path / str(at)
        root.mkdir()
        ended = runs(root, "--workers", "1", pipeline=[pipeline], at=at)
        assert ended.code == KILLED, f"step {at}: {ended.said}"
        ends_as_ever(root, f"SIGKILL at step {at}")


def kinds(steps: Sequence[str]) -> list[str]:
    """Return each kind of step once: what is done to which file, less its key or random name."""
    named = re.compile(r"/\.?[0-9a-f]{8,}|\.[0-9a-f]{8}$|-[0-9a-f]{8,}")
    return list(dict.fromkeys(named.split(step)[0] for step in steps))


@pytest.mark.parametrize("what", ["ENOSPC", "EIO"])
def test_a_disk_that_refuses_every_kind_of_step(
    runs: Runs,
    pipeline: Path,
    calm_steps: Calm,
    ends_as_ever: Callable[[Path, str], None],
    tmp_path: Path,
    what: str,
) -> None:
    for number, kind in enumerate(kinds(calm_steps.steps)):
        root = tmp_path / str(number)
        root.mkdir()
        ended = runs(root, "--workers", "1", pipeline=[pipeline], at=1, of=kind, what=what)
        assert ended.code in (0, STOPPED), f"{kind}: {ended.said}"
        assert "Traceback" not in ended.said, f"{kind}: {ended.said}"
        if ended.code:
            assert "run the same command again" in ended.said, kind
        else:  # rubbish that stays is no reason to stop
            assert kind.startswith("os.remove store/"), kind
        ends_as_ever(root, f"{what} at {kind}")
