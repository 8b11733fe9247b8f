"""The loop: ingest, every stage in turn, export, and the books that must balance.

`run` is idempotent. What is committed is never done again; what is missing is done; and at
the end the rows of the source must equal those exported, dropped with a reason and failed.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from filelock import FileLock, Timeout

from curate.engines.contract import EngineSpec
from curate.errors import AccountingError, LockHeld, StoreError
from curate.executors.contract import Executor, Job
from curate.executors.local import Local
from curate.export import CardFacts, ExportSummary, export_dataset
from curate.ingest import ingest
from curate.pipeline import Pipeline
from curate.stage import Stage
from curate.stages.unique_id import UniqueId
from curate.store import Record, Store, digest, replace_synced
from curate.work import Shard, Task, view, view_columns

Listener = Callable[[dict[str, Any]], None]


@dataclass
class Stop:
    """Whether the run was asked to stop, and by which signal."""

    event: threading.Event = field(default_factory=threading.Event)
    signal: int | None = None

    def __call__(self) -> bool:
        """Return true once a stop was asked for."""
        return self.event.is_set()


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its folder, whether it finished, and the books."""

    folder: Path
    finished: bool
    accounting: dict[str, Any]
    signal: int | None = None


def run(
    pipeline: Pipeline,
    root: Path = Path(),
    *,
    executor: Executor | None = None,
    until: str | None = None,
    listener: Listener = lambda event: None,
) -> Outcome:
    """Run a pipeline below `root` (folders `runs/` and `store/`) and return how it ended.

    The same call resumes a run that was killed or stopped, and does nothing if all is done.
    Raises ConfigError before anything runs, InputError for bad data, StageError or StoreError
    for a stop that resumes, LockHeld, and AccountingError if the rows do not add up.
    """
    pipeline.check()
    folder = root / "runs" / pipeline.name
    with locked(folder), draining() as stop:
        events = _Events(folder, listener)
        workers = executor or Local()
        loop = _Loop(pipeline, Store(root / "store"), workers, stop, events)
        try:
            return loop.go(folder, until)
        finally:
            if executor is None:
                workers.close()
            events.close()


@dataclass
class _Loop:
    pipeline: Pipeline
    store: Store
    executor: Executor
    stop: Stop
    events: _Events

    def go(self, folder: Path, until: str | None) -> Outcome:
        replace_synced(folder / "pipeline.yaml", self.pipeline.dumps().encode())
        shards = ingest(self.pipeline.source, self.store)
        rows = sum(shard.parts[0].rows_in for shard in shards)
        self.events.add("source", shards=len(shards), rows=rows)
        done: list[Stage] = []
        for stage in (UniqueId(), *self.pipeline.stages):
            if self.stop():
                break
            shards, complete = self._stage(stage, shards)
            if not complete:
                break
            done.append(stage)
            if until == stage.kind:
                break
        finished = len(done) == len(self.pipeline.stages) + 1
        summary = self._export(folder, shards) if finished and self.pipeline.export else None
        accounting = account(shards, done, summary)
        manifest = {
            "format": 1,
            "name": self.pipeline.name,
            "finished": finished,
            "stages": [stage.identity() for stage in done],
            "engines": {r: spec.identity() for r, spec in self.pipeline.engines.items()},
            "accounting": accounting,
            "shards": [[[p.stage, p.key] for p in shard.parts] for shard in shards],
        }
        replace_synced(folder / "manifest.json", orjson.dumps(manifest))
        self.events.add("end", finished=finished, **accounting)
        return Outcome(folder, finished, accounting, self.stop.signal)

    def _stage(self, stage: Stage, shards: list[Shard]) -> tuple[list[Shard], bool]:
        """Bring every shard past the stage; false where the run was stopped in between."""
        keys = task_keys(stage, shards, self.pipeline)
        found = [self.store.find(stage.kind, key) for key in keys]
        if stage.view_scope() == "dataset":
            missing = not all(found) and bool(shards)
            tasks = [Task(tuple(shards), tuple(keys))] if missing else []
        else:
            tasks = [
                Task((shard,), (key,))
                for shard, key, record in zip(shards, keys, found, strict=True)
                if record is None
            ]
        left = sum(shard.rows for task in tasks for shard in task.shards)
        self.events.add(
            "stage", stage=stage.kind, shards=len(shards), todo=len(tasks),
            rows=sum(s.rows for s in shards), rows_todo=left,
        )  # fmt: skip
        by_key: dict[str, Record] = {r.key: r for r in found if r is not None}
        job = Job(stage, self.pipeline.engines, self.pipeline.seed, self.store, self.stop)
        for _, records in self.executor.map(job, tasks) if tasks else ():
            by_key.update({record.key: record for record in records})
            self.events.add(
                "part", stage=stage.kind, rows=sum(r.rows_in for r in records),
                kept=sum(r.rows_out for r in records),
                counts=dict(sum((Counter(r.counts) for r in records), Counter())),
                seconds=round(sum(r.seconds for r in records), 3),
            )  # fmt: skip
        complete = all(key in by_key for key in keys)
        if not complete:
            return shards, False
        return [s.advance(by_key[k]) for s, k in zip(shards, keys, strict=True)], True

    def _export(self, folder: Path, shards: list[Shard]) -> ExportSummary:
        card = CardFacts(
            name=self.pipeline.name,
            pipeline_yaml=self.pipeline.dumps(),
            stages=funnel(shards),
            engines=engines_used(shards),
            license=self.pipeline.license,
            seed=self.pipeline.seed,
        )
        form = self.pipeline.export or "preference"
        state = digest([form, card.pipeline_yaml, [[s.columns, s.alive] for s in shards]])
        marker, out = folder / "dataset.json", folder / "dataset"
        if marker.exists() and out.exists():
            old = orjson.loads(marker.read_bytes())
            if old["state"] == state:
                return ExportSummary(**old["summary"])
        summary = export_dataset(self.tables(shards), out, form=form, card=card)
        replace_synced(marker, orjson.dumps({"state": state, "summary": summary._asdict()}))
        self.events.add("export", form=form, records=summary.records)
        return summary

    def tables(self, shards: list[Shard]) -> Iterator[pa.Table]:
        """Yield each shard's live rows with every column."""
        return live_tables(self.store, shards)


