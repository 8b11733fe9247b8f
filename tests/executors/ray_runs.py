"""The pipeline of the runs on Ray, and the bytes that a run leaves."""

from __future__ import annotations

from pathlib import Path

from curate.outcome import Outcome

PIPELINE = """
name: t
source: {jsonl: {path: PATH, shard_rows: 10}}
engines: {fast: {scripted: {delay_s: 0.5}}}
stages:
  - exact_dedup
  - generate: {engine: fast, n: 3}
  - judge: {engine: fast, score: expected}
  - combine
  - best_worst
"""


def parts(outcome: Outcome, root: Path) -> dict[str, bytes]:
    """The parts in the store by stage and key, and the dataset."""
    assert outcome.finished
    found = (root / "store").rglob("*.arrow")
    stored = {f"{f.parent.name}/{f.name.split('.')[0]}": f.read_bytes() for f in found}
    return stored | files(root)


def files(root: Path) -> dict[str, bytes]:
    """The dataset, but for its card, which names the shards' size."""
    folder = root / "runs/t/dataset"
    found = (path for path in folder.rglob("*") if path.suffix in (".arrow", ".parquet"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}
