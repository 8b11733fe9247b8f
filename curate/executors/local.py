"""One machine: threads for what Arrow computes, one child process for engines that need it.

Arrow's kernels and the disk release the GIL, so threads keep the cores busy. An engine that
holds a GPU lives in a child, so that the child's exit frees the memory; it stays up for as
long as the following stages use the same engines. Several shards are in flight at once, so
the tail of one overlaps the head of the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace

from curate.engines.contract import Engine, EngineSpec
from curate.executors.child import Child
from curate.executors.contract import Job
from curate.store import Record, digest
from curate.work import Task, run_task

Run = Callable[[Task], list[Record]]


class Local:
    """Run tasks on this machine, `workers` shards at a time."""

    def __init__(self, workers: int = 2) -> None:
        if workers < 1:
            raise ValueError("workers must be at least 1")
        self.workers = workers
        self._child: Child | None = None
        self._engines: dict[str, Engine] = {}

    def map(self, job: Job, tasks: Sequence[Task]) -> Iterator[tuple[Task, list[Record]]]:
        """Run the tasks; see `Executor.map`."""
        roles = {role for role, _ in job.stage.engine_roles()}
        specs = {role: job.engines[role] for role in sorted(roles)}
        run = self._in_child(job, specs) if any(s.isolated for s in specs.values()) else None
        if run is None:
            engines = {role: self._load(spec) for role, spec in specs.items()}

            def run(task: Task) -> list[Record]:
                return run_task(job.store, job.stage, task, engines, job.seed)

        yield from in_flight(run, tasks, self.workers, job.stopping)

    def close(self) -> None:
        """End the child and close every engine."""
        if self._child is not None:
            self._child.close()
            self._child = None
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()

    def _load(self, spec: EngineSpec) -> Engine:
        key = digest(spec.model_dump(mode="json") | {"kind": spec.kind})
        if key not in self._engines:
            self._engines[key] = spec.load()
        return self._engines[key]

    def _in_child(self, job: Job, specs: dict[str, EngineSpec]) -> Run:
        wanted = digest([spec.model_dump(mode="json") for spec in specs.values()])
        if self._child is not None and (self._child.key != wanted or not self._child.alive):
            self._child.close()
            self._child = None
        if self._child is None:
            self._child = Child(wanted)
        child, light = self._child, replace(job, engines=specs)
        return lambda task: child.run(light, task)


def in_flight(
    run: Run, tasks: Sequence[Task], workers: int, stopping: Callable[[], bool]
) -> Iterator[tuple[Task, list[Record]]]:
    """Run tasks on threads, never more than `workers` at once, and yield them as they end."""
    waiting = iter(tasks)
    running: dict[Future[list[Record]], Task] = {}
    error: BaseException | None = None
    with ThreadPoolExecutor(workers, thread_name_prefix="shard") as pool:
        while True:
            while error is None and not stopping() and len(running) < workers:
                task = next(waiting, None)
                if task is None:
                    break
                running[pool.submit(run, task)] = task
            if not running:
                break
            done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                task = running.pop(future)
                if future.exception() is None:
                    yield task, future.result()
                elif error is None:
                    error = future.exception()
    if error is not None:
        raise error
