"""Many machines: tasks run on a Ray cluster, and each worker commits its own parts.

Ray Data schedules the tasks over a pool of actors, restarts an actor whose process or node was
lost, and runs its task again. The pieces of a divided stage are plain Ray tasks: there are many
and short ones, in steps, and their processes stay between the steps. What travels is a task (a
stage and the parts it reads), never a row: the store must lie on a file system that every node
sees. Ray's own writers are not used, since after a kill and a rerun they leave files that belong
to no manifest.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
from pydantic import Field, PrivateAttr

from curate.component import Runtime
from curate.errors import ConfigError, MissingExtra, StageError
from curate.executors.contract import Executor, Job
from curate.executors.local import in_flight
from curate.executors.remote import Worker, answer_here, records, request
from curate.store import Record
from curate.work import Task

_SAY_EVERY = 30.0  # seconds between two words about waiting


class Ray(Executor, name="ray"):
    """Run tasks on a Ray cluster, or on one that is started on this machine.

    `workers` is the largest number of actors. An actor of a stage with engines holds those
    engines and runs `shards_per_actor` tasks at once, so that the tail of one shard overlaps the
    head of the next; other actors run one task at a time and reserve no GPU.
    """

    address: Runtime[str | None] = None
    """A cluster's address, "auto" for the one of this node; unset starts a local one."""
    num_cpus: Runtime[float] = Field(1.0, gt=0.0)
    """Cores that one actor reserves."""
    num_gpus: Runtime[float | None] = Field(None, ge=0.0)
    """GPUs that one actor of a stage with engines reserves; unset: on a cluster with GPUs, the
    `tensor_parallel_size` of engines that run in the actor, and none for those behind a server."""
    shards_per_actor: Runtime[int] = Field(2, ge=1)
    """Tasks that one actor with engines runs at once."""
    attempts: Runtime[int] = Field(3, ge=1)
    """How often a task is started before the loss of its process fails the run."""
    wait_s: Runtime[float] = Field(600.0, gt=0.0)
    """Seconds to wait for a place for the first actor, which a growing cluster may need; then the
    run stops, and the same command resumes."""

    _started: bool = PrivateAttr(False)

    def each(self, job: Job, tasks: Sequence[Task]) -> Iterator[tuple[Task, list[Record]]]:
        """Run the tasks; see `Executor.each`."""
        ray = self._connect()
        roles = {role for role, _ in job.stage.engine_roles()}
        light = replace(job, engines={role: job.engines[role] for role in sorted(roles)})
        if any(task.space is not None for task in tasks):
            yield from self._as_pieces(ray, light, tasks)
            return
        items = [{"task": request(light, task, number)} for number, task in enumerate(tasks)]
        place = {"CPU": self.num_cpus, "GPU": self._gpus(ray, light)}
        self._await_place(ray, light, {name: size for name, size in place.items() if size})
        left = set(range(len(tasks)))
        first: Exception | None = None
        try:
            for answer in self._answers(self._scheduled(ray, light, items, place["GPU"])):
                left.discard(answer["number"])
                try:
                    yield tasks[answer["number"]], records(answer)
                except Exception as error:
                    first = first or error
                if first is not None or job.stopping():
                    break
        except ray.exceptions.RayError as error:
            raise self._given_up(light, [tasks[number] for number in left], error) from error
        if first is not None:
            raise first

    def _as_pieces(
        self, ray: Any, job: Job, tasks: Sequence[Task]
    ) -> Iterator[tuple[Task, list[Record]]]:
        """Run each task as a Ray task: many short steps, with processes that stay between them."""
        remote = ray.remote(num_cpus=self.num_cpus, max_retries=self.attempts - 1)(answer_here)

        def run(task: Task) -> list[Record]:
            try:
                found: bytes = ray.get(remote.remote(request(job, task, 0)))
            except ray.exceptions.RayError as error:
                raise self._given_up(job, [task], error) from error
            return records(orjson.loads(found))

        yield from in_flight(run, tasks, self.workers, job.stopping)

    def _given_up(self, job: Job, left: Sequence[Task], error: Exception) -> StageError:
        """Say which stage lost its processes and over which shards: Ray does not name the task."""
        shards = sorted({shard.index for task in left for shard in task.shards})
        some = ", ".join(map(str, shards[:5])) + (", ..." if len(shards) > 5 else "")
        return StageError(
            f"stage `{job.stage.kind}`: Ray gave a task up after {self.attempts} attempts, one of "
            f"those over shard {some}: {type(error).__name__}: {error}"
        )

    def _gpus(self, ray: Any, job: Job) -> float:
        """Return the GPUs that an actor of this stage reserves."""
        inside = [spec for spec in job.engines.values() if spec.isolated]
        if job.engines and self.num_gpus is not None:
            return self.num_gpus
        if not inside or not ray.cluster_resources().get("GPU"):
            return 0.0
        return float(max(getattr(s, "tensor_parallel_size", 1) for s in inside))

    def _await_place(self, ray: Any, job: Job, place: dict[str, float]) -> None:
        """Wait until the cluster has room for one actor, and say so meanwhile.

        Asking for it is what makes a growing cluster grow. Raises StageError after `wait_s`.
        """
        free = ray.available_resources()
        if all(free.get(name, 0.0) >= size for name, size in place.items()):
            return
        asked = ray.util.placement_group([place])
        try:
            until = time.monotonic() + self.wait_s
            while not asked.wait(min(_SAY_EVERY, max(until - time.monotonic(), 0.0))):
                has = {name: ray.cluster_resources().get(name, 0.0) for name in place}
                why = f"an actor needs {_said(place)} on one node; the cluster has {_said(has)}"
                if time.monotonic() >= until:
                    raise StageError(
                        f"stage `{job.stage.kind}`: {why}, and made no room in {self.wait_s:g} s; "
                        "add nodes or lower num_gpus or num_cpus, then run the same command again"
                    )
                job.tell("waiting", stage=job.stage.kind, why=why)
        finally:
            ray.util.remove_placement_group(asked)

    def _scheduled(self, ray: Any, job: Job, items: list[dict[str, bytes]], gpus: float) -> Any:
        at_once = self.shards_per_actor if job.engines else 1
        pool = ray.data.ActorPoolStrategy(
            min_size=1,
            max_size=min(self.workers, len(items)),
            max_tasks_in_flight_per_actor=at_once,
        )
        with warnings.catch_warnings():
            # Ray up to 2.63 takes the last three in this way only, and says that it will change.
            warnings.simplefilter("ignore", DeprecationWarning)
            # One block a task, or several tasks would be lost and repeated together.
            return ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
                _Batch,
                batch_size=1,
                compute=pool,
                num_cpus=self.num_cpus,
                num_gpus=gpus or None,
                max_concurrency=at_once,
                max_restarts=-1,
                max_task_retries=self.attempts - 1,
            )

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._started:
            import ray

            ray.shutdown()
            self._started = False

    def _connect(self) -> Any:
        try:
            import ray
            import ray.data
        except ImportError:
            raise MissingExtra("ray", "ray") from None
        if not ray.is_initialized():
            try:
                ray.init(address=self.address, log_to_driver=False, logging_level="ERROR")
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise ConfigError(
                    f"executor ray: no cluster at address {self.address!r} "
                    f"({str(error).splitlines()[0]}); start one with `ray start --head`, or leave "
                    "address out for one on this machine"
                ) from None
            self._started = True
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # the run reports for itself
        return ray

    def _answers(self, data: Any) -> Iterator[dict[str, Any]]:
        for batch in data.iter_batches(batch_size=1, prefetch_batches=0):
            yield orjson.loads(batch["answer"][0])


def _said(resources: Mapping[str, float]) -> str:
    return " and ".join(f"{size:g} {name}" for name, size in resources.items())


class _Batch:
    """What an actor holds: Ray Data calls it with one task at a time."""

    def __init__(self) -> None:
        self._worker = Worker()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        return {"answer": [self._worker.answer(bytes(task)) for task in batch["task"]]}
