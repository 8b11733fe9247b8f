"""Read what a run left behind: its state, its rows, and one prompt's whole history."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ConfigError, StoreError
from curate.schema import DROP, FAIL
from curate.store import Store
from curate.work import Shard, view


def manifest(root: Path, name: str) -> dict[str, Any]:
    """Return the run's manifest. Raises ConfigError where there is no such run."""
    path = root / "runs" / name / "manifest.json"
    try:
        found: dict[str, Any] = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        runs = sorted(p.parent.name for p in (root / "runs").glob("*/manifest.json"))
        raise ConfigError(
            f"no run {name!r} below {root}; runs: {', '.join(runs) or 'none'}"
        ) from None
    except orjson.JSONDecodeError:
        raise StoreError(f"{path} is damaged; run the pipeline again to rewrite it") from None
    return found


def shards(root: Path, found: dict[str, Any]) -> tuple[Store, list[Shard]]:
    """Return the store and the run's shards. Raises StoreError for a part that is gone."""
    store, result = Store(root / "store"), []
    for index, parts in enumerate(found["shards"]):
        shard = Shard(index)
        for stage, key in parts:
            record = store.find(stage, key)
            if record is None:
                raise StoreError(f"part {key[:12]} of `{stage}` is gone; run the pipeline again")
            shard = shard.advance(record)
        result.append(shard)
    return store, result


def dropped(store: Store, all_shards: list[Shard], most: int = 1000) -> list[dict[str, str]]:
    """Return up to `most` rows that were dropped or failed: id, stage, outcome and reason."""
    rows: list[dict[str, str]] = []
    for shard in all_shards:
        for depth, record in enumerate(shard.parts):
            if record.rows_in == record.rows_out or len(rows) >= most:
                continue
            before = _before(shard, depth)
            ids = view(store, before, ["id"])["id"] if depth else store.read(record, ["id"])["id"]
            for outcome, reasons in store.read(record, [DROP, FAIL]).items():
                gone = reasons.is_valid()
                for row_id, why in zip(ids.filter(gone), reasons.filter(gone), strict=True):
                    fate = "dropped" if outcome == DROP else "failed"
                    rows.append({"id": row_id.as_py(), "stage": record.stage, fate: why.as_py()})
    return rows[:most]


def trace(store: Store, all_shards: list[Shard], row_id: str) -> list[dict[str, Any]]:
    """Return what each stage wrote about the row `row_id`. Raises ConfigError if unknown."""
    for shard in all_shards:
        ids = store.read(shard.parts[0], ["id"])["id"]
        if not pc.any(pc.equal(ids, row_id)).as_py():
            continue
        steps: list[dict[str, Any]] = []
        for depth, record in enumerate(shard.parts):
            here = view(store, _before(shard, depth), ["id"])["id"] if depth else ids
            where = pc.index(here, pa.scalar(row_id)).as_py()
            if where < 0:
                break
            columns = store.read(record, record.columns)
            facts = {name: column[where].as_py() for name, column in columns.items()}
            steps.append({"stage": record.stage, **facts})
        return steps
    raise ConfigError(f"no row with id {row_id!r} in this run")


def _before(shard: Shard, depth: int) -> Shard:
    """Return the shard as it was before its part number `depth`."""
    earlier = Shard(shard.index)
    for record in shard.parts[:depth]:
        earlier = earlier.advance(record)
    return earlier
