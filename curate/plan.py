"""What a run would do: per stage done, n of m to do, or waiting, and why in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from curate.ingest import ingest
from curate.loop import task_keys
from curate.pipeline import Pipeline
from curate.stage import Stage
from curate.stages.unique_id import UniqueId
from curate.store import Record, Store


def plan(pipeline: Pipeline, root: Path) -> list[dict[str, Any]]:
    """Return one entry a stage: `stage`, `shards`, `done`, `state` and `why`.

    The source is read (a plan needs its shards); no stage runs. A stage behind one that has
    work to do is `waiting`: what it must redo depends on what comes out before it.
    """
    pipeline.check()
    store = Store(root / "store")
    shards = ingest(pipeline.source, store)
    before = _earlier(root / "runs" / pipeline.name / "manifest.json")
    steps: list[dict[str, Any]] = []
    blocked = False
    for stage in (UniqueId(), *pipeline.stages):
        if blocked:
            steps.append({"stage": stage.kind, "state": "waiting", "why": _why(stage, before)})
            continue
        keys = task_keys(stage, shards, pipeline)
        found: list[Record | None] = [store.find(stage.kind, key) for key in keys]
        done = sum(record is not None for record in found)
        blocked = done < len(keys)
        steps.append(
            {
                "stage": stage.kind,
                "shards": len(keys),
                "done": done,
                "rows_todo": sum(s.rows for s, r in zip(shards, found, strict=True) if r is None),
                "state": "todo" if blocked else "done",
                "why": _why(stage, before) if blocked else "",
            }
        )
        if not blocked:
            shards = [s.advance(r) for s, r in zip(shards, found, strict=True) if r is not None]
    return steps


def _earlier(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the stage identities of the last run by kind; empty where there is none."""
    try:
        stages = orjson.loads(path.read_bytes())["stages"]
    except (OSError, ValueError, KeyError):
        return {}
    found: dict[str, list[dict[str, Any]]] = {}
    for identity in stages:
        found.setdefault(identity["kind"], []).append(identity)
    return found


def _why(stage: Stage, before: dict[str, list[dict[str, Any]]]) -> str:
    """Say what differs from the last run, field by field."""
    earlier, now = before.get(stage.kind), stage.identity()
    if not earlier:
        return "never run"
    if now in earlier:
        return "unfinished, or what comes before it changed"
    old = earlier[0]
    defaults = {name: info.default for name, info in type(stage).model_fields.items()}
    changes = [
        f"{name}: {old.get(name, defaults.get(name))} → {now.get(name, defaults.get(name))}"
        for name in sorted({*old, *now})
        if old.get(name) != now.get(name)
    ]
    return "; ".join(changes)
