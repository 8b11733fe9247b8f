"""The last attempt at a run: is it under way, did it end, was it killed, and how far did it come.

A manifest is written when an attempt ends. Until then, and after a kill, what there is to know
stands in the run's folder: `owner.json` (who began, and when), the lock, the file `open`, and the
events since that beginning.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from curate.events import read_events
from curate.guard import OPEN, held, owner_of, utc

State = Literal["running", "ended", "failed", "killed", "unknown"]


@dataclass(frozen=True)
class Attempt:
    """How far the last attempt at a run has come.

    `state` is "ended" where the manifest says the rest: the attempt ended by itself, or because
    it was asked to. "failed" is one that ended on `error`, "killed" one that wrote nothing at its
    end, and "unknown" one of which another user's or machine's files do not say which it is.

    `stage` is the one at work, or where the attempt stopped ("source" before the first). `shards`
    and `rows` are those of it, `shards_done` and `rows_done` the ones behind it. `since` is when
    the attempt began, in seconds since 1970, by process `pid` on `host`.
    """

    state: State
    stage: str = "source"
    shards: int = 0
    shards_done: int = 0
    rows: int = 0
    rows_done: int = 0
    since: float | None = None
    pid: int | None = None
    host: str | None = None
    error: str | None = None

    def facts(self) -> dict[str, Any]:
        """Return what is known, as JSON-serialisable data."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def text(self) -> str:
        """Say it in a line; "" where the manifest says the rest."""
        if self.state == "ended":
            return ""
        far = f" after {self.shards_done} of {self.shards} shards" if self.shards else ""
        if self.state == "failed":
            return f"stopped at {self.stage}{far}: {self.error}"
        if self.state == "killed":
            return f"stopped: killed or crashed at {self.stage}{far}; the same command resumes"
        far = f", {self.shards_done} of {self.shards} shards" if self.shards else ""
        doubt = "" if self.state == "running" else " or killed, for its lock cannot be tried here"
        return f"under way at {self.stage}{far}{self._begun()}{doubt}"

    def _begun(self) -> str:
        if self.since is None:
            return ""
        return f", since {utc(self.since)} (process {self.pid} on {self.host})"


def last_attempt(folder: Path) -> Attempt:
    """Return the last attempt at the run of this folder, from its files; unreadable ones say less.

    A rerun of a finished run, and one that found the run finished, are attempts too.
    """
    owner, locked = owner_of(folder), held(folder)
    begun = owner.since if owner else 0.0
    events = [e for e in read_events(folder / "events.jsonl") if e.get("time", 0.0) >= begun]
    error = next((str(e.get("why")) for e in reversed(events) if e["event"] == "error"), None)
    if locked:
        state: State = "running"
    elif not (folder / OPEN).exists() or any(e["event"] == "end" for e in events):
        state = "ended"
    elif error is not None:
        state = "failed"
    else:
        state = "killed" if locked is False else "unknown"
    who = owner._asdict() if owner else {}
    return Attempt(state, **_how_far(events), **who, error=error)


def _how_far(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the last stage that was begun, and how much of it is done."""
    begun = [place for place, event in enumerate(events) if event["event"] == "stage"]
    if not begun:
        return {}
    stage, after = events[begun[-1]], events[begun[-1] + 1 :]
    parts = [event for event in after if event["event"] == "part"]
    shards, todo, rows, rows_todo = (
        stage.get(n, 0) for n in ("shards", "todo", "rows", "rows_todo")
    )
    at_once = todo == 1 and rows_todo == rows  # one task for all shards, or the only one
    done = (shards if parts else 0) if at_once else shards - todo + len(parts)
    return {
        "stage": stage["stage"],
        "shards": shards,
        "shards_done": done,
        "rows": rows,
        "rows_done": rows - rows_todo + sum(event["rows"] for event in parts),
    }
