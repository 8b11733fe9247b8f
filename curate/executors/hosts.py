"""Actors of a Ray cluster that hold engines, and a box in which workers leave words for the driver.

Ray Data's actors end with each stage, and an engine would be loaded anew for the next one. These
stay while stages follow that use the same engines, and while there is room beside them. One that is
lost is replaced; its tasks are run again by whoever handed them out.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import xxhash

from curate.errors import CurateError, StageError
from curate.executors.contract import Job
from curate.executors.remote import Worker
from curate.meter import Sums, from_json, given_up, to_json, total

SAY_EVERY = 30.0  # seconds between two words about waiting


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
            self.put(orjson.dumps({"attempt": attempt, "why": why}))

    def take(self) -> list[bytes]:
        said, self._said = self._said, []
        return said


class Mail:
    """The driver's end of the box: an actor on the driver's own node, which reserves nothing."""

    def __init__(self, ray: Any) -> None:
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        self._ray = ray
        self.box = ray.remote(num_cpus=0, scheduling_strategy=here)(_Box).remote()

    def read(self) -> list[dict[str, Any]]:
        """Return what was said since the last time; nothing where the box cannot be asked."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            return [orjson.loads(word) for word in self._ray.get(self.box.take.remote())]
        return []

    def hear(self, job: Job) -> None:
        """Tell what workers said: trouble of an engine, or that a task is begun once more."""
        for word in self.read():
            event = "trouble" if "engine" in word else "retry"
            with contextlib.suppress(CurateError):  # words that cannot be written stop no answers
                job.tell(event, stage=job.stage.kind, **word)

    @contextmanager
    def hearing(self, job: Job) -> Iterator[None]:
        """Tell it about once a second, and at the end."""
        over = threading.Event()

        def listen() -> None:
            while not over.wait(1.0):
                self.hear(job)

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.hear(job)


def say(box: Any, **word: Any) -> None:
    """Leave a word for the driver; a box that is gone stops no work."""
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


class Patience:
    """Says now and then that no place has been found for an actor, and gives up after a while."""

    def __init__(self, ray: Any, job: Job, place: dict[str, float], wait_s: float) -> None:
        self._ray, self._job, self._place, self._wait_s = ray, job, place, wait_s
        self.reset()

    def reset(self) -> None:
        """Begin anew: there is a place."""
        self._since = self._told = time.monotonic()

    def __call__(self) -> None:
        """Wait a moment. Raises StageError after `wait_s` of them."""
        time.sleep(0.1)
        now = time.monotonic()
        if now < min(self._told + SAY_EVERY, self._since + self._wait_s):
            return
        has = {name: self._ray.cluster_resources().get(name, 0.0) for name in self._place}
        why = f"an actor needs {_named(self._place)} on one node; the cluster has {_named(has)}"
        if now >= self._since + self._wait_s:
            raise StageError(
                f"stage `{self._job.stage.kind}`: {why}, and made no room in {self._wait_s:g} s; "
                "add nodes or lower num_gpus or num_cpus, then run the same command again"
            )
        self._told = now
        self._job.tell("waiting", stage=self._job.stage.kind, why=why)


def _named(resources: Mapping[str, float]) -> str:
    return " and ".join(f"{size:g} {name}" for name, size in resources.items())


class _Host:
    """What an actor holds: the engines of one set, and whatever tasks come."""

    def __init__(self, box: Any) -> None:
        self._worker = Worker(lambda role, why: say(box, engine=role, why=why))

    def ready(self) -> bool:
        return True

    def answer(self, request: bytes) -> bytes:
        return self._worker.answer(request)

    def so_far(self) -> dict[str, list[int]]:
        return to_json(self._worker.so_far())


@dataclass
class Slot:
    """One actor, seen from the driver: whether it has come to life, and its tasks in flight."""

    actor: Any
    ready: Any  # a reference that is there once it has come to life
    busy: int = 0
    so_far: Sums = field(default_factory=dict)


class Hosts:
    """The actors that hold one set of engines; `key` says which, `place` what each reserves."""

    def __init__(
        self, ray: Any, key: str, place: dict[str, float], at_once: int, mail: Mail
    ) -> None:
        self._ray, self._at_once, self._mail = ray, at_once, mail
        self.key, self.place = key, place
        self._slots: list[Slot] = []
        self._gone: Sums = {}  # of actors that were lost

    def grow(self, most: int) -> None:
        """Ask for actors until there are `most`; those for which there is no room yet wait."""
        made = self._ray.remote(
            num_cpus=self.place["CPU"],
            num_gpus=self.place["GPU"],
            max_concurrency=self._at_once + 1,  # one more, that says how far the others are
            max_restarts=0,
        )(_Host)
        while len(self._slots) < most:
            actor = made.remote(self._mail.box)
            self._slots.append(Slot(actor, actor.ready.remote()))

    def alive(self) -> list[Slot]:
        """Return the actors that have come to life, and forget those that died before."""
        found = []
        for slot in list(self._slots):
            if not self._ray.wait([slot.ready], timeout=0)[0]:
                continue
            try:
                self._ray.get(slot.ready)
            except self._ray.exceptions.RayError:
                self.lose(slot)
                continue
            found.append(slot)
        return found

    def free(self) -> Slot | None:
        """Return the least busy of the living actors that can take one more task."""
        able = [slot for slot in self.alive() if slot.busy < self._at_once]
        return min(able, key=lambda slot: slot.busy, default=None)

    def lose(self, slot: Slot) -> None:
        """Forget an actor that is gone."""
        if slot in self._slots:
            self._slots.remove(slot)
            self._gone = total([self._gone, given_up(slot.so_far)])
            self._ray.kill(slot.actor)

    def so_far(self) -> Sums:
        """Return what the actors say of all their work; of one that is silent, the last word."""
        asked = {slot.actor.so_far.remote(): slot for slot in self.alive()}
        done = self._ray.wait(list(asked), num_returns=len(asked), timeout=1.0)[0] if asked else []
        for reference in done:
            with contextlib.suppress(self._ray.exceptions.RayError):
                asked[reference].so_far = from_json(self._ray.get(reference))
        return total([self._gone, *(slot.so_far for slot in self._slots)])

    def close(self) -> None:
        """End the actors, and free what they hold."""
        for slot in self._slots:
            self._ray.kill(slot.actor)
        self._slots.clear()
