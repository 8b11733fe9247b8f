"""Progress: bars in a terminal, a line now and then elsewhere, JSON lines for a machine."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import orjson

from curate.books import numbered
from curate.events import Listener
from curate.printable import printable

EVERY = 10.0  # seconds between lines where the output is not a terminal
_SAID = ("trouble", "waiting", "stopping")
_TELLING = 0.1  # of the calls of a first shard must have ended before they tell how long it takes
_LATE = 1.0  # seconds, about, between the first calls and the first word of them
_COUNTED = {  # what is said of one, and of several
    "gone": ("gone", "gone"),
    "errors": ("error", "errors"),
    "retries": ("retry", "retries"),
    "too_long": ("too long", "too long"),
}


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
        with _lines() as tell:
            yield tell


@dataclass
class _Work:
    """How far the stage at work has come; told by the events of a run."""

    name: str = ""  # the second `judge` of a pipeline is `judge 2`
    started: float = 0.0
    rows: int = 0
    todo: int = 0
    done: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    flying: int = 0  # rows of the shards in flight, as far as known
    calls: Counter[str] = field(default_factory=Counter)  # asked, ended, failed, and their tokens
    unit: str = "calls"  # what these count: "texts" where an encoder is at work
    far: float = 0.0  # rows done, and of those in flight the share that is, as far as known
    held: bool = False  # whether that share has been found to be smaller than it was thought
    news: float = 0.0  # when something was last heard
    loading: str = ""  # the engine that is
    over: bool = False  # nothing more will be done
    kinds: tuple[str, ...] = ()  # of the stages so far

    def after(self, event: dict[str, Any]) -> _Work:
        """Return the work after an event; a new one where a stage or a run begins."""
        if event["event"] == "source":
            return _Work()
        if event["event"] == "stage":
            kinds = (*self.kinds, event["stage"])
            name = numbered(kinds)[-1]
            now = time.monotonic()
            return _Work(name, now, event["rows"], event["rows_todo"], kinds=kinds, news=now)
        if event["event"] == "part":
            self.done += event["rows"]
            self.counts.update(event["counts"])
            self.counts["gone"] += event["rows"] - event.get("kept", event["rows"])
            self.flying = max(self.flying - event["rows"], 0)
        if event["event"] == "progress":
            if not self.calls and not self.done:  # until now the engine was loading
                self.started = time.monotonic() - _LATE
            self.flying = event["rows"]
            self.calls = Counter({n: event[n] for n in ("asked", "ended", "failed", "tokens")})
            self.unit = event["unit"]
        if event["event"] in ("loading", "loaded", "retry"):
            self.loading = printable(event["engine"]) if event["event"] == "loading" else ""
        self.news = time.monotonic()
        self.over |= event["event"] in ("end", "error")
        estimate = self._estimate()
        self.held = estimate < self.far
        self.far = max(self.far, estimate)
        return self

    def _estimate(self) -> float:
        """Return the rows done, and of those in flight the share of their calls that has ended.

        What the rows in flight will still ask is known from those that are done, where some are;
        of a first shard only what it has asked is known. Where a stage asks in several rounds that
        makes less when a round begins: `far` then stays as it is until there is more.
        """
        if not self.calls["asked"]:
            return self.done
        begun = min(self.done + self.flying, self.todo)
        as_before = self.counts["calls"] * begun / self.done if self.done else 0.0
        share = self.calls["ended"] / max(self.calls["asked"], as_before)
        return min(max(begun * share, self.done), begun)

    def at_work(self) -> str:
        """Return what is said of work of which nothing else is known."""
        return f"engine {self.loading} is loading" if self.loading else "at work"

    def facts(self) -> list[str]:
        """Return the time left if it goes on like this, the speed, what was lost, and calls.

        Calls are named while some are under way: those that ended, of those asked so far. The time
        left is not, while few have ended, which began together, or more is asked than was thought;
        without news it runs down. The speed is that of calls where each writes a token or two.
        """
        seconds, now = max(self.news - self.started, 0.0), time.monotonic()
        facts, works = [], not self.over and self.done < self.todo
        tells = self.done or self.calls["ended"] >= _TELLING * self.calls["asked"]
        if works and tells and 0 < self.far < self.todo and seconds >= 1 and not self.held:
            left = seconds / self.far * (self.todo - self.far) - (now - self.news)
            facts += [f"{timedelta(seconds=round(left))} left"] if left >= 1 else []
        ended = max(self.calls["ended"], self.counts["calls"])
        tokens = max(self.counts["tokens"], self.calls["tokens"])
        each, unit = (tokens, "tokens") if tokens > 2 * ended else (ended, self.unit)
        if each and seconds >= 1:
            speed = each / seconds
            facts.append(f"{speed:,.{0 if speed >= 9.95 else 1}f} {unit}/s")
        lost = self.counts | Counter(errors=self.calls["failed"])
        facts += [f"{lost[n]:,} {said[lost[n] > 1]}" for n, said in _COUNTED.items() if lost[n]]
        if works and self.calls["ended"] < self.calls["asked"]:
            facts.append(f"{self.calls['ended']:,} of {self.calls['asked']:,} {self.unit}")
        facts += [self.at_work()] if works and self.loading else []
        return facts


def _told(event: dict[str, Any]) -> str:
    """Return what an event says besides how far the work has come; "" for nothing."""
    if event["event"] == "retry":
        return f"trying again: {printable(event['why'])}"
    return printable(event["why"]) if event["event"] in _SAID else ""


@contextmanager
def _lines() -> Iterator[Listener]:
    """Print a line every `EVERY` seconds while a stage is at work, and every trouble, on stderr.

    What was done before and what is over in no time stays unsaid, so that a log of a run that had
    nothing to do holds its last line alone.
    """
    work, last = _Work(), time.monotonic()
    lock, ended = threading.Lock(), threading.Event()

    def say(text: str) -> None:
        print(time.strftime("%H:%M:%S ") + text, file=sys.stderr, flush=True)

    def beat() -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < EVERY or not work.todo:
            return
        last = now
        note = ", ".join(work.facts())
        if not work.done and not work.calls:
            what = work.at_work() if work.loading else "no shard done yet"
            note = f"{what}, {timedelta(seconds=round(now - work.started))} so far"
        say(f"{work.name}: " + "; ".join(filter(None, [f"{work.done} of {work.todo} rows", note])))

    def tell(event: dict[str, Any]) -> None:
        nonlocal work
        with lock:
            if event["event"] == "end":
                work = _Work()
            work = work.after(event)
            if text := _told(event):
                say(f"{event['stage']}: {text}")
            if event["event"] in ("part", "stage"):
                beat()

    def clock() -> None:
        while not ended.wait(EVERY / 4):
            with lock:
                if work.done < work.todo:
                    beat()

    timer = threading.Thread(target=clock, name="progress", daemon=True)
    timer.start()
    try:
        yield tell
    finally:
        ended.set()
        timer.join()


@contextmanager
def _bars() -> Iterator[Listener]:
    from rich.markup import escape  # rich takes a while to import

    from curate.bars import NO_BAR, drawn

    lock = threading.Lock()  # bars are drawn by a thread
    with drawn(lock) as progress:
        work, bar = _Work(), NO_BAR

        def tell(event: dict[str, Any]) -> None:
            nonlocal work, bar
            with lock:
                work = work.after(event)
            before = work.rows - work.todo
            if event["event"] == "stage":
                bar = progress.add_task(
                    escape(work.name), total=work.rows, completed=before, rows=before,
                    facts=partial(_first_facts, work),
                )  # fmt: skip
                if not event["todo"]:
                    progress.stop_task(bar)
            elif event["event"] in ("part", "progress"):
                progress.update(bar, completed=before + work.far, rows=before + work.done)
            elif text := _told(event):
                progress.console.print(f"{event['stage']}: {text}", markup=False)

        try:
            yield tell
        finally:
            work.over = True  # no time left is said of what was stopped


def _first_facts(work: _Work) -> list[str]:
    """Return what is said of a bar, also before there is anything to say."""
    if not work.rows or work.done or work.calls:
        return work.facts()
    return [work.at_work()] if work.todo else ["done before"]
