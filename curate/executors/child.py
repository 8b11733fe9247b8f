"""A child process that holds engines and runs tasks, one JSON line a message.

It is started as a fresh interpreter, not through multiprocessing, which would import the user's
main module again. The pipes carry configuration and records, never rows and
never pickles. If the parent goes away the child's input ends, and it ends itself with all that its
engines started; if the child goes away every waiting task fails at once with the end of its log.

The child leads a process group of its own, so Ctrl-C in a terminal reaches the parent alone, and
whatever the engine starts ends with the child. It is born with SIGINT and SIGTERM blocked, so
that no signal can catch it before it has said that it takes none: the parent decides.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import count

import orjson

from curate.errors import CurateError, StageError
from curate.executors.contract import Job
from curate.executors.remote import Worker, records, request
from curate.lookout import await_no_dead_threads
from curate.meter import Sums, from_json, to_json
from curate.store import Record
from curate.work import Task

SIGNALS = {signal.SIGINT, signal.SIGTERM}
_COUNT_EVERY = 0.5  # seconds between words about how far the work has come


class ChildDied(StageError):
    """The child's process ended before it answered; another child may do better."""


class Child:
    """The parent's end: start, hand over tasks from any thread, collect records."""

    def __init__(self, key: str, gpus: str | None = None) -> None:
        """Start the process; `gpus` are the names of those it may see (None: all)."""
        self.key = key
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        requests, self._to_child = os.pipe()
        self._from_child, answers = os.pipe()
        code = "import curate.executors.child as c; c.main()"
        command = [sys.executable, "-c", code, str(requests), str(answers)]
        environment = os.environ | ({"CUDA_VISIBLE_DEVICES": gpus} if gpus is not None else {})
        held = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command, pass_fds=(requests, answers), stdin=subprocess.DEVNULL,
                stdout=self._log, stderr=self._log, process_group=0, env=environment,
            )  # fmt: skip
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
            os.close(requests)
            os.close(answers)
        self._numbers = count()
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[list[Record]]] = {}
        self._job: Job | None = None  # the last one that a task came from
        self._dead: ChildDied | None = None
        self.alive = True  # whether the process is running
        self.so_far: Sums = {}  # what it last said of all its work
        self._listener = threading.Thread(target=self._listen, name="child-answers", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name="child-end", daemon=True)
        self._listener.start()
        self._watcher.start()

    def run(self, job: Job, task: Task) -> list[Record]:
        """Run one task and wait for its records. Raises what the child raised, or ChildDied."""
        future: Future[list[Record]] = Future()
        with self._lock:
            if self._dead is not None:
                raise self._dead
            number, self._job = next(self._numbers), job
            self._waiting[number] = future
            try:
                write_all(self._to_child, request(job, task, number) + b"\n")
            except OSError:
                del self._waiting[number]
                raise ChildDied(f"the engine's process is gone\n{self._tail()}") from None
        return future.result()

    def close(self) -> None:
        """Ask the child to end, and end it for sure."""
        with self._lock:
            if self._to_child >= 0:
                os.close(self._to_child)
                self._to_child = -1
        self._watcher.join(timeout=30)
        if self._watcher.is_alive():
            self._end_group()
            self._watcher.join()
        self._log.close()

    def _listen(self) -> None:
        try:
            self._hear_answers()
        except BaseException:  # nobody hears the child any more: its end tells those who wait
            self._end_group()
            raise

    def _hear_answers(self) -> None:
        with os.fdopen(self._from_child, "rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    return  # the child died while it wrote
                answer = orjson.loads(line)
                if "event" in answer:
                    self._told(answer)
                    continue
                if "so_far" in answer:
                    self.so_far = from_json(answer["so_far"])
                    continue
                with self._lock:
                    future = self._waiting.pop(answer["number"])
                try:
                    future.set_result(records(answer))
                except Exception as error:  # the task that waits must not wait for ever
                    future.set_exception(error)

    def _told(self, event: dict[str, str]) -> None:
        if self._job is not None:
            with contextlib.suppress(CurateError):  # words that cannot be written stop no answers
                self._job.tell(stage=self._job.stage.kind, **event)

    def _watch(self) -> None:
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        self.alive = False
        self._end_group()  # while the child's number is still its own
        code = self._process.wait()
        self._listener.join(timeout=5)  # for the answers that were written before the end
        with self._lock:
            why = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
            self._dead = ChildDied(f"the engine's process ended ({why})\n{self._tail()}")
            for future in self._waiting.values():
                future.set_exception(self._dead)
            self._waiting.clear()

    def _end_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _tail(self) -> str:
        if self._log.closed:
            return ""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), 4000, max(0, size - 4000)).decode("utf-8", "replace")


def write_all(handle: int, data: bytes) -> None:
    """Write every byte: a pipe may take only a part at a time."""
    while data:
        data = data[os.write(handle, data) :]


def serve(requests: int, answers: int) -> None:
    """Answer tasks, each on a thread of its own, until the parent closes its end; then exit."""
    await_no_dead_threads()
    one_at_a_time = threading.Lock()

    def say(line: bytes) -> None:
        with one_at_a_time:
            write_all(answers, line + b"\n")

    def tell(event: str, **facts: str) -> None:
        say(orjson.dumps({"event": event, **facts}))

    worker = Worker(tell)

    def report() -> None:
        say(orjson.dumps({"so_far": to_json(worker.so_far())}))

    def handle(line: bytes) -> None:
        with _ends_with():
            answer = worker.answer(line)
            report()  # first: what the next stage does is counted from here
            say(answer)

    def report_forever() -> None:
        said = worker.so_far()
        while True:
            time.sleep(_COUNT_EVERY)
            if (now := worker.so_far()) != said:
                report()
                said = now

    with _ends_with(), os.fdopen(requests, "rb") as lines:
        threading.Thread(target=report_forever, daemon=True).start()
        for line in lines:
            threading.Thread(target=handle, args=(line,), daemon=True).start()
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # an engine's own processes hold GPUs too
    os._exit(0)


@contextmanager
def _ends_with() -> Iterator[None]:
    """End the process on an error that no answer tells of: the parent would wait for ever."""
    try:
        yield
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def main() -> None:
    """Be the child."""
    for taken in SIGNALS:  # a handler, since SIG_IGN would pass on to what the engine starts
        signal.signal(taken, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    serve(int(sys.argv[1]), int(sys.argv[2]))
