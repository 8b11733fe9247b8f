"""Actors of a Ray cluster that hold engines.

Ray Data's actors end with each stage, and an engine would be loaded anew for the next one. These
stay while stages follow that use the same engines, and while there is room beside them. One that is
lost is replaced; its tasks are run again by whoever handed them out.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from curate.errors import StageError
from curate.executors.contract import Job
from curate.executors.mail import Mail, say
from curate.executors.remote import Worker
from curate.meter import Sums, from_json, given_up, to_json, total

SAY_EVERY = 30.0  # seconds between two words about waiting


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
        self._worker = Worker(lambda event, **facts: say(box, event=event, **facts))

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
