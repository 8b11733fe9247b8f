"""The pipelines that ship run to their end; the quickstart here with the scripted engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.loop import run
from curate.pipeline import Pipeline

pytest.importorskip("faiss", reason="the embed extra is not installed")
pytest.importorskip("sentence_transformers", reason="the embed extra is not installed")


@pytest.mark.parametrize(
    ("name", "changes", "rows"),
    [("quickstart", ["engines.small={scripted: {}}"], 56), ("curate_existing", [], 28)],
)
def test_it_runs_balances_and_loads(
    tmp_path: Path, name: str, changes: list[str], rows: int
) -> None:
    from datasets import load_dataset, load_from_disk

    pipeline = Pipeline.load(Path("pipelines") / f"{name}.yaml", changes)
    ended = run(pipeline, tmp_path)
    books = ended.accounting
    lost = sum(books["dropped"].values()) + sum(books["failed"].values())
    assert ended.finished
    assert books["rows_in"] == rows == books["rows_exported"] + lost
    assert 0 < books["rows_exported"] < rows
    data = load_from_disk(str(ended.folder / "dataset"))
    assert sum(len(split) for split in data.values()) == books["records"]
    again = load_dataset(str(ended.folder / "dataset"), cache_dir=str(tmp_path / "cache"))
    assert {k: len(v) for k, v in again.items()} == {k: len(v) for k, v in data.items() if len(v)}
    for record in data["train"]:
        assert record["chosen"] != record["rejected"]
