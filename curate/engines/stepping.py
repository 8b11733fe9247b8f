"""The one thread that builds and steps a vLLM engine on behalf of every caller."""

from __future__ import annotations

import gc
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from curate.engines.admission import Admission, Admitted, Work, cache_tokens, tokens_written
from curate.errors import StageError


class Failed(NamedTuple):
    """One request that vLLM would not take, and why."""

    error: str


class Stepper:
    """Runs `build()` and then the engine's steps in one thread.

    The model is built in the same thread because the current CUDA device and the number of
    OpenMP threads belong to a thread.
    """

    def __init__(self, build: Callable[[], Any], name: str, bucket: int | None = None) -> None:
        """Block until the model is loaded. Raises StageError where it cannot be.

        `bucket` sorts requests by length; see `admission.together`.
        """
        self._build, self._name, self._bucket = build, name, bucket
        self._queue: queue.SimpleQueue[list[Work] | None] = queue.SimpleQueue()
        self._admission = Admission(None)
        self._running: dict[str, Admitted] = {}
        self._lock = threading.Lock()  # no request may enter the queue after the thread's end
        self._ended: StageError | None = None
        ready: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._main, args=(ready,), name="vllm-stepper", daemon=True
        )
        self._thread.start()
        ready.result()

    def run(self, prompts: Sequence[tuple[list[int], Any]]) -> list[Any]:
        """Return vLLM's final output, or `Failed`, for each (token ids, sampling parameters).

        Raises StageError where the engine has failed or is closed.
        """
        work = [Work(ids, params, Future()) for ids, params in prompts]
        with self._lock:
            if self._ended is not None:
                raise StageError(str(self._ended)) from self._ended.__cause__
            if work:
                self._queue.put(work)
        return [item.future.result() for item in work]

    def close(self) -> None:
        """Stop the thread; requests under way are failed."""
        self._queue.put(None)
        self._thread.join()

    def _main(self, ready: Future[None]) -> None:
        ended = StageError(f"the engine of {self._name} is closed")
        try:
            self.llm = self._build()
            ready.set_result(None)
            self._step_forever(self.llm.llm_engine)
        except BaseException as error:  # whoever waits must hear of it, whatever it is
            ended = StageError(f"vLLM failed with {self._name}: {type(error).__name__}: {error}")
            ended.__cause__ = error
        self._finish(ended)
        if not ready.done():
            ready.set_exception(ended)

    def _step_forever(self, engine: Any) -> None:
        self._admission = admission = Admission(cache_tokens(engine), self._bucket)
        number = 0
        while True:
            while not self._queue.empty() or not (self._running or admission):
                batch = self._queue.get()
                if batch is None:
                    return
                admission.add(batch)
            while (admitted := admission.take()) is not None:
                number += 1
                self._add(engine, str(number), admitted)
            if not self._running:
                continue
            for output in engine.step():
                if output.finished:
                    ended = self._running.pop(output.request_id)
                    admission.ended(ended.cost, tokens_written(output))
                    ended.work.future.set_result(output)

    def _add(self, engine: Any, number: str, admitted: Admitted) -> None:
        ids, params, future = admitted.work
        try:
            engine.add_request(number, {"prompt_token_ids": ids}, params)
        except (ValueError, TypeError) as error:  # vLLM's own checks of one request
            self._admission.ended(admitted.cost, None)
            future.set_result(Failed(f"{type(error).__name__}: {error}"))
        else:
            self._running[number] = admitted

    def _finish(self, ended: StageError) -> None:
        with self._lock:
            self._ended = ended
        left = [*(admitted.work for admitted in self._running.values()), *self._admission.rest()]
        while not self._queue.empty():
            left += self._queue.get() or []
        self._running.clear()
        for work in left:
            work.future.set_exception(ended)
        llm, self.llm = getattr(self, "llm", None), None
        if llm is not None:
            shutdown = getattr(llm.llm_engine.engine_core, "shutdown", None)
            if shutdown is not None:
                shutdown()
        del llm
        gc.collect()
