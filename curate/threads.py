"""Threads on a machine that may be short of memory: nobody waits for one that is not there.

`threading.Thread.start` waits until the new thread says that it runs. One that finds no memory for
its first step never says so, and the wait has no end; the same holds for a future whose thread ends
between the work and the word of it. Here a start has an end, a pool does with the threads it gets
(with none, its caller does the work), and a wait for a result ends when the thread is gone.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")

BORN_WITHIN = 20.0  # seconds; a start takes microseconds, on a busy machine milliseconds
LOOK_EVERY = 1.0  # seconds between looks at whether the threads are still there


_OPEN: weakref.WeakSet[Pool[Any]] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """End what was left behind: a process must not go while its threads are in libraries' code."""
    for pool in list(_OPEN):
        pool.end(cancel=True)


class _Born(threading.Event):
    """What a start waits for: not for ever."""

    def wait(self, timeout: float | None = None) -> bool:
        if super().wait(BORN_WITHIN if timeout is None else timeout):
            return True
        if timeout is None:
            raise RuntimeError("can't start new thread: it ended at its first step")
        return False


class Thread(threading.Thread):
    """A daemon thread. `start` raises RuntimeError where it cannot be started, and never hangs."""

    def __init__(self, target: Callable[[], object], name: str) -> None:
        super().__init__(target=target, name=name, daemon=True)
        self._started = _Born()


def bound_all_starts() -> None:
    """Let no start of any thread in this process wait for ever: libraries start their own."""
    begin = threading.Thread.__init__

    def begin_bound(self: threading.Thread, *given: Any, **named: Any) -> None:
        begin(self, *given, **named)
        self._started = _Born()  # type: ignore[attr-defined]

    threading.Thread.__init__ = begin_bound  # type: ignore[method-assign]


class Pool(Generic[Value]):
    """At most `most` threads that do the calls they are given; ends them as a context manager.

    Where the machine has no memory for one more thread those there are do the work, and where
    there is none whoever hands the work in.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._todo: deque[tuple[Future[Value], Callable[[], Value]]] = deque()
        self._news = threading.Condition()
        self._threads: list[Thread] = []
        self._idle, self._ended = 0, False
        _OPEN.add(self)
        self.broken = False
        """Whether a thread ended in the midst of its work: what it worked at has no end."""

    def submit(self, call: Callable[[], Value]) -> Future[Value]:
        """Have the call made; its future has what it returns or raises. For one thread to call."""
        future: Future[Value] = Future()
        with self._news:
            self._todo.append((future, call))
            if self._idle >= len(self._todo):
                self._news.notify()
                return future
        if len(self._threads) < self._most:
            self._one_more()
        while not self._threads and self._take(wait=False):
            pass
        return future

    def result(self, future: Future[Value]) -> Value:
        """Return what the call returned, or raise what it raised; MemoryError if nobody knows."""
        while True:
            try:
                return future.result(LOOK_EVERY)
            except TimeoutError:
                if future.done():
                    return future.result()
            self.look()

    def look(self) -> None:
        """Raise MemoryError where a thread ended in the midst of its work."""
        if self.broken:
            raise MemoryError("a thread ended for lack of memory")

    def map(
        self, call: Callable[[Item], Value], items: Iterable[Item], ahead: int
    ) -> Iterator[Value]:
        """Yield `call(item)` in the order of the items; `ahead` calls are not asked for yet."""
        waiting: deque[Future[Value]] = deque()
        for item in items:
            waiting.append(self.submit(lambda item=item: call(item)))  # type: ignore[misc]
            if len(waiting) > ahead:
                yield self.result(waiting.popleft())
        while waiting:
            yield self.result(waiting.popleft())

    def end(self, wait: bool = True, cancel: bool = False) -> None:
        """Take no more calls; with `cancel` begin no more; with `wait` return when all are done."""
        with self._news:
            self._ended = True
            for future, _ in self._todo if cancel else ():
                future.cancel()
            self._news.notify_all()
        for thread in self._threads if wait else ():
            thread.join()

    def __enter__(self) -> Pool[Value]:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def _one_more(self) -> None:
        """Start a thread; where that fails it is not tried again."""
        thread = Thread(self._work, f"{self._name}-{len(self._threads)}")
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            self._most = len(self._threads)
        else:
            self._threads.append(thread)

    def _work(self) -> None:
        well = False
        try:
            while self._take(wait=True):
                pass
            well = True
        finally:
            if not well:
                self.broken = True

    def _take(self, wait: bool) -> bool:
        """Do the next call, if there is one or one comes; return whether there was."""
        with self._news:
            while not self._todo:
                if self._ended or not wait:
                    return False
                self._idle += 1
                try:
                    self._news.wait()
                finally:
                    self._idle -= 1
            future, call = self._todo.popleft()
        if future.set_running_or_notify_cancel():
            _do(future, call)
        return True


def _do(future: Future[Any], call: Callable[[], Any]) -> None:
    try:
        value = call()
    except BaseException as error:  # whoever asks for the result hears of it
        future.set_exception(error)
    else:
        future.set_result(value)
