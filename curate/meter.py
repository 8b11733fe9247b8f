"""How far an engine has come with what it was asked, so that a long shard is not a long silence."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import NamedTuple, Protocol, runtime_checkable


class Underway(NamedTuple):
    """How far an engine has come: sums over all the calls since it was loaded, which only grow.

    `tokens` are those written so far, also by calls that have not ended, where the engine can tell.
    """

    asked: int = 0
    ended: int = 0
    failed: int = 0  # among those that ended
    tokens: int = 0


@runtime_checkable
class Counting(Protocol):
    """What an engine has beside the methods of `contract.Engine` that can say how far it is.

    Executors ask about once a second, so that a shard of an hour is not an hour of silence.
    """

    def so_far(self) -> Underway:
        """Return the sums of this moment, at once; from any thread."""


class Meter:
    """Counts the calls of one engine, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = self._ended = self._failed = self._tokens = self._writing = 0

    def asked(self, calls: int) -> None:
        """So many calls more have come."""
        with self._lock:
            self._asked += calls

    def ended(
        self,
        calls: int = 1,
        tokens: int | None = 0,
        failed: int = 0,
        writing: int | None = None,
    ) -> None:
        """So many calls more have their answers, with `tokens` together, as far as is known.

        `writing` are the tokens that the calls which have not ended have at this moment; None: as
        before.
        """
        with self._lock:
            self._ended += calls
            self._failed += failed
            self._tokens += tokens or 0
            self._writing = self._writing if writing is None else writing

    def so_far(self) -> Underway:
        """Return the sums of this moment."""
        with self._lock:
            tokens = self._tokens + self._writing
            return Underway(self._asked, self._ended, self._failed, tokens)


def so_far(engines: Iterable[object]) -> Underway:
    """Return the sums of those of the engines that can say how far they have come."""
    return total(engine.so_far() for engine in engines if isinstance(engine, Counting))


def total(sums: Iterable[Underway]) -> Underway:
    """Return the sums of several engines together."""
    return Underway(*map(sum, zip(Underway(), *sums, strict=True)))


def since(now: Underway, before: Underway) -> Underway:
    """Return what has come since then."""
    return Underway(*(max(new - old, 0) for new, old in zip(now, before, strict=True)))