def live_tables(store: Store, shards: list[Shard]) -> Iterator[pa.Table]:
    """Yield each shard's live rows with every column, in the order of the source."""
    for shard in shards:
        yield pa.table(view(store, shard, list(shard.columns)))


def task_keys(stage: Stage, shards: list[Shard], pipeline: Pipeline) -> list[str]:
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


def funnel(shards: list[Shard]) -> list[dict[str, Any]]:
    """Return, for the source and each stage, rows in and out and the reasons between."""
    steps: list[dict[str, Any]] = []
    for parts in zip(*(shard.parts for shard in shards), strict=True):
        totals = {
            name: dict(sum((Counter(getattr(p, name)) for p in parts), Counter[str]()))
            for name in ("dropped", "failed", "counts")
        }
        steps.append(
            {
                "stage": parts[0].stage,
                "rows_in": sum(p.rows_in for p in parts),
                "rows_out": sum(p.rows_out for p in parts),
                **totals,
            }
        )
    return steps


def engines_used(shards: list[Shard]) -> list[dict[str, str]]:
    """Return each engine that wrote a part, once, in order of first use."""
    seen: dict[str, dict[str, str]] = {}
    for shard in shards:
        for part in shard.parts:
            for role, facts in part.engines.items():
                seen.setdefault(digest([role, facts]), {"role": role, **facts})
    return list(seen.values())


def account(
    shards: list[Shard], done: list[Stage], summary: ExportSummary | None
) -> dict[str, Any]:
    """Return the books, and hold them to rows in = exported (or alive) + dropped + failed.

    Raises AccountingError where they do not balance.
    """
    rows_in = sum(shard.parts[0].rows_in for shard in shards)
    steps = funnel(shards)
    dropped = {
        f"{step['stage']}: {reason}": n for step in steps for reason, n in step["dropped"].items()
    }
    failed = {
        f"{step['stage']}: {reason}": n for step in steps for reason, n in step["failed"].items()
    }
    if summary is not None:
        dropped |= summary.rows_dropped
    kept = summary.rows_exported if summary is not None else sum(s.rows for s in shards)
    total = kept + sum(dropped.values()) + sum(failed.values())
    if total != rows_in:
        raise AccountingError(
            f"{rows_in} rows came in but {kept} kept + {sum(dropped.values())} dropped + "
            f"{sum(failed.values())} failed = {total}; please report this"
        )
    name = "rows_exported" if summary is not None else "rows_alive"
    books = {"rows_in": rows_in, name: kept, "dropped": dropped, "failed": failed}
    if summary is not None:
        books["records"] = summary.records
    return {**books, "stages": len(done)}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run's lock. Raises LockHeld if another run has it; a dead owner's lock is free."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise LockHeld(f"another run works in {folder}; wait for it or use another name") from None
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def draining() -> Iterator[Stop]:
    """Turn the first SIGINT or SIGTERM into a request to stop; a second one ends at once."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: object) -> None:
        if stop():
            raise KeyboardInterrupt
        stop.signal = number
        stop.event.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Events:
    """Append what happens to events.jsonl and tell the listener."""

    def __init__(self, folder: Path, listener: Listener) -> None:
        self._file = (folder / "events.jsonl").open("ab")
        self._listener = listener

    def add(self, event: str, **facts: Any) -> None:
        entry = {"event": event, "time": round(time.time(), 3), **facts}
        self._file.write(orjson.dumps(entry) + b"\n")
        self._file.flush()
        self._listener(entry)

    def close(self) -> None:
        self._file.close()
