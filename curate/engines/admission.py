"""Which waiting requests an engine gets next: as many as its cache holds, like beginnings together.

An engine that is handed everything at once starts more answers than its KV cache can finish, and
then throws some away to begin them anew; one that is handed a fixed number of requests runs short
where they are small. So room is counted in tokens. What a request takes is known before it begins
(its prompt, less what the one before it has in common with it) or learnt (how long answers are).
The order of admission changes no answer: each draws by its own seed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from itertools import islice
from typing import Any, NamedTuple

_GUESS = 256  # tokens of an answer before any has ended
_WEIGHT = 8  # how many answers the guess counts for


class Work(NamedTuple):
    """One request: token ids, the engine's parameters, and where its output goes."""

    ids: list[int]
    params: Any
    future: Future[Any]


class Admitted(NamedTuple):
    """A request that the engine is to get now, and the room it takes in tokens."""

    work: Work
    cost: float


class Admission:
    """The requests that an engine does not have yet. Used by one thread.

    `capacity` is the engine's room in tokens (None: unknown, so that all are admitted at once);
    `bucket` see `together`.
    """

    def __init__(self, capacity: int | None, bucket: int | None = None) -> None:
        self._capacity, self._bucket = capacity, bucket
        self._waiting: deque[Work] = deque()
        self._last: list[int] = []  # the prompt admitted before
        self._taken = 0.0
        self._running = 0
        self._written, self._ended = float(_GUESS * _WEIGHT), _WEIGHT

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def add(self, batch: Sequence[Work]) -> None:
        """Let the requests of one caller wait, behind those of earlier ones: nobody starves."""
        order = together([work.ids for work in batch], self._bucket)
        self._waiting.extend(batch[place] for place in order)

    def take(self) -> Admitted | None:
        """Return the next request if there is room for it, else None.

        One that is larger than all the room goes alone.
        """
        if not self._waiting:
            return None
        cost = self._cost(self._waiting[0])
        if self._running and self._capacity is not None and self._taken + cost > self._capacity:
            return None
        work = self._waiting.popleft()
        self._taken += cost
        self._running += 1
        self._last = work.ids
        return Admitted(work, cost)

    def ended(self, cost: float, written: int | None) -> None:
        """Give room back; `written` is how long the answer became, None where there is none."""
        self._running -= 1
        self._taken = self._taken - cost if self._running else 0.0
        if written is not None:
            self._written += written
            self._ended += 1

    def rest(self) -> list[Work]:
        """Return what waits, and let it wait no longer."""
        left = list(self._waiting)
        self._waiting.clear()
        return left

    def _cost(self, work: Work) -> float:
        """Return the tokens that a request takes on average while it runs: half of its answer."""
        own = len(work.ids) - common(work.ids, self._last)
        limit = getattr(work.params, "max_tokens", 0)
        expected = self._written / self._ended
        return max(own, 1) + (expected if limit is None else min(limit, expected)) / 2


def together(prompts: Sequence[Sequence[int]], bucket: int | None = None) -> list[int]:
    """Return the places of the prompts in the order in which an engine should get them.

    Sorted by their tokens, prompts that begin alike stand side by side, so that the beginning is
    read once and found in the prefix cache by the rest. With `bucket`, prompts whose lengths fall
    into one bucket of so many tokens come together first, the longest bucket before the others.
    """

    def key(place: int) -> tuple[int, Sequence[int]]:
        prompt = prompts[place]
        return (0 if bucket is None else -(len(prompt) // bucket), prompt)

    return sorted(range(len(prompts)), key=key)


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens the two have in common at their beginning."""
    if one is other:
        return len(one)
    size = min(len(one), len(other))
    if one[:size] == other[:size]:
        return size
    pairs = enumerate(zip(one, islice(other, size), strict=False))
    return next(place for place, (a, b) in pairs if a != b)


def cache_tokens(engine: Any) -> int | None:
    """Return how many tokens the KV cache of a loaded vLLM engine holds, None where it has none."""
    cache = getattr(getattr(engine, "vllm_config", None), "cache_config", None)
    blocks, size = (getattr(cache, name, None) for name in ("num_gpu_blocks", "block_size"))
    return blocks * size or None if isinstance(blocks, int) and isinstance(size, int) else None


def tokens_written(output: Any) -> int | None:
    """Return how many tokens vLLM's output has; None for one that is no text."""
    answers = getattr(output, "outputs", None)
    return len(answers[0].token_ids) if isinstance(answers, list) and answers else None
