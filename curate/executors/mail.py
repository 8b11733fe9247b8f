"""A box on a Ray cluster in which workers leave words for the driver.

Ray Data hands out its tasks by itself: whoever waits for their answers cannot ask its actors
anything meanwhile, nor learn that a task is run again. So they say it, and the driver looks into
the box.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson
import xxhash

from curate.errors import CurateError
from curate.executors.contract import Job
from curate.executors.remote import Worker
from curate.meter import Sums, from_json, given_up, to_json, total


class _Box:
    """Holds what workers say until the driver takes it."""

    def __init__(self) -> None:
        self._said: list[bytes] = []
        self._begun: Counter[bytes] = Counter()

    def put(self, word: bytes) -> None:
        self._said.append(word)

    def begin(self, task: bytes, who: str) -> None:
        """Note that a task is begun, and where that is not the first time, say so."""
        self._begun[task] += 1
        if (attempt := self._begun[task] - 1) > 0:
            why = f"Ray runs a task again, now in {who}: its process or node was lost"
            self.put(orjson.dumps({"event": "retry", "attempt": attempt, "why": why}))

    def take(self) -> list[bytes]:
        said, self._said = self._said, []
        return said


@dataclass
class _Word:
    """How far a worker is: it is at this task, and has done so much in this life of its actor."""

    actor: str
    life: str
    task: int | None
    so_far: dict[str, list[int]]


class Mail:
    """The driver's end of the box: an actor on the driver's own node, which reserves nothing."""

    def __init__(self, ray: Any) -> None:
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        self._ray = ray
        self.box = ray.remote(num_cpus=0, scheduling_strategy=here)(_Box).remote()
        self._at_work: dict[str, _Word] = {}  # by the actor
        self._gone: Sums = {}  # of processes that were lost

    def read(self) -> list[dict[str, Any]]:
        """Return what was said since the last time; nothing where the box cannot be asked."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            return [orjson.loads(word) for word in self._ray.get(self.box.take.remote())]
        return []

    def hear(self, job: Job) -> None:
        """Tell what workers said: of an engine, or that a task is begun once more.

        How far they are is kept for who asks.
        """
        for word in self.read():
            if "so_far" in word:
                self._heard(_Word(**word))
                continue
            with contextlib.suppress(CurateError):  # words that cannot be written stop no answers
                job.tell(stage=job.stage.kind, **word)

    def _heard(self, word: _Word) -> None:
        last = self._at_work.get(word.actor)
        if last is not None and last.life != word.life:
            self._gone = total([self._gone, given_up(from_json(last.so_far))])
        self._at_work[word.actor] = word

    def so_far(self) -> Sums:
        """Return the sums of all work that workers have reported."""
        words = (from_json(word.so_far) for word in self._at_work.values())
        return total([self._gone, *words])

    def in_flight(self) -> list[int]:
        """Return the numbers of the tasks that workers have said they are at."""
        return [word.task for word in self._at_work.values() if word.task is not None]

    @contextmanager
    def hearing(self, job: Job, also: Callable[[], None]) -> Iterator[None]:
        """Tell it about once a second, and at the end; do `also` each time but the last."""
        over = threading.Event()

        def listen() -> None:
            while not over.wait(1.0):
                self.hear(job)
                also()

        thread = threading.Thread(target=listen, name="mail", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.hear(job)


def say(box: Any, **word: Any) -> None:
    """Leave a word for the driver: an event, or how far it is; a box that is gone stops no work."""
    import ray

    with contextlib.suppress(ray.exceptions.RayError):
        ray.get(box.put.remote(orjson.dumps(word)))  # it is there before the task's answer is


def begun(box: Any, stage: str, task: bytes) -> None:
    """Tell the driver that a task is begun: Ray Data does not say when it runs one again.

    `stage` is another text each time that a stage is run.
    """
    import ray

    with contextlib.suppress(ray.exceptions.RayError):
        who = f"process {os.getpid()} on {socket.gethostname()}"
        ray.get(box.begin.remote(xxhash.xxh3_128_digest(stage.encode() + task), who))


class Reporter:
    """Says about once a second how far a worker is whose actor takes no questions meanwhile."""

    def __init__(self, box: Any, worker: Worker) -> None:
        import ray

        self._box, self._worker = box, worker
        self._said = _Word(ray.get_runtime_context().get_actor_id(), uuid.uuid4().hex, None, {})
        self._task: int | None = None
        self._lock = threading.Lock()  # or a word might be overtaken by the next
        threading.Thread(target=self._report_forever, name="report", daemon=True).start()

    @contextmanager
    def at(self, task: int) -> Iterator[None]:
        """Report on a task while it is at work, and at its end."""
        self._task = task
        try:
            yield
        finally:
            self._task = None
            self._report()

    def _report_forever(self) -> None:
        while True:
            time.sleep(1.0)
            self._report()

    def _report(self) -> None:
        with self._lock:
            done = to_json(self._worker.so_far())
            word = replace(self._said, task=self._task, so_far=done)
            if done and word != self._said:
                self._said = word
                say(self._box, **asdict(word))
