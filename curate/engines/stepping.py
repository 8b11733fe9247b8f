"""The one thread that builds and steps a vLLM engine on behalf of every caller."""

from __future__ import annotations

import gc
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from curate.engines.admission import Admission, Admitted, Work, cache_tokens, tokens_written
from curate.errors import StageError
from curate.meter import Meter

_COUNT_EVERY = 0.5  # seconds between looks at what the requests under way have written


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
        self.meter = Meter()
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
                self.meter.asked(len(work))
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
        number, due, done, tokens = 0, 0.0, 0, 0
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
            answered = []
            for output in engine.step():
                if output.finished:
                    ended = self._running.pop(output.request_id)
                    written = tokens_written(output)
                    admission.ended(ended.cost, written)
                    done, tokens = done + 1, tokens + ((written or 0) if _writes(ended.work) else 0)
                    answered.append((ended.work.future, output))
            if time.monotonic() >= due or not self._running:  # before the last caller goes on
                self.meter.ended(done, tokens, writing=self._being_written(engine))
                due, done, tokens = time.monotonic() + _COUNT_EVERY, 0, 0
            for future, output in answered:
                future.set_result(output)

    def _being_written(self, engine: Any) -> int:
        """Return the tokens that requests under way have so far; 0 where vLLM does not say."""
        states = getattr(getattr(engine, "output_processor", None), "request_states", {})
        counts = [
            getattr(getattr(state, "detokenizer", None), "num_output_tokens", None)
            for state in states.values()
            if (running := self._running.get(getattr(state, "external_req_id", "")))
            and _writes(running.work)
        ]
        return sum(count() for count in counts if count is not None)

    def _add(self, engine: Any, number: str, admitted: Admitted) -> None:
        ids, params, future = admitted.work
        try:
            engine.add_request(number, {"prompt_token_ids": ids}, params)
        except (ValueError, TypeError) as error:  # vLLM's own checks of one request
            self._admission.ended(admitted.cost, None)
            self.meter.ended(failed=1)
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


def _writes(work: Work) -> bool:
    """Whether a request asks for a text; the likelihood of a given one costs a token as well."""
    return getattr(work.params, "prompt_logprobs", None) is None
