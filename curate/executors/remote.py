"""How a task travels to another process and its records travel back: as JSON, never as rows.

`child.py` sends these bytes through a pipe, `ray.py` through a cluster.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import orjson

from curate import errors
from curate.component import Component
from curate.division import Piece, Space
from curate.engines.contract import Engine, EngineSpec, Telling, engine_registry
from curate.errors import CurateError, MissingExtra, StageError
from curate.executors.contract import Job, loading
from curate.meter import Meters, Sums, so_far
from curate.stage import stage_registry
from curate.store import Record, Store
from curate.work import Shard, Task, run_task


def request(job: Job, task: Task, number: int) -> bytes:
    """Return the task as one line of JSON; `number` tells its answer from others."""
    message = {
        "number": number,
        "store": str(job.store.root.absolute()),
        "seed": job.seed,
        "stage": _form(job.stage),
        "engines": {role: _form(spec) for role, spec in job.engines.items()},
        "keys": task.keys,
        "shards": [asdict(shard) for shard in task.shards],
        "space": task.space and _space_form(task.space),
        "span": task.span,
        "piece": task.piece and asdict(task.piece),
        "failures": task.failures,
    }
    return orjson.dumps(message)


def _form(component: Component) -> dict[str, Any]:
    return {component.reference(): component.model_dump(mode="json")}


def records(answer: Mapping[str, Any]) -> list[Record]:
    """Return the records of an answer. Raises the error that the worker met."""
    if "error" not in answer:
        return [Record.from_json(record) for record in answer["records"]]
    kind = getattr(errors, answer["error"], None)
    if isinstance(kind, type) and issubclass(kind, CurateError) and kind is not MissingExtra:
        raise kind(answer["message"])
    raise StageError(answer["message"])


class Worker:
    """The other end: runs tasks; an engine stays loaded for all tasks that name it."""

    def __init__(self, tell: Callable[..., None] = lambda event, **facts: None) -> None:
        """`tell` hears of an engine's trouble, and when one loads: an event and its facts."""
        self._tell, self._loading = tell, threading.Lock()
        self._engines: dict[bytes, Engine] = {}
        self._meters = Meters()

    def answer(self, request: bytes) -> bytes:
        """Run one task; return its records, or what went wrong, as one line of JSON.

        What went wrong may be anything, SystemExit too: whoever waits must hear of it.
        """
        message = orjson.loads(request)
        number = {"number": message["number"]}
        try:
            return orjson.dumps(number | {"records": [r.to_json() for r in self._run(message)]})
        except CurateError as error:
            done = {"error": type(error).__name__, "message": str(error)}
        except BaseException as error:
            kind = next(iter(message["stage"]))
            told = f"stage `{kind}` failed: {type(error).__name__}: {error}"
            done = {"error": "StageError", "message": told}
        return orjson.dumps(number | done)

    def so_far(self) -> Sums:
        """Return how far engines and stages have come here, all together; from any thread."""
        return so_far(list(self._engines.values()), self._meters)

    def _run(self, message: dict[str, Any]) -> list[Record]:
        stage = stage_registry.parse(message["stage"], "stage")
        specs = {r: engine_registry.parse(f, "engine") for r, f in message["engines"].items()}
        engines = {role: self._engine(role, spec, specs.values()) for role, spec in specs.items()}
        for role, engine in engines.items():
            if isinstance(engine, Telling):
                engine.listen(partial(self._trouble, role))
        shards, keys = tuple(map(_shard, message["shards"])), tuple(message["keys"])
        task = Task(
            shards, keys, _space(message["space"]), message["span"], _piece(message["piece"]),
            message["failures"],
        )  # fmt: skip
        store, seed = Store(Path(message["store"])), message["seed"]
        return run_task(store, stage, task, engines, seed, self._meters)

    def _trouble(self, role: str, why: str) -> None:
        self._tell("trouble", engine=role, why=why)

    def _engine(self, role: str, spec: EngineSpec, all_specs: Iterable[EngineSpec]) -> Engine:
        key, others = _key(spec), {_key(other): other for other in all_specs}
        del others[key]
        with self._loading:
            if key not in self._engines:
                with loading(self._tell, role):
                    self._engines[key] = spec.beside(list(others.values())).load()
            return self._engines[key]


def _key(spec: EngineSpec) -> bytes:
    return orjson.dumps([spec.kind, spec.model_dump(mode="json")], option=orjson.OPT_SORT_KEYS)


@cache
def _worker() -> Worker:
    return Worker()


def answer_here(request: bytes) -> bytes:
    """Run one task in this process, as `Worker.answer`; the worker stays for the next one."""
    return _worker().answer(request)


def _space_form(space: Space) -> dict[str, Any]:
    vectors = None if space.vectors is None else str(space.vectors)
    return asdict(space) | {"folder": str(space.folder), "vectors": vectors}


def _space(data: dict[str, Any] | None) -> Space | None:
    if not data:
        return None
    vectors = None if data["vectors"] is None else Path(data["vectors"])
    return Space(Path(data["folder"]), tuple(data["first"]), data["seed"], vectors)


def _piece(data: dict[str, Any] | None) -> Piece | None:
    return Piece(**data) if data else None


def _shard(data: dict[str, Any]) -> Shard:
    parts = tuple(Record.from_json(part) for part in data["parts"])
    return Shard(data["index"], parts, data["columns"], data["alive"])
