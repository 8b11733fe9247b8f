"""A child process that holds engines and runs tasks, one JSON line a message.

It is started as `python -m curate.executors.child`, not through multiprocessing, which would
import the user's main module again. The pipes carry configuration and records, never rows and
never pickles. If the parent goes away the child's input ends and it exits; if the child goes
away every waiting task fails at once with the end of the child's log.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import orjson

from curate import errors
from curate.engines.contract import Engine, engine_registry
from curate.errors import CurateError, StageError
from curate.executors.contract import Job
from curate.stage import stage_registry
from curate.store import Record, Store
from curate.work import Shard, Task, run_task


class Child:
    """The parent's end: start, hand over tasks from any thread, collect records."""

    def __init__(self, key: str) -> None:
        self.key = key
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        requests, self._to_child = os.pipe()
        self._from_child, answers = os.pipe()
        command = [sys.executable, "-m", "curate.executors.child", str(requests), str(answers)]
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command, pass_fds=(requests, answers), stdin=subprocess.DEVNULL,
            stdout=self._log, stderr=self._log, start_new_session=False,
        )  # fmt: skip
        os.close(requests)
        os.close(answers)
        self._numbers = count()
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[list[Record]]] = {}
        self._dead: StageError | None = None
        threading.Thread(target=self._listen, daemon=True, name="child-answers").start()

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None and self._dead is None

    def run(self, job: Job, task: Task) -> list[Record]:
        """Run one task and wait for its records. Raises what the child raised, or StageError."""
        future: Future[list[Record]] = Future()
        with self._lock:
            if self._dead is not None:
                raise self._dead
            number = next(self._numbers)
            self._waiting[number] = future
            line = orjson.dumps({"number": number, **_message(job, task)}) + b"\n"
            try:
                write_all(self._to_child, line)
            except OSError:
                del self._waiting[number]
                raise StageError(f"the engine's process is gone\n{self._tail()}") from None
        return future.result()

    def close(self) -> None:
        """Ask the child to end, and end it for sure."""
        with self._lock:
            if self._to_child >= 0:
                os.close(self._to_child)
                self._to_child = -1
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _listen(self) -> None:
        with os.fdopen(self._from_child, "rb") as lines:
            for line in lines:
                answer = orjson.loads(line)
                with self._lock:
                    future = self._waiting.pop(answer["number"])
                if "error" in answer:
                    future.set_exception(_rebuild(answer["error"], answer["message"]))
                else:
                    future.set_result([Record.from_json(r) for r in answer["records"]])
        code = self._process.wait()
        with self._lock:
            why = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
            self._dead = StageError(f"the engine's process ended ({why})\n{self._tail()}")
            for future in self._waiting.values():
                future.set_exception(self._dead)
            self._waiting.clear()

    def _tail(self) -> str:
        if self._log.closed:
            return ""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), 4000, max(0, size - 4000)).decode("utf-8", "replace")


def _message(job: Job, task: Task) -> dict[str, Any]:
    return {
        "store": str(job.store.root),
        "seed": job.seed,
        "stage": {job.stage.kind: job.stage.model_dump(mode="json")},
        "engines": {r: {s.kind: s.model_dump(mode="json")} for r, s in job.engines.items()},
        "keys": task.keys,
        "shards": [asdict(shard) for shard in task.shards],
    }


def _rebuild(name: str, message: str) -> Exception:
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, CurateError) and name != "MissingExtra":
        return kind(message)
    return StageError(message)


def _shard(data: dict[str, Any]) -> Shard:
    parts = tuple(Record.from_json(part) for part in data["parts"])
    return Shard(data["index"], parts, data["columns"], data["alive"])


def write_all(handle: int, data: bytes) -> None:
    """Write every byte: a pipe may take only a part at a time."""
    while data:
        data = data[os.write(handle, data) :]


class _Server:
    """The child's end: engines stay loaded, every task runs on a thread of its own."""

    def __init__(self, answers: int) -> None:
        self._answers = answers
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._engines: dict[bytes, Engine] = {}

    def handle(self, message: dict[str, Any]) -> None:
        """Run one task and answer it."""
        try:
            records = self._run(message)
            answer: dict[str, Any] = {"records": [r.to_json() for r in records]}
        except CurateError as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        except Exception as error:  # the parent must hear of it whatever it is
            answer = {"error": "StageError", "message": f"{type(error).__name__}: {error}"}
        with self._lock:
            write_all(self._answers, orjson.dumps({"number": message["number"], **answer}) + b"\n")

    def _run(self, message: dict[str, Any]) -> list[Record]:
        stage = stage_registry.parse(message["stage"], "stage")
        engines = {role: self._engine(form) for role, form in message["engines"].items()}
        task = Task(tuple(map(_shard, message["shards"])), tuple(message["keys"]))
        return run_task(Store(Path(message["store"])), stage, task, engines, message["seed"])

    def _engine(self, form: dict[str, Any]) -> Engine:
        key = orjson.dumps(form, option=orjson.OPT_SORT_KEYS)
        with self._loading:
            if key not in self._engines:
                self._engines[key] = engine_registry.parse(form, "engine").load()
            return self._engines[key]


def serve(requests: int, answers: int) -> None:
    """Answer tasks until the parent closes its end, then exit at once, GPU and all."""
    import curate.engines
    import curate.stages  # noqa: F401 - both register their classes

    server = _Server(answers)
    with os.fdopen(requests, "rb") as lines:
        for line in lines:
            message = orjson.loads(line)
            threading.Thread(target=server.handle, args=(message,), daemon=True).start()
    os._exit(0)


if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    serve(int(sys.argv[1]), int(sys.argv[2]))
