"""manifest.json: how far a run came, with which pipeline, and the parts that must stay for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from curate.counters import counted
from curate.disk import replace_synced
from curate.pipeline import Pipeline
from curate.stage import Stage
from curate.work import Shard

FORMAT = 1


def write_manifest(
    folder: Path,
    pipeline: Pipeline,
    done: Sequence[Stage],
    shards: Sequence[Shard],
    accounting: Mapping[str, Any],
    *,
    finished: bool,
    error: str | None = None,
) -> None:
    """Put the manifest into the run's folder, and the pipeline beside it for people to read.

    The manifest holds the pipeline too: whoever reads what the run did must not meet another
    pipeline's text, and two files cannot be replaced at once. Until a run finishes, its manifest
    goes on naming the parts of the last one that did (`kept`): it may yet come back to them.
    """
    text = pipeline.dumps()
    manifest = {
        "format": FORMAT,
        "name": pipeline.name,
        "finished": finished,
        "stages": [stage.identity() for stage in done],
        "seed": pipeline.seed,
        "engines": {role: spec.identity() for role, spec in pipeline.engines.items()},
        "accounting": accounting,
        "counts": counted(shards),
        "shards": [[[part.stage, part.key] for part in shard.parts] for shard in shards],
        "pipeline": text,
    }
    if error is not None:
        manifest["error"] = error
    if not finished:
        manifest["kept"] = _of_last_finished(folder)
    replace_synced(folder / "pipeline.yaml", text.encode())
    replace_synced(folder / "manifest.json", orjson.dumps(manifest))


def parts_named(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (stage, key) of every part that must stay. Raises as damaged data happen to."""
    for parts in (*manifest["shards"], manifest.get("kept", ())):
        yield from ((stage, key) for stage, key in parts)


def _of_last_finished(folder: Path) -> list[list[str]]:
    """Return (stage, key) of each part of the last run here that finished; none without one."""
    try:
        found = orjson.loads((folder / "manifest.json").read_bytes())
        parts = parts_named(found) if found["finished"] else map(tuple, found.get("kept", ()))
        return [[stage, key] for stage, key in dict.fromkeys(parts)]
    except (OSError, ValueError, KeyError, TypeError):
        return []
