"""What of a stage is to be done: the keys of its parts, and a task for each that is not there."""

from __future__ import annotations

from collections.abc import Sequence

from curate.engines.contract import EngineSpec
from curate.errors import ConfigError
from curate.pipeline import Pipeline
from curate.stage import Stage
from curate.stages.unique_id import UniqueId
from curate.store import Record, digest
from curate.work import Shard, Task, view_columns


def task_keys(stage: Stage, shards: Sequence[Shard], pipeline: Pipeline) -> list[str]:
    """Return the key of the stage's part for each shard: all that its content depends on."""
    engines: dict[str, EngineSpec] = dict(pipeline.engines)
    identity = [
        stage.identity(),
        {role: engines[role].identity() for role, _ in stage.engine_roles()},
        pipeline.seed if stage.seeded else None,
    ]
    inputs = [[s.alive, {c: s.columns[c] for c in view_columns(stage, s)}] for s in shards]
    if stage.view_scope() == "shard":
        return [digest([identity, value]) for value in inputs]
    everything = digest([identity, inputs])
    return [digest([everything, index]) for index in range(len(shards))]


def unfinished(
    stage: Stage, shards: Sequence[Shard], keys: Sequence[str], found: Sequence[Record | None]
) -> list[Task]:
    """Return the tasks that are left: one a shard, or one for all where the stage sees all."""
    if all(found):
        return []
    if stage.view_scope() == "dataset":
        return [Task(tuple(shards), tuple(keys))]
    lacking = zip(shards, keys, found, strict=True)
    return [Task((shard,), (key,)) for shard, key, record in lacking if record is None]


def to_retry(
    stage: Stage, shards: Sequence[Shard], keys: Sequence[str], found: Sequence[Record | None]
) -> list[Task]:
    """Return a task for each shard whose part is there, with rows or calls in it that failed.

    Of a stage that sees all shards none is: it calls no engine.
    """
    if stage.view_scope() == "dataset":
        return []
    there = [(s, k, r.failures) for s, k, r in zip(shards, keys, found, strict=True) if r]
    return [Task((shard,), (key,), failures=n) for shard, key, n in there if n]


def all_stages(pipeline: Pipeline) -> list[Stage]:
    """Return the stages as they run: the one that every run starts with, then the pipeline's."""
    return [UniqueId(), *pipeline.stages]


def last_place(pipeline: Pipeline, until: str | int | None) -> int:
    """Return the place in `all_stages` of the last stage to run. Raises ConfigError."""
    if until is None:
        return len(pipeline.stages)
    if until == UniqueId.kind:
        return 0
    try:
        return pipeline.place_of(until) + 1
    except ConfigError as error:
        raise ConfigError(f"until: {error}") from None
