"""The scheduler under the load of docs/scale.md: many shards, many GPUs, unlike durations, deaths.

Run `python benchmarks/cluster_plan.py [shards] [GPUs]`. The executor is the real one (what it hands
out when, what it does about a dead process, what it reports); only the process that holds an engine
is replaced, by one that sleeps as long as a shard would take, on a clock 7,500 times faster. A
shard's duration is log-normal around 32 minutes, a process loads its engine for 5 minutes, and one
task in 20,000 finds its process dying half-way, which takes the other tasks of that process with
it. The alternative is the best that any scheduler could do: the work divided by the places.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

from curate.engines.contract import Engine, EngineSpec
from curate.executors import local
from curate.executors.child import ChildDied
from curate.executors.contract import Job
from curate.stages.generate import Generate
from curate.store import Record, Store
from curate.work import Shard, Task

FAST = 7_500  # times the clock of the wall
SHARD_S, SPREAD, LOAD_S = 32 * 60.0, 0.5, 5 * 60.0
DEATHS = 1 / 20_000  # of tasks; Meta's Llama 3 counted one interruption in 50,000 GPU-hours
IN_FLIGHT = 4  # shards a GPU


class Sleeping(EngineSpec, name="sleeping"):
    """Stands for an engine that lives in a process of its own."""

    isolated: ClassVar[bool] = True
    capabilities: ClassVar[frozenset[Any]] = frozenset({"chat"})
    model: str = "none"

    def load(self) -> Engine:
        """Never called: no process is started."""
        raise AssertionError


class SleepingChild:
    """What the executor takes for a child process."""

    spent: ClassVar[Counter[str]] = Counter()
    _books: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, key: str, gpus: str | None = None) -> None:
        """Load for a while, which the first tasks notice."""
        self.key, self.alive = key, True
        self._dead = threading.Event()
        self._ready = time.monotonic() + LOAD_S / FAST

    def run(self, job: Job, task: Task) -> list[Record]:
        """Sleep through the shard, or until the process dies."""
        draw = random.Random(f"{task.keys[0]} {self.spent['deaths']}")  # noqa: S311
        seconds = SHARD_S * draw.lognormvariate(-(SPREAD**2) / 2, SPREAD) / FAST
        self._sleep(max(self._ready - time.monotonic(), 0.0))
        if draw.random() < DEATHS:
            self._sleep(seconds / 2)
            self.alive = False
            self._dead.set()
            self._count("deaths", 1)
        self._sleep(seconds)
        self._count("useful_us", round(seconds * 1e6))
        return [Record("generate", task.keys[0], "", "", (), (), 1, 1)]

    def close(self) -> None:
        """Nothing to end."""

    def _sleep(self, seconds: float) -> None:
        if self._dead.wait(seconds):
            raise ChildDied("the process died")

    def _count(self, name: str, value: int) -> None:
        with self._books:
            self.spent[name] += value


def main(shards: int, gpus: int) -> None:
    """Run one stage over all shards and print what came of it as JSON."""
    local.Child = SleepingChild  # type: ignore[assignment,misc]
    told: Counter[str] = Counter()
    engines, store = {"gpu": Sleeping()}, Store(Path())
    job = Job(
        Generate(engine="gpu"), engines, 0, store, tell=lambda event, **_: told.update([event])
    )
    tasks = [Task((Shard(number),), (str(number),)) for number in range(shards)]
    executor = local.Local(workers=IN_FLIGHT, replicas=gpus)
    ends, done = [], Counter[str]()
    started, processor = time.monotonic(), time.process_time()
    for _, records in executor.map(job, tasks):
        ends.append(time.monotonic() - started)
        done.update(record.key for record in records)
    seconds, processor = time.monotonic() - started, time.process_time() - processor
    executor.close()
    assert len(done) == shards
    assert set(done.values()) == {1}
    places = gpus * IN_FLIGHT
    best = SleepingChild.spent["useful_us"] / 1e6 / places + LOAD_S / FAST
    result = {
        "shards": shards,
        "gpus": gpus,
        "simulated_hours": round(seconds * FAST / 3600, 1),
        "best_possible_hours": round(best * FAST / 3600, 1),
        "of_the_best": round(best / seconds, 4),
        "tail_minutes": round((ends[-1] - ends[-places]) * FAST / 60),
        "processes_lost": SleepingChild.spent["deaths"],
        "tasks_run_again": told["retry"],
        "scheduler_us_a_shard": round(processor / shards * 1e6),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    numbers = [int(number) for number in sys.argv[1:]]
    main(*(numbers or [100_000, 64]))
