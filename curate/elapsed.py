"""How long a run's stages took by the clock, from its events: shards overlap, so sums mislead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from curate.events import read_events


class Took(NamedTuple):
    """Seconds of one stage, added up over the run and its earlier attempts."""

    coming_up: float = 0.0  # by the clock, before the first shard: a process starts, a model loads
    busy: float = 0.0  # by the clock, while shards were at work
    worked: float = 0.0  # of the shards, which overlap

    @property
    def pace(self) -> float:
        """Seconds by the clock for a second of a shard: 1/4 where four are at work at once."""
        return self.busy / self.worked if self.worked else 1.0


def elapsed(folder: Path, kinds: Sequence[str]) -> list[Took]:
    """Return what each of the stages `kinds`, in their order, took in the run of this folder.

    What an earlier attempt did with other stages in these places counts for nothing, nor does an
    unreadable line.
    """
    took = [Took()] * len(kinds)
    place, started, parts = -1, 0.0, list[tuple[float, float]]()

    def close() -> None:
        if parts and 0 <= place < len(kinds):
            begun = max(started, min(end - seconds for end, seconds in parts))
            new = (begun - started, max(end for end, _ in parts) - begun, sum(s for _, s in parts))
            took[place] = Took(*(a + b for a, b in zip(took[place], new, strict=True)))
        parts.clear()

    for event in read_events(folder / "events.jsonl", "source", "stage", "part"):
        if event["event"] in ("source", "stage"):
            close()
            place = -1 if event["event"] == "source" else place + 1
            started = event["time"]
        same = 0 <= place < len(kinds) and event.get("stage") == kinds[place]
        if event["event"] == "part" and same:
            parts.append((event["time"], event["seconds"]))
    close()
    return took
