"""Commands that look at a run hold few of its files open, however many parts it has."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from curate import history, work
from curate.audit import audit
from curate.cli import app
from curate.evaluation import judge_eval
from curate.executors import Local
from curate.loop import run
from curate.pipeline import Pipeline
from curate.replay import show_row
from curate.report import gather
from curate.report.figures import Figures
from curate.store import Store

SHARDS = 60
RUN = """
name: many
source: {jsonl: {path: PATH, shard_rows: 1, columns: {id: id, prompt: prompt, embedding: vector}}}
engines: {a: {scripted: {model: a}}, b: {scripted: {model: b}}}
stages:
  - generate: {engine: [a, b], n: 1}
  - likelihood: {engine: a}
  - combine
  - best_worst
export: null
"""
JUDGES = """
name: labelled
source: {jsonl: {path: x}}
engines: {a: {scripted: {model: a, replies: ["[[A]]", "[[B]]"]}}}
stages:
  - judge_pairs: {engine: a}
export: null
"""
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/maps").exists(), reason="no /proc here that says what is mapped"
)


def mapped() -> int:
    """How many of the store's files are mapped into this process."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return len({line.split()[-1] for line in lines if line.endswith(".arrow")})


@pytest.fixture
def most(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of mapped files after each part that is read."""
    seen: list[int] = []
    read = Store.read

    def counted(self: Store, *arguments: Any) -> Any:
        found = read(self, *arguments)
        seen.append(mapped())
        return found

    monkeypatch.setattr(Store, "read", counted)
    return seen


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("many")
    rows = [{"id": f"r{i}", "prompt": f"Number {i}?"} for i in range(SHARDS)]
    path = made / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = RUN.replace("PATH", str(path)).replace(", embedding: vector", "")
    run(Pipeline.loads(text), made, executor=Local(workers=2))
    return made


def test_report_audit_and_show_read_shard_by_shard(root: Path, most: list[int]) -> None:
    for look, least in (
        (lambda: gather(root, "many"), SHARDS),
        (lambda: audit("many", root, encoder=None), SHARDS),
        (lambda: show_row(root, "many", f"r{SHARDS - 1}"), 1),  # of the others only the ids
    ):
        most.clear()
        look()
        assert len(most) >= least
        assert max(most) <= 20


def test_judge_eval_copies_what_it_needs(
    tmp_path: Path, most: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"q": f"Number {i}?", "one": "Yes.", "two": "No.", "h": "ab"[i % 2]} for i in range(SHARDS)
    ]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "p.yaml").write_text(JUDGES)
    monkeypatch.setattr("curate.evaluation.datasets.ROWS", 1)
    monkeypatch.setattr(work, "_COPIED_AT_ONCE", 16)
    monkeypatch.setattr(work, "_MOST_MAPPED", 16)
    copy = history.live_table

    def from_here(*arguments: Any) -> Any:
        gc.collect()
        most.clear()  # what came before is the run's own
        return copy(*arguments)

    monkeypatch.setattr(history, "live_table", from_here)
    at_work: list[int] = []
    evaluate = judge_eval.evaluate_judges

    def watched(*arguments: Any) -> Any:
        at_work.append(mapped())
        return evaluate(*arguments)

    monkeypatch.setattr(judge_eval, "evaluate_judges", watched)
    options = ["--map", "prompt=q", "--map", "chosen=one", "--map", "rejected=two", "--json"]
    done = CliRunner().invoke(
        app,
        ["judge", "eval", str(path), "--human", "h", *options,
         "--pipeline", str(tmp_path / "p.yaml"), "--root", str(tmp_path)],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["labelled"] == SHARDS
    assert at_work[0] <= 2
    assert len(most) >= SHARDS
    assert max(most) <= 16 * 3 + 20  # three parts a shard, sixteen shards at once
    assert len(list((tmp_path / "store" / "judge_pairs").glob("*.json"))) == SHARDS


def test_a_held_shard_would_show(root: Path, most: list[int], monkeypatch: Any) -> None:
    """What the tests above count is there to be counted."""
    held: list[Any] = []
    monkeypatch.setattr(Figures, "add", lambda self, table: held.append(table))
    gather(root, "many")
    assert max(most) >= SHARDS
