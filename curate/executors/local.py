"""One machine: threads for what Arrow computes, one child process for engines that need it.

Arrow's kernels and the disk release the GIL, so threads keep the cores busy. An engine that
holds a GPU lives in a child, so that the child's exit frees the memory; it stays up for as
long as the following stages use the same engines. Several shards are in flight at once, so
the tail of one overlaps the head of the next.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from pathlib import Path

from pydantic import Field, PrivateAttr

from curate.component import Runtime
from curate.engines.contract import Engine, EngineSpec, Telling
from curate.errors import ConfigError
from curate.executors.child import Child, ChildDied
from curate.executors.contract import Executor, Job, loading
from curate.meter import Meters, Sums, given_up, in_one, since, so_far, total
from curate.store import Record, digest
from curate.work import Task, run_task

Run = Callable[[Task], list[Record]]
PROGRESS_EVERY = 1.0  # seconds between words about shards in flight


class Local(Executor, name="local"):
    """Run tasks on this machine, `workers` shards at a time for each copy of an engine."""

    attempts: Runtime[int] = Field(default=3, ge=1)
    """How often a task is started before the death of its process fails the run."""
    replicas: Runtime[int | None] = Field(default=None, ge=1)
    """Processes that each hold a copy of the engines; unset: one for each GPU, or for each
    group of `tensor_parallel_size` GPUs. Each sees its own GPUs alone."""

    _children: dict[int, Child] = PrivateAttr(default_factory=dict)
    _engines: dict[str, Engine] = PrivateAttr(default_factory=dict)
    _starting: threading.Lock = PrivateAttr(default_factory=threading.Lock)
    _ended: list[Sums] = PrivateAttr(default_factory=list)  # of children that are gone
    _meters: Meters = PrivateAttr(default_factory=Meters)  # of stages in this process

    def each(self, job: Job, tasks: Sequence[Task]) -> Iterator[tuple[Task, list[Record]]]:
        """Run the tasks; see `Executor.each`."""
        roles = {role for role, _ in job.stage.engine_roles()}
        light = replace(job, engines={role: job.engines[role] for role in sorted(roles)})
        if any(spec.isolated for spec in light.engines.values()):
            shares = gpu_shares(light.engines.values(), self.replicas)
            run, at_once = self._in_children(light, shares), self.workers * len(shares)
        else:
            run, at_once = self._in_threads(light), self.workers
        say = Progress(job, self._so_far)
        yield from in_flight(run, tasks, at_once, job.stopping, say)

    def close(self) -> None:
        """End the children and close every engine."""
        for child in self._children.values():
            child.close()
        self._children.clear()
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()
        self._ended.clear()

    def _so_far(self) -> Sums:
        """Return the sums of all work that was ever done here; they never fall."""
        with self._starting:
            children = [child.so_far for child in self._children.values()]
            here = so_far(self._engines.values(), self._meters)
            return total([here, *children, *self._ended])

    def _in_threads(self, job: Job) -> Run:
        engines = {}
        for role, spec in job.engines.items():
            key = _key([spec])
            if key not in self._engines:
                with loading(partial(job.tell, stage=job.stage.kind), role):
                    self._engines[key] = spec.load()
            engines[role] = engine = self._engines[key]
            if isinstance(engine, Telling):
                engine.listen(_teller(job, role))
        store, stage, seed = job.store, job.stage, job.seed
        return lambda task: run_task(store, stage, task, engines, seed, self._meters)

    def _in_children(self, job: Job, shares: Sequence[str | None]) -> Run:
        """Run each task in the least busy child; one that dies is replaced, its tasks run again."""
        busy = [0] * len(shares)

        def run(task: Task) -> list[Record]:
            with self._starting:
                place = busy.index(min(busy))
                busy[place] += 1
            try:
                return attempt(task, place)
            finally:
                with self._starting:
                    busy[place] -= 1

        def attempt(task: Task, place: int) -> list[Record]:
            number = 1
            while True:
                try:
                    return self._child_at(place, job, shares[place]).run(job, task)
                except ChildDied as error:
                    if number >= self.attempts or job.stopping():
                        raise ChildDied(f"`{job.stage.kind}`, attempt {number}: {error}") from None
                    why = str(error).partition("\n")[0]
                    job.tell("retry", stage=job.stage.kind, attempt=number, why=why)
                    number += 1

        return run

    def _child_at(self, place: int, job: Job, gpus: str | None) -> Child:
        wanted = _key(list(job.engines.values()))
        with self._starting:
            child = self._children.get(place)
            if child is not None and (child.key != wanted or not child.alive):
                for old in [child] if child.key == wanted else list(self._children.values()):
                    old.close()  # other engines: every GPU is needed anew
                gone = [c.so_far for c in self._children.values() if not c.alive]
                self._ended += map(given_up, gone)
                self._children = {k: c for k, c in self._children.items() if c.alive}
                child = None
            if child is None:
                child = self._children[place] = Child(wanted, gpus)
            return child


def gpu_shares(
    specs: Iterable[EngineSpec], replicas: int | None, visible: Sequence[str] | None = None
) -> list[str | None]:
    """Return, for each copy of the engines, the GPUs it may see (None: leave it as it is).

    `visible` are the GPUs' names (those of CUDA_VISIBLE_DEVICES, or all of this machine). Raises
    ConfigError where there are too few for the copies asked for.
    """
    each = max([getattr(spec, "tensor_parallel_size", 1) for spec in specs], default=1)
    names = visible_gpus() if visible is None else list(visible)
    copies = replicas or max(1, len(names) // each)
    if not names or copies == 1:
        return [None] * copies
    if copies * each > len(names):
        raise ConfigError(
            f"{copies} replicas of {each} GPU(s) each need {copies * each}; "
            f"there are {len(names)}: lower replicas or tensor_parallel_size"
        )
    return [",".join(names[k * each : (k + 1) * each]) for k in range(copies)]


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that a process started here would see."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(k) for k in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]


def _teller(job: Job, role: str) -> Callable[[str], None]:
    return lambda why: job.tell("trouble", stage=job.stage.kind, engine=role, why=why)


def _key(specs: Sequence[EngineSpec]) -> str:
    return digest([[spec.kind, spec.model_dump(mode="json")] for spec in specs])


class Progress:
    """Tells about once a second how far the work on the shards in flight has come."""

    def __init__(self, job: Job, so_far: Callable[[], Sums]) -> None:
        self._job, self._so_far = job, so_far
        self._before = so_far()
        self._told: Sums = {}
        self._due = time.monotonic() + PROGRESS_EVERY

    def __call__(self, running: Iterable[Task]) -> None:
        """Tell, if it is time and there is news; `running` are the tasks in flight."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + PROGRESS_EVERY
        now = since(self._so_far(), self._before)
        if now != self._told:
            self._told = now
            rows = sum(shard.rows for task in running for shard in task.shards)
            unit, sums = in_one(now)
            self._job.tell(
                "progress", stage=self._job.stage.kind, rows=rows, unit=unit, **sums._asdict()
            )


def in_flight(
    run: Run,
    tasks: Sequence[Task],
    workers: int,
    stopping: Callable[[], bool],
    say: Callable[[Iterable[Task]], None] = lambda running: None,
) -> Iterator[tuple[Task, list[Record]]]:
    """Run tasks on threads, never more than `workers` at once, and yield them as they end.

    `say` is called now and then with the tasks in flight. After an error the tasks in flight end
    first; an interrupt leaves them behind.
    """
    waiting = iter(tasks)
    running: dict[Future[list[Record]], Task] = {}
    error: BaseException | None = None
    pool = ThreadPoolExecutor(workers, thread_name_prefix="shard")
    try:
        while True:
            while error is None and not stopping() and len(running) < workers:
                task = next(waiting, None)
                if task is None:
                    break
                running[pool.submit(run, task)] = task
            if not running:
                break
            done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            say(running.values())
            for future in done:
                task = running.pop(future)
                if future.exception() is None:
                    yield task, future.result()
                elif error is None:
                    error = future.exception()
    finally:
        pool.shutdown(wait=not running, cancel_futures=True)
    if error is not None:
        raise error
