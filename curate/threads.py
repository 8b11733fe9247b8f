"""Calls made by threads, a few ahead of whoever takes what they return."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


def in_order(
    call: Callable[[Item], Value], items: Iterable[Item], most: int, ahead: int
) -> Iterator[Value]:
    """Yield `call(item)` in the order of the items, made by at most `most` threads.

    An item is taken from `items` when at most `ahead` earlier calls have not been yielded.
    """
    waiting: deque[Future[Value]] = deque()
    with ThreadPoolExecutor(most) as pool:
        for item in items:
            waiting.append(pool.submit(call, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
