"""What happens in a run, told once: to events.jsonl and to whoever listens."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from curate.disk import writing

PASSING = frozenset({"progress", "loading", "loaded"})
"""Events of the moment: they are told, and nobody looks for them in a file afterwards."""

Listener = Callable[[dict[str, Any]], None]
"""Is called with every event: `event` (its name), `time` (seconds since 1970) and its facts."""


class Events:
    """Appends events to a file and tells the listener; may be used from several threads.

    Those of the moment (`PASSING`) are told alone: a run of days would write millions.
    """

    def __init__(self, path: Path, listener: Listener) -> None:
        self._path, self._listener = path, listener
        self._lock = threading.Lock()
        with writing(path):
            self._file = path.open("a+b", buffering=0)
            if path.stat().st_size:
                self._file.seek(-1, os.SEEK_END)
                if self._file.read(1) != b"\n":  # a killed run left half a line
                    self._file.write(b"\n")

    def add(self, event: str, **facts: Any) -> None:
        """Record one event. Raises StoreError where the disk refuses."""
        entry = {"event": event, "time": round(time.time(), 3), **facts}
        with self._lock:
            if event not in PASSING:
                with writing(self._path):
                    self._file.write(orjson.dumps(entry) + b"\n")
            self._listener(entry)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_events(path: Path, *names: str) -> Iterator[dict[str, Any]]:
    """Yield the events of a file, or those with these names; of unreadable lines nothing."""
    wanted = tuple(b'{"event":"%b"' % name.encode() for name in names) or b"{"
    try:
        with path.open("rb") as lines:
            for line in lines:
                if line.startswith(wanted):
                    try:
                        event = orjson.loads(line)
                    except orjson.JSONDecodeError:
                        continue  # a killed run left half of it
                    if "event" in event and "time" in event:
                        yield event
    except OSError:
        return
