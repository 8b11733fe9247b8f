"""Where tasks run. Executors schedule; `work.run_task` does the work and commits the parts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from pydantic import Field

from curate.component import Component, Registry, Runtime
from curate.engines.contract import EngineSpec
from curate.errors import enough_memory
from curate.executors.divided import in_pieces
from curate.stage import Stage
from curate.store import Record, Store
from curate.work import Task


def _quiet(event: str, **facts: Any) -> None:
    """Tell nobody."""


@contextmanager
def loading(tell: Callable[..., None], role: str) -> Iterator[None]:
    """Tell that an engine is loading and, however that ends, that it no longer is."""
    tell("loading", engine=role)
    try:
        yield
    finally:
        tell("loaded", engine=role)


@dataclass(frozen=True)
class Job:
    """One stage over many tasks, with the engines it names and the run's seed."""

    stage: Stage
    engines: Mapping[str, EngineSpec]
    seed: int
    store: Store
    stopping: Callable[[], bool] = lambda: False  # true once the run is asked to stop
    tell: Callable[..., None] = _quiet  # record an event: a name and facts; from any thread


executor_registry: Registry[Executor] = Registry("executor")


class Executor(Component):
    """Runs tasks; subclass with `class Mine(Executor, name="mine")`.

    An executor schedules, and `work.run_task` does the work: it commits a task's parts wherever
    it runs, so that every executor leaves the same bytes. An executor must hand out each task,
    again where its worker is lost; yield it with its records once they are committed, and only
    then; hand out no new one once `job.stopping()`; and end on the first error, never wait for a
    worker that is gone. Workers must see the store's folder. It serves runs one after another.

    Fields are its configuration; what it holds (workers, engines) goes into private
    attributes, is made when first needed and freed by `close`.
    """

    registry: ClassVar[Registry[Any] | None] = executor_registry

    workers: Runtime[int] = Field(default=4, ge=1)
    """Shards in flight at once."""
    divide_from: Runtime[int] = Field(default=1_000_000, ge=1)
    """From so many rows on a stage that sees all rows is done in pieces, if it can be."""

    def map(self, job: Job, tasks: Sequence[Task]) -> Iterator[tuple[Task, list[Record]]]:
        """Run the tasks; yield each with its records as it is committed, in any order.

        A task over all rows is divided where there are many and the stage says how. Hands out no
        new tasks once `job.stopping()`. Raises the first error, after the tasks in flight have
        ended.
        """
        with enough_memory(f"stage `{job.stage.kind}`"):
            yield from self._map(job, tasks)

    def _map(self, job: Job, tasks: Sequence[Task]) -> Iterator[tuple[Task, list[Record]]]:
        division = job.stage.division() if job.stage.view_scope() == "dataset" else None
        rows = sum(shard.rows for task in tasks for shard in task.shards)
        if division is None or rows < self.divide_from:
            yield from self.each(job, tasks)
            return
        each = partial(self.each, job)
        for task in tasks:
            yield from in_pieces(each, division, job.store, task, 4 * self.workers, job.seed)

    @abstractmethod
    def each(self, job: Job, tasks: Sequence[Task]) -> Iterator[tuple[Task, list[Record]]]:
        """Run these tasks as they are; otherwise as `map`."""

    @abstractmethod
    def close(self) -> None:
        """End every worker and free every engine."""
