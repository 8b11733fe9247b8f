"""Many machines: tasks run on a Ray cluster, and each worker commits its own parts.

Ray Data schedules the tasks of a stage without engines over a pool of actors, restarts an actor
whose process or node was lost, and runs its task again. Such a pool ends with its stage, so engines
live in actors of their own (`hosts`), which stay for the next stage. The pieces of a divided stage
are plain Ray tasks: there are many and short ones, in steps, and their processes stay between the
steps. What travels is a task (a stage and the parts it reads), never a row: the store must lie on a
file system that every node sees. Ray's own writers are not used, since after a kill and a rerun
they leave files that belong to no manifest.
"""

from __future__ import annotations

import logging
import uuid
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import orjson
from pydantic import Field, PrivateAttr

from curate.component import Runtime
from curate.errors import ConfigError, StageError, importing
from curate.executors.contract import Executor, Job
from curate.executors.hosts import Hosts, Patience, Slot
from curate.executors.local import Progress, in_flight
from curate.executors.mail import Mail, Reporter, begun
from curate.executors.remote import Worker, answer_here, records, request
from curate.store import Record, digest
from curate.work import Task


class Ray(Executor, name="ray"):
    """Run tasks on a Ray cluster, or on one that is started on this machine.

    `workers` is the largest number of actors. An actor of a stage with engines holds those
    engines and runs `shards_per_actor` tasks at once, so that the tail of one shard overlaps the
    head of the next. It stays while the following stages use the same engines, unless a stage
    without engines finds no room beside it. Other actors run one task at a time and reserve no GPU.
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
    _mail: Mail | None = PrivateAttr(None)
    _hosts: Hosts | None = PrivateAttr(None)

    def each(self, job: Job, tasks: Sequence[Task]) -> Iterator[tuple[Task, list[Record]]]:
        """Run the tasks; see `Executor.each`."""
        if not tasks:  # a step of a divided stage may have nothing to do
            return
        ray = self._connect()
        roles = {role for role, _ in job.stage.engine_roles()}
        light = replace(job, engines={role: job.engines[role] for role in sorted(roles)})
        if light.engines:
            yield from self._on_hosts(ray, light, tasks)
            return
        if self._hosts is not None and ray.available_resources().get("CPU", 0.0) < self.num_cpus:
            self._hosts.close()  # or this stage would wait for ever for their room
            self._hosts = None
        if any(task.space is not None for task in tasks):
            yield from self._as_pieces(ray, light, tasks)
        else:
            yield from self._through_data(ray, light, tasks)

    def _through_data(
        self, ray: Any, job: Job, tasks: Sequence[Task]
    ) -> Iterator[tuple[Task, list[Record]]]:
        """Run the tasks of a stage without engines through Ray Data."""
        items = [{"task": request(job, task, number)} for number, task in enumerate(tasks)]
        self._await_place(ray, job, {"CPU": self.num_cpus})
        left = set(range(len(tasks)))
        first: Exception | None = None
        mail = self._mailbox()
        progress = Progress(job, mail.so_far)

        def say() -> None:
            if running := [tasks[number] for number in mail.in_flight() if number in left]:
                progress(running)

        try:
            with mail.hearing(job, say):
                for answer in self._answers(self._scheduled(ray, items)):
                    left.discard(answer["number"])
                    try:
                        yield tasks[answer["number"]], records(answer)
                    except Exception as error:
                        first = first or error
                    if first is not None or job.stopping():
                        break
        except ray.exceptions.RayError as error:
            raise self._given_up(job, [tasks[number] for number in left], error) from error
        if first is not None:
            raise first

    def _on_hosts(
        self, ray: Any, job: Job, tasks: Sequence[Task]
    ) -> Iterator[tuple[Task, list[Record]]]:
        """Run the tasks in the actors that hold their engines; a lost one's tasks run again."""
        hosts, mail = self._hosts_of(ray, job), self._mailbox()
        progress, patience = Progress(job, hosts.so_far), self._patience(ray, job, hosts.place)
        waiting = deque((task, 1) for task in tasks)
        running: dict[Any, tuple[Slot, Task, int]] = {}
        error: Exception | None = None
        while running or (waiting and error is None and not job.stopping()):
            hosts.grow(min(self.workers, len(waiting) + len(running)))
            while waiting and error is None and not job.stopping() and (slot := hosts.free()):
                task, attempt = waiting.popleft()
                slot.busy += 1
                asked = slot.actor.answer.remote(request(job, task, 0))
                running[asked] = slot, task, attempt
            patience.reset() if running else patience()
            done, _ = ray.wait(list(running), timeout=0.5) if running else ([], None)
            mail.hear(job)
            progress(task for _, task, _ in running.values())
            for reference in done:
                slot, task, attempt = running.pop(reference)
                slot.busy -= 1
                try:
                    found = records(orjson.loads(ray.get(reference)))
                except ray.exceptions.RayError as lost:
                    hosts.lose(slot)
                    if attempt >= self.attempts:
                        error = error or self._given_up(job, [task], lost)
                    else:
                        _retried(job, attempt, lost)
                        waiting.appendleft((task, attempt + 1))
                except Exception as raised:
                    error = error or raised
                else:
                    yield task, found
        if error is not None:
            raise error

    def _hosts_of(self, ray: Any, job: Job) -> Hosts:
        """Return the actors for the job's engines: those of an earlier stage, if it used these."""
        place = {"CPU": self.num_cpus, "GPU": self._gpus(ray, job)}
        key = digest([[s.kind, s.model_dump(mode="json")] for s in job.engines.values()])
        if self._hosts is None or (self._hosts.key, self._hosts.place) != (key, place):
            if self._hosts is not None:
                self._hosts.close()
            self._hosts = Hosts(ray, key, place, self.shards_per_actor, self._mailbox())
        return self._hosts

    def _as_pieces(
        self, ray: Any, job: Job, tasks: Sequence[Task]
    ) -> Iterator[tuple[Task, list[Record]]]:
        """Run each task as a Ray task: many short steps, with processes that stay between them."""
        remote = ray.remote(num_cpus=self.num_cpus, max_retries=0)(answer_here)

        def run(task: Task) -> list[Record]:
            for attempt in range(1, self.attempts + 1):
                try:
                    return records(orjson.loads(ray.get(remote.remote(request(job, task, 0)))))
                except ray.exceptions.RayError as error:
                    if attempt == self.attempts or job.stopping():
                        raise self._given_up(job, [task], error) from error
                    _retried(job, attempt, error)
            raise AssertionError  # the last attempt returns or raises

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
        asked, patience = ray.util.placement_group([place]), self._patience(ray, job, place)
        try:
            while not asked.wait(0.2):
                patience()
        finally:
            ray.util.remove_placement_group(asked)

    def _patience(self, ray: Any, job: Job, place: dict[str, float]) -> Patience:
        return Patience(ray, job, {n: size for n, size in place.items() if size}, self.wait_s)

    def _scheduled(self, ray: Any, items: list[dict[str, bytes]]) -> Any:
        pool = ray.data.ActorPoolStrategy(
            min_size=1,
            max_size=min(self.workers, len(items)),
            max_tasks_in_flight_per_actor=1,
        )
        with warnings.catch_warnings():
            # Ray up to 2.63 takes the last two in this way only, and says that it will change.
            warnings.simplefilter("ignore", DeprecationWarning)
            # One block a task, or several tasks would be lost and repeated together.
            return ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
                _Batch,
                fn_constructor_args=(self._mailbox().box, uuid.uuid4().hex),
                batch_size=1,
                compute=pool,
                num_cpus=self.num_cpus,
                max_restarts=-1,
                max_task_retries=self.attempts - 1,
            )

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._hosts is not None:
            self._hosts.close()
            self._hosts = None
        self._mail = None
        if self._started:
            import ray

            ray.shutdown()
            self._started = False

    def _connect(self) -> Any:
        with importing("ray", "ray"):
            import ray
            import ray.data
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
        if self._mail is None:
            self._mail = Mail(ray)
        return ray

    def _mailbox(self) -> Mail:
        if self._mail is None:
            raise StageError("executor ray: not connected")
        return self._mail

    def _answers(self, data: Any) -> Iterator[dict[str, Any]]:
        for batch in data.iter_batches(batch_size=1, prefetch_batches=0):
            yield orjson.loads(batch["answer"][0])


def _retried(job: Job, attempt: int, lost: Exception) -> None:
    why = f"{type(lost).__name__}: {str(lost).strip().partition(chr(10))[0]}"
    job.tell("retry", stage=job.stage.kind, attempt=attempt, why=why)


class _Batch:
    """What an actor of Ray Data holds: it is called with one task at a time."""

    def __init__(self, box: Any, stage: str) -> None:
        self._worker, self._box, self._stage = Worker(), box, stage
        self._reporter = Reporter(box, self._worker)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        return {"answer": [self._answer(bytes(task)) for task in batch["task"]]}

    def _answer(self, task: bytes) -> bytes:
        begun(self._box, self._stage, task)
        with self._reporter.at(orjson.loads(task)["number"]):
            return self._worker.answer(task)
