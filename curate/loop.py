"""The loop: ingest, every stage in turn, export, and the books that must balance.

`run` is idempotent. What is committed is never done again; what is missing is done; and at
the end the rows of the source must equal those exported, dropped with a reason and failed.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from curate.books import account
from curate.engines.served import mixed_models
from curate.errors import CurateError, enough_memory
from curate.events import Events, Listener
from curate.executors import Executor, Job, Local
from curate.export.catalogue import form_identity
from curate.export.dataset import export_dataset
from curate.export.files import restore
from curate.export.records import ExportSummary, Tally
from curate.export.survey import Again
from curate.export.versions import Versions
from curate.guard import Stop, close_run, draining, in_turn, locked, open_run
from curate.ingest import ingest, saying_where
from curate.manifest import write_manifest
from curate.outcome import Outcome
from curate.pipeline import Pipeline
from curate.portion import WHOLE, Portion
from curate.provenance import card_facts
from curate.rehearsal import check_prompts
from curate.stage import Stage, check_ready
from curate.store import Record, Store, digest
from curate.tasks import all_stages, last_place, task_keys, to_retry, unfinished
from curate.work import Shard, Task, live_tables


def run(
    pipeline: Pipeline,
    root: Path | str = ".",
    *,
    executor: Executor | None = None,
    until: str | int | None = None,
    portion: Portion = WHOLE,
    retry_failed: bool = False,
    listener: Listener = lambda event: None,
) -> Outcome:
    """Run a pipeline below `root` (folders `runs/` and `store/`) and return how it ended.

    The same call resumes a run that was killed or stopped, and does nothing if all is done.

    `executor` says where tasks run; one that is passed stays open for the next run, and whoever
    made it closes it. `until` names the last stage to run by its kind, or by its number (from 1)
    where several are of that kind. A `portion` has a run folder of its own. With `retry_failed`
    each shard of a stage in which calls or rows have failed is done again, whole, and its part
    replaced if fewer fail now; without, what failed stays failed. In the main thread, and only
    there, the first SIGINT or SIGTERM lets the shards in flight end and the run return,
    and the second raises KeyboardInterrupt.

    `listener` is called with every event, as they stand in events.jsonl; from several threads,
    though never twice at once. Events are `source` (shards, rows), `stage` (shards, todo, rows,
    rows_todo), `part` (rows, kept, counts, seconds), `retry` (attempt, why), `waiting`, `trouble`
    and `stopping` (why), `export` (form, records, changes, mixed: see `mixed_models`), `end`
    (finished, and the books) and, in its place, `error` (why). In no file are `loading` and
    `loaded` (engine) and, about once a second, `progress` of the shards in flight: `rows` of those,
    and since the stage began how many `unit` ("calls" of engines, "texts" for an encoder,
    "programs" in a sandbox) were asked, ended and failed, and the tokens written.

    Raises ConfigError before anything runs, InputError for bad data, StageError or StoreError
    for a stop that resumes, LockHeld, and AccountingError if the rows do not add up. How far a
    run came that ends so stands in its manifest.
    """
    pipeline.check()
    last = last_place(pipeline, until)
    root = Path(root)
    folder = root / "runs" / portion.folder(pipeline.name)
    if isinstance(executor, Local | None) and not _ended(folder, pipeline):
        check_ready(all_stages(pipeline)[: last + 1], pipeline.engines)  # here is where they run
        check_prompts(pipeline.stages[:last])
    with locked(folder), draining() as stop:
        open_run(folder)  # before anything is looked up in the store
        events = Events(folder / "events.jsonl", listener)
        workers = executor or Local()
        store = Store(root / "store")
        loop = _Loop(pipeline, store, workers, portion, retry_failed, stop, events)
        try:
            with loop.leading(folder.parent / f".{pipeline.name}.turn"):
                outcome = loop.go(folder, last)
            if outcome.signal is None:
                close_run(folder)
            return outcome
        finally:
            if executor is None:
                workers.close()
            events.close()


def _ended(folder: Path, pipeline: Pipeline) -> bool:
    """Whether the folder holds a finished run of this pipeline: a rerun then asks for nothing."""
    try:
        manifest = orjson.loads((folder / "manifest.json").read_bytes())
        return bool(manifest["finished"]) and manifest["pipeline"] == pipeline.dumps()
    except (OSError, ValueError, KeyError, TypeError):
        return False


@dataclass
class _Loop:
    pipeline: Pipeline
    store: Store
    executor: Executor
    portion: Portion
    retry_failed: bool
    stop: Stop
    events: Events
    let_in: Callable[[], None] = lambda: None
    by_shard: bool = False  # of a share: it has come to a stage of which it does its shards alone
    shards: list[Shard] = field(default_factory=list)  # behind the last of the stages done
    done: list[Stage] = field(default_factory=list)
    said_stopping: bool = False

    @contextmanager
    def leading(self, turn: Path) -> Iterator[None]:
        """Let one share at a time do what comes before the shards: the others find it done."""
        if self.portion.of == 1:
            yield
            return

        def wait() -> None:
            why = "another share reads the source, and does what comes before the shards"
            self.events.add("waiting", stage="source", why=why)

        with in_turn(turn, self.stop, wait) as self.let_in:
            yield

    def go(self, folder: Path, last: int) -> Outcome:
        restore(folder / "dataset")
        try:
            with enough_memory("the run"):
                return self._go(folder, last)
        except Exception as error:
            self._say_how_far(folder, error)
            raise

    def _go(self, folder: Path, last: int) -> Outcome:
        with enough_memory("reading the source"):
            self.shards = ingest(self.pipeline.source, self.store, self.portion.limit, self.stop)
        rows = sum(shard.parts[0].rows_in for shard in self.shards)
        self.events.add("source", shards=len(self.shards), rows=rows)
        for stage in all_stages(self.pipeline)[: last + 1]:
            if self.stop():
                break
            with saying_where(self.pipeline.source, self.store, self.shards):
                self.shards, complete = self._stage(stage, self.shards)
            if not complete:
                break
            self.done.append(stage)
        whole = self.portion.of == 1
        finished = whole and len(self.done) == len(self.pipeline.stages) + 1
        exports = finished and self.pipeline.export is not None
        with enough_memory("the export"):
            summary = self._export(folder, self.shards) if exports else None
        accounting = account(self.shards, len(self.done), summary)
        write_manifest(folder, self.pipeline, self.done, self.shards, accounting, finished=finished)
        self.events.add("end", finished=finished, **accounting)
        stopped = len(self.done) <= last  # a signal that comes after the last stage stops nothing
        return Outcome(folder, finished, accounting, self.stop.signal if stopped else None)

    def _say_how_far(self, folder: Path, error: Exception) -> None:
        """Leave a manifest of a run that ends on an error, which goes on whatever happens here.

        Where not even the source could be read an earlier manifest says more, and stays.
        """
        why = str(error) if isinstance(error, CurateError) else f"{type(error).__name__}: {error}"
        with contextlib.suppress(Exception):  # the listener's, too: it may be what failed
            self.events.add("error", why=why)
        if not self.shards and (folder / "manifest.json").exists():
            return
        with contextlib.suppress(CurateError):
            books = account(self.shards, len(self.done), None)
            write_manifest(
                folder, self.pipeline, self.done, self.shards, books, finished=False, error=why
            )

    def _stage(self, stage: Stage, shards: list[Shard]) -> tuple[list[Shard], bool]:
        """Bring every shard past the stage; false where the run was stopped in between."""
        keys, found = self._found(stage, shards)
        if self.portion.of > 1:
            if stage.view_scope() == "shard" and (self.retry_failed or not all(found)):
                shards = self.portion.mine(shards)
                keys, found = self._found(stage, shards)
            elif self.by_shard and not all(found):
                return shards, False  # the whole run goes on from here
            if stage.view_scope() == "shard":
                self.by_shard = True
                self.let_in()  # from here on every share has shards of its own
        tasks = unfinished(stage, shards, keys, found)
        if self.retry_failed:
            tasks += to_retry(stage, shards, keys, found)
        left = sum(shard.rows for task in tasks for shard in task.shards)
        self.events.add(
            "stage", stage=stage.kind, shards=len(shards), todo=len(tasks),
            rows=sum(s.rows for s in shards), rows_todo=left,
        )  # fmt: skip
        by_key: dict[str, Record] = {r.key: r for r in found if r is not None}
        by_key |= self._do(stage, tasks)
        if not all(key in by_key for key in keys):
            return shards, False
        return [s.advance(by_key[k]) for s, k in zip(shards, keys, strict=True)], True

    def _found(self, stage: Stage, shards: list[Shard]) -> tuple[list[str], list[Record | None]]:
        keys = task_keys(stage, shards, self.pipeline)
        return keys, [self.store.find(stage.kind, key) for key in keys]

    def _do(self, stage: Stage, tasks: list[Task]) -> dict[str, Record]:
        """Run the tasks, or as many as are done before a stop; return the new records by key."""

        def stopping() -> bool:
            if self.stop() and not self.said_stopping:
                self.said_stopping = True
                why = "stopping after the shards in flight; a second Ctrl-C stops at once"
                self.events.add("stopping", stage=stage.kind, why=why)
            return self.stop()

        pipeline, tell = self.pipeline, self.events.add
        job = Job(stage, pipeline.engines, pipeline.seed, self.store, stopping, tell)
        new: dict[str, Record] = {}
        for _, records in self.executor.map(job, tasks) if tasks else ():
            new.update({record.key: record for record in records})
            self.events.add(
                "part", stage=stage.kind, rows=sum(r.rows_in for r in records),
                kept=sum(r.rows_out for r in records),
                counts=dict(sum((Counter(r.counts) for r in records), Counter())),
                seconds=round(sum(r.seconds for r in records), 3),
            )  # fmt: skip
        return new

    def _export(self, folder: Path, shards: list[Shard]) -> ExportSummary:
        card = card_facts(self.pipeline, shards)
        form = self.pipeline.export or "preference"
        made_from = [[s.columns, s.alive] for s in shards]
        state = digest([form_identity(form), card.pipeline_yaml, made_from])
        versions, tally = Versions(folder), Tally()
        summary = versions.current(state)
        if summary is None:
            versions.begin()
            rows = Again(lambda: live_tables(self.store, shards))
            summary = export_dataset(
                rows, folder / "dataset", form=form, card=card, keep=self.pipeline.keep, tally=tally
            )
            changes = versions.finish(state, summary, tally)
            self.events.add(
                "export", form=form, records=summary.records, changes=changes,
                mixed=mixed_models(card.engines),
            )  # fmt: skip
        return summary
