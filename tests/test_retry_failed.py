"""Calls that failed below `max_error_rate`: they stay failed until a run is told to retry."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from command_line import curate
from small import SMALL

from curate.engines.scripted import Scripted, ScriptedEngine
from curate.errors import StageError
from curate.executors.contract import Job
from curate.executors.local import Local
from curate.executors.remote import Worker, records, request
from curate.garbage import sweep
from curate.loop import run
from curate.outcome import Outcome
from curate.pipeline import Pipeline
from curate.portion import Portion
from curate.store import Record, Store
from curate.work import Task

Went = tuple[Outcome, dict[str, int], Counter[str]]
"""How a run ended, the shards that each stage had to do, and what they counted."""


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A pipeline over five shards, whose engine fails one call in 40 and no shard is given up."""
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(f'{{"id": "p{i}", "prompt": "Why {i}?"}}\n' for i in range(40)))
    path = tmp_path / "small.yaml"
    path.write_text(
        SMALL.replace("PROMPTS", str(prompts))
        .replace("scripted: {}", "scripted: {fail_every: 40}")
        .replace("n: 3}", "n: 3, max_error_rate: 0.5}")
        .replace("likelihood: {engine: small}", "likelihood: {engine: small, max_error_rate: 0.5}")
    )
    return path


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let one call in so many fail from now on (0: none); the engine's identity stays."""
    load = ScriptedEngine.__init__

    def now(every: int) -> None:
        def loaded(self: ScriptedEngine, spec: Scripted) -> None:
            load(self, spec.model_copy(update={"fail_every": every}))

        monkeypatch.setattr(ScriptedEngine, "__init__", loaded)

    return now


@pytest.fixture
def mending(failing: Callable[[int], None]) -> Callable[[], None]:
    """Let every call be answered from now on."""
    return lambda: failing(0)


class Sending(Local):
    """Sends each task to a worker as JSON, as to another process or host."""

    def each(self, job: Job, tasks: Sequence[Task]) -> Iterator[tuple[Task, list[Record]]]:
        worker = Worker()
        for number, task in enumerate(tasks):
            yield task, records(json.loads(worker.answer(request(job, task, number))))


def go(path: Path, root: Path, kind: type[Local] = Local, **how: Any) -> Went:
    todo: dict[str, int] = {}
    counts = Counter[str]()

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "stage":
            todo[event["stage"]] = event["todo"]
        elif event["event"] == "part":
            counts.update(event["counts"])

    executor = kind(workers=2)
    try:
        ended = run(Pipeline.load(path), root, executor=executor, listener=listen, **how)
    finally:
        executor.close()
    return ended, todo, counts


def generated(root: Path) -> dict[str, bytes]:
    """The parts of `generate` that count, by key."""
    store = Store(root / "store")
    keys = [path.stem for path in (root / "store" / "generate").glob("*.json")]
    found = {key: store.find("generate", key) for key in keys}
    return {k: (store.root / r.file).read_bytes() for k, r in found.items() if r is not None}


@pytest.mark.parametrize("kind", [Local, Sending])
def test_failures_stay_until_a_run_is_told_to_retry(
    pipeline: Path, tmp_path: Path, kind: type[Local], mending: Callable[[], None]
) -> None:
    _, _, first = go(pipeline, tmp_path)
    assert first["errors"] > 0
    before = generated(tmp_path)
    mending()
    assert sum(go(pipeline, tmp_path)[1].values()) == 0  # a rerun does nothing

    ended, todo, again = go(pipeline, tmp_path, kind, retry_failed=True)
    assert ended.finished
    assert again["errors"] == 0
    assert 0 < todo["generate"] < 5  # the shards without a failure stay
    after = generated(tmp_path)
    changed = {key for key in before if before[key] != after[key]}
    assert before.keys() == after.keys()
    assert len(changed) == todo["generate"]
    assert todo["likelihood"] >= todo["generate"]  # and what depends on the others

    calm, todo, counts = go(pipeline, tmp_path, retry_failed=True)
    assert sum(todo.values()) == counts["errors"] == 0  # there is nothing to retry any more
    assert calm.accounting == ended.accounting

    other = tmp_path / "other"
    go(pipeline, other)  # the engine never failed here
    assert generated(other) == after


def test_a_call_that_fails_again_is_failed_again(pipeline: Path, tmp_path: Path) -> None:
    first, _, counts = go(pipeline, tmp_path)
    before = generated(tmp_path)
    again, todo, same = go(pipeline, tmp_path, retry_failed=True)
    assert todo["generate"] > 0
    assert 0 < same["errors"] <= counts["errors"]
    assert generated(tmp_path) == before
    assert again.accounting == first.accounting


def test_nothing_is_lost_where_the_engine_is_worse_than_before(
    pipeline: Path, tmp_path: Path, failing: Callable[[int], None]
) -> None:
    first, _, _ = go(pipeline, tmp_path)
    before = generated(tmp_path)
    failing(5)
    ended, todo, counts = go(pipeline, tmp_path, retry_failed=True)
    assert todo["generate"] > 0
    assert counts["errors"] > 0
    assert generated(tmp_path) == before
    assert ended.accounting == first.accounting
    failing(1)
    with pytest.raises(StageError, match="max_error_rate"):
        go(pipeline, tmp_path, retry_failed=True)
    assert generated(tmp_path) == before
    again, todo, _ = go(pipeline, tmp_path)
    assert sum(todo.values()) == 0
    assert again.accounting == first.accounting


def test_the_next_sweep_takes_what_was_replaced(
    pipeline: Path, tmp_path: Path, mending: Callable[[], None]
) -> None:
    go(pipeline, tmp_path)
    mending()
    _, todo, _ = go(pipeline, tmp_path, retry_failed=True)
    folder = tmp_path / "store" / "generate"
    assert len(list(folder.glob("*.arrow"))) == 5 + todo["generate"]
    sweep(tmp_path)
    assert len(list(folder.glob("*.arrow"))) == 5


def test_the_command_says_it_and_does_it(pipeline: Path, tmp_path: Path) -> None:
    root = ("--root", tmp_path)
    assert curate("run", pipeline, *root).returncode == 0
    idle = curate("run", pipeline, *root)
    assert idle.returncode == 0
    assert "(as it was)" in idle.stdout + idle.stderr
    assert "--retry-failed" in curate("run", "--help").stdout
    told = curate("run", pipeline, *root, "--retry-failed", "--json")
    assert told.returncode == 0
    events = [line for line in told.stdout.splitlines() if '"stage":"generate"' in line]
    assert events
    assert '"todo":0' not in events[0]


def test_a_share_retries_its_own_shards(
    pipeline: Path, tmp_path: Path, mending: Callable[[], None]
) -> None:
    go(pipeline, tmp_path)
    before = generated(tmp_path)
    mending()
    changed = [before]
    for number in (2, 1):
        portion = Portion(None, number, 2)
        _, todo, _ = go(pipeline, tmp_path, retry_failed=True, portion=portion)
        changed.append(generated(tmp_path))
        assert sum(changed[-2][k] != changed[-1][k] for k in before) == todo["generate"] > 0
    ended, todo, counts = go(pipeline, tmp_path)
    assert todo["generate"] == counts["errors"] == 0
    assert ended.finished
