"""Any history of additions, runs, deaths, changes, damage and sweeps ends in the same dataset."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from curate import disk
from curate.executors.local import Local
from curate.garbage import sweep
from curate.guard import OPEN
from curate.loop import run
from curate.pipeline import Pipeline

PIPELINE = """\
name: history
source: {jsonl: {path: "FOLDER/*.jsonl", shard_rows: 3, columns: {id: id, prompt: prompt}}}
engines: {small: {scripted: {}}}
stages:
  - exact_dedup
  - generate: {engine: small, n: 2}
  - likelihood: {engine: small}
  - combine
  - min_score: {at_least: THRESHOLD}
  - near_dedup
export: candidates
"""


class Killed(BaseException):
    """Nothing in the package catches this, as nothing catches SIGKILL."""


class History(RuleBasedStateMachine):
    """`rows` is the model: what the source holds. A fresh run over it is what must come out."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.source = self.root / "prompts"
        self.source.mkdir()
        self.rows: list[str] = []
        self.threshold = -4.0
        self.done: tuple[int, float] | None = None  # what the last finished run was of

    def go(self, root: Path) -> tuple[int, dict[str, str]]:
        """Run below `root`; return how many shards of stages there were to do, and the dataset."""
        todo = []

        def listen(event: dict[str, Any]) -> None:
            if event["event"] == "stage":
                todo.append(event["todo"])

        text = PIPELINE.replace("FOLDER", str(self.source))
        pipeline = Pipeline.loads(text.replace("THRESHOLD", str(self.threshold)))
        ended = run(pipeline, root, executor=Local(workers=2), listener=listen)
        books = ended.accounting
        lost = sum(books["dropped"].values()) + sum(books["failed"].values())
        assert ended.finished
        assert books["rows_in"] == len(self.rows) == books["rows_exported"] + lost
        folder = ended.folder / "dataset"
        files = [path for path in folder.rglob("*") if path.is_file()]
        return sum(todo), {
            str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
        }

    @initialize(rows=st.lists(st.integers(0, 9), min_size=1, max_size=7))
    def first(self, rows: list[int]) -> None:
        self.write("0.jsonl", rows)

    def write(self, name: str, rows: list[int]) -> None:
        with (self.source / name).open("a") as file:
            for number in rows:
                row = {"id": f"r{len(self.rows)}", "prompt": f"What is {number} to {number**3}?"}
                file.write(json.dumps(row) + "\n")
                self.rows.append(row["prompt"])

    @rule(rows=st.lists(st.integers(0, 30), min_size=1, max_size=5))
    def a_new_file(self, rows: list[int]) -> None:
        self.write(f"{len(list(self.source.iterdir()))}.jsonl", rows)

    @rule(rows=st.lists(st.integers(0, 30), min_size=1, max_size=5))
    def new_lines(self, rows: list[int]) -> None:
        self.write("0.jsonl", rows)

    @rule(threshold=st.sampled_from([-4.0, -2.5, -1.5]))
    def another_threshold(self, threshold: float) -> None:
        self.threshold = threshold

    @rule()
    def run_to_the_end(self) -> None:
        todo, found = self.go(self.root)
        fresh = Path(tempfile.mkdtemp())
        try:
            assert self.go(fresh)[1] == found
        finally:
            shutil.rmtree(fresh)
        state = (len(self.rows), self.threshold)
        assert self.done != state or todo == 0  # nothing is done twice
        self.done = state
        assert not (self.root / "runs/history" / OPEN).exists()

    @rule(at=st.integers(0, 40), half=st.booleans())
    def a_run_that_is_killed(self, at: int, half: bool) -> None:
        """From its write number `at` on, nothing more reaches the disk."""
        writes, real = [0], disk.write_synced

        def write(path: Path, *pieces: Any) -> None:
            writes[0] += 1
            if writes[0] > at:
                if half and writes[0] == at + 1:
                    whole = b"".join(map(bytes, pieces))
                    path.write_bytes(whole[: len(whole) // 2])
                raise Killed
            real(path, *pieces)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(disk, "write_synced", write)
            try:
                self.go(self.root)
                self.done = (len(self.rows), self.threshold)
            except Killed:
                if writes[0] > 1 and (self.root / "runs/history").exists():
                    self.done = None  # it may have replaced the manifest, or begun to

    @rule(place=st.integers(0, 10**6), cut=st.booleans())
    def damage(self, place: int, cut: bool) -> None:
        parts = sorted((self.root / "store").glob("*/*.arrow"))
        if parts:
            part = parts[place % len(parts)]
            raw = part.read_bytes()
            at = place % max(len(raw), 1)
            part.write_bytes(raw[:at] if cut else raw[:at] + b"\xff" + raw[at + 1 :])
            self.done = None

    @rule(dry_run=st.booleans())
    def take_room_back(self, dry_run: bool) -> None:
        before = set((self.root / "store").glob("*/*.json"))
        swept = sweep(self.root, dry_run=dry_run)
        after = set((self.root / "store").glob("*/*.json"))
        assert len(before - after) == (0 if dry_run else swept.parts)
        assert sweep(self.root, dry_run=True).parts == (swept.parts if dry_run else 0)

    @invariant()
    def a_finished_dataset_is_whole(self) -> None:
        mark = self.root / "runs/history/dataset.json"
        if mark.exists() and json.loads(mark.read_bytes())["state"]:
            assert (self.root / "runs/history/dataset/dataset_dict.json").exists()

    def teardown(self) -> None:
        self.run_to_the_end()
        shutil.rmtree(self.root)


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=12, stateful_step_count=10, deadline=None)
