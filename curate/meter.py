"""How far a stage has come within a shard, so that a long shard is not a long silence."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

CALLS, TEXTS, PROGRAMS = "calls", "texts", "programs"
"""What is counted: calls of engines, texts for an encoder, programs in a sandbox."""

Told: TypeAlias = Callable[[int], None]
"""Is told, from any thread, of so many more that are done."""


class Underway(NamedTuple):
    """How far it has come: sums of one kind of work since the beginning, which only grow.

    `tokens` are those written so far, also by calls that have not ended, where the engine can tell.
    """

    asked: int = 0
    ended: int = 0
    failed: int = 0  # among those that ended
    tokens: int = 0


Sums: TypeAlias = Mapping[str, Underway]
"""The sums of each kind of work, by what is counted."""


@runtime_checkable
class Counting(Protocol):
    """What an engine has beside the methods of `contract.Engine` that can say how far it is.

    Executors ask about once a second, so that a shard of an hour is not an hour of silence.
    """

    def so_far(self) -> Underway:
        """Return the sums of this moment, over all calls since it was loaded, at once; from any
        thread.
        """


class Meter:
    """Counts one kind of work, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = self._ended = self._failed = self._tokens = self._writing = 0

    def asked(self, calls: int) -> None:
        """So many more have come."""
        with self._lock:
            self._asked += calls

    def ended(
        self,
        calls: int = 1,
        tokens: int | None = 0,
        failed: int = 0,
        writing: int | None = None,
    ) -> None:
        """So many more are done, with `tokens` together, as far as is known.

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


class Meters:
    """A meter for each kind of work that stages do themselves; those of engines are their own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._meters: defaultdict[str, Meter] = defaultdict(Meter)

    def of(self, unit: str) -> Meter:
        """Return the meter of what is counted in `unit`: a plural, as a reader is shown it."""
        with self._lock:
            return self._meters[unit]

    def so_far(self) -> Sums:
        """Return the sums of this moment."""
        with self._lock:
            return {unit: meter.so_far() for unit, meter in self._meters.items()}


def so_far(engines: Iterable[object], meters: Meters) -> Sums:
    """Return the sums of stages, and those of the engines that can say how far they have come."""
    calls = ({CALLS: engine.so_far()} for engine in engines if isinstance(engine, Counting))
    return total([meters.so_far(), *calls])


def total(sums: Iterable[Sums]) -> Sums:
    """Return the sums of several processes or engines together."""
    found: dict[str, Underway] = {}
    for each in sums:
        for unit, more in each.items():
            found[unit] = _added((found.get(unit, Underway()), more))
    return found


def since(now: Sums, before: Sums) -> Sums:
    """Return what has come since then, of each kind of work of which anything has."""
    found = {}
    for unit, sums in now.items():
        pairs = zip(sums, before.get(unit, Underway()), strict=True)
        found[unit] = Underway(*(max(new - old, 0) for new, old in pairs))
    return {unit: sums for unit, sums in found.items() if any(sums)}


def given_up(sums: Sums) -> Sums:
    """Return the sums of a process that is gone: what it had not ended is asked for again."""
    return {unit: one._replace(asked=one.ended) for unit, one in sums.items()}


def in_one(sums: Sums) -> tuple[str, Underway]:
    """Return all kinds of work as one, and what is counted in it: "calls and texts"."""
    return " and ".join(sorted(sums)), _added(sums.values())


def to_json(sums: Sums) -> dict[str, list[int]]:
    """Return the sums as they travel from one process to another."""
    return {unit: list(one) for unit, one in sums.items()}


def from_json(data: Mapping[str, Iterable[int]]) -> Sums:
    """Return the sums that came from another process."""
    return {unit: Underway(*one) for unit, one in data.items()}


def _added(sums: Iterable[Underway]) -> Underway:
    return Underway(*map(sum, zip(Underway(), *sums, strict=True)))
