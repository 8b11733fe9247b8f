"""Runs of the small pipeline below a root, and the files of its store."""

from __future__ import annotations

from pathlib import Path

from curate.executors.local import Local
from curate.loop import run
from curate.pipeline import Pipeline


def go(path: Path, root: Path, *changes: str, **more: object) -> None:
    """Run the pipeline with `changes`, one shard after another."""
    executor = Local(workers=1)
    try:
        run(Pipeline.load(path, changes), root, executor=executor, **more)
    finally:
        executor.close()


def files(root: Path) -> set[Path]:
    """All but what says that a sweep is at work."""
    return {p for p in (root / "store").rglob("*") if p.is_file()} - {
        root / "store/lock", root / "store/owner.json"
    }  # fmt: skip
