"""Where tasks run. Executors schedule; `work.run_task` does the work and commits the parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from curate.engines.contract import EngineSpec
from curate.stage import Stage
from curate.store import Record, Store
from curate.work import Task


@dataclass(frozen=True)
class Job:
    """One stage over many tasks, with the engines it names and the run's seed."""

    stage: Stage
    engines: Mapping[str, EngineSpec]
    seed: int
    store: Store
    stopping: Callable[[], bool] = lambda: False  # true once the run is asked to stop


class Executor(Protocol):
    """Runs tasks; yields each task with its records as it is committed, in any order."""

    def map(self, job: Job, tasks: Sequence[Task]) -> Iterator[tuple[Task, list[Record]]]:
        """Run the tasks, and hand out no new ones once `job.stopping()`.

        Raises the first error, after the tasks in flight have ended.
        """

    def close(self) -> None:
        """End every worker and free every engine."""
