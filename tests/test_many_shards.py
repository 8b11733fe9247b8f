"""A stage that sees all shards of a very large run does not map every part into memory at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curate import history, work
from curate.executors.local import Local
from curate.loop import run
from curate.pipeline import Pipeline
from curate.stage import Context, Stage
from curate.work import live_tables

SEEN: list[int] = []


class CountsMaps(Stage, name="counts_maps_in_tests"):
    """Write each row's place among all, and look how many parts are mapped."""

    scope = "dataset"
    needs = ("prompt",)
    writes = ("place",)

    def apply(self, view: pa.Table, ctx: Context) -> dict[str, pa.Array]:
        maps = Path("/proc/self/maps").read_text().splitlines()
        SEEN.append(len({line for line in maps if line.endswith(".arrow")}))
        turns = view["prompt"].combine_chunks().flatten()
        return {"place": pc_text(turns)}


def pc_text(turns: pa.Array) -> pa.Array:
    return pa.array([f"{i} {text}" for i, text in enumerate(turns.field("content").to_pylist())])


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc here")
def test_parts_of_many_shards_are_copied_and_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "rows.jsonl"
    rows = [{"id": f"r{i}", "prompt": f"Number {i}?"} for i in range(160)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = "columns: {id: id, prompt: prompt}"
    text = (
        f"name: many\nsource: {{jsonl: {{path: {source}, shard_rows: 1, {columns}}}}}\n"
        "stages: [counts_maps_in_tests]\nexport: null\n"
    )
    found: list[list[Any]] = []
    for most in (16_384, 80):
        monkeypatch.setattr(work, "_MOST_MAPPED", most)
        root = tmp_path / str(most)
        run(Pipeline.loads(text), root, executor=Local(workers=1))
        store, shards = history.shards(root, history.manifest(root, "many"))
        found.append([p for t in live_tables(store, shards) for p in t["place"].to_pylist()])
    assert SEEN[0] >= 160
    assert SEEN[1] <= 70
    assert found[0] == found[1] == [f"{i} Number {i}?" for i in range(160)]
