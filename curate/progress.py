"""Progress: bars in a terminal, a line now and then elsewhere, JSON lines for a machine."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson

from curate.events import Listener

EVERY = 10.0  # seconds between lines where the output is not a terminal
_COUNTED = {"gone": "gone", "errors": "errors", "retries": "retries", "too_long": "too long"}


@contextmanager
def listener(json: bool, quiet: bool = False) -> Iterator[Listener]:
    """Give a listener for the run's events that suits where the output goes; none if `quiet`."""
    if json:
        yield lambda event: print(orjson.dumps(event).decode(), flush=True)
    elif quiet:
        yield lambda event: None
    elif sys.stderr.isatty():
        with _bars() as tell:
            yield tell
    else:
        yield _lines()


@dataclass
class _Work:
    """How far the stage at work has come; told by its events."""

    started: float = 0.0
    todo: int = 0
    done: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def on(cls, stage: dict[str, Any]) -> _Work:
        return cls(time.monotonic(), stage["rows_todo"])

    def add(self, part: dict[str, Any]) -> None:
        self.done += part["rows"]
        self.counts.update(part["counts"])
        self.counts["gone"] += part["rows"] - part.get("kept", part["rows"])

    def note(self) -> str:
        """Return tokens a second, what was lost, and the time left if it goes on like this."""
        seconds = time.monotonic() - self.started
        facts = []
        if self.counts["tokens"] and seconds >= 1:
            facts.append(f"{self.counts['tokens'] / seconds:,.0f} tokens/s")
        facts += [f"{self.counts[n]:,} {said}" for n, said in _COUNTED.items() if self.counts[n]]
        if 0 < self.done < self.todo and seconds >= 1:
            left = timedelta(seconds=round(seconds / self.done * (self.todo - self.done)))
            facts.append(f"{left} left")
        return ", ".join(facts)


def _lines() -> Listener:
    """Print a line every `EVERY` seconds at most, and every retry, on stderr.

    What was done before and what is over in no time stays unsaid, so that a log of a run that had
    nothing to do holds its last line alone.
    """
    work, last = _Work(), time.monotonic()

    def say(text: str) -> None:
        print(time.strftime("%H:%M:%S ") + text, file=sys.stderr, flush=True)

    def tell(event: dict[str, Any]) -> None:
        nonlocal work, last
        if event["event"] == "stage":
            work = _Work.on(event)
        elif event["event"] == "part":
            work.add(event)
        elif event["event"] == "retry":
            say(f"{event['stage']}: trying again: {event['why']}")
        elif event["event"] == "trouble":
            say(f"{event['stage']}: {event['why']}")
        due = event["event"] == "part" or (event["event"] == "stage" and event["todo"])
        if due and time.monotonic() - last >= EVERY:
            last = time.monotonic()
            facts = "; ".join(filter(None, [f"{work.done} of {work.todo} rows", work.note()]))
            say(f"{event['stage']}: {facts}")

    return tell


@contextmanager
def _bars() -> Iterator[Listener]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(),
               TimeElapsedColumn(), TextColumn("{task.fields[note]}"))  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        work, bar = _Work(), TaskID(0)

        def tell(event: dict[str, Any]) -> None:
            nonlocal work, bar
            if event["event"] == "stage":
                work = _Work.on(event)
                note = "" if event["todo"] else "done before"
                bar = progress.add_task(escape(event["stage"]), total=work.todo, note=note)
            elif event["event"] == "part":
                work.add(event)
                progress.update(bar, advance=event["rows"], note=work.note())
            elif event["event"] == "retry":
                progress.console.print(
                    f"{event['stage']}: trying again: {event['why']}", markup=False
                )
            elif event["event"] == "trouble":
                progress.console.print(f"{event['stage']}: {event['why']}", markup=False)

        yield tell
