"""The last run of a pipeline, and what of it will still be there once changed stages are done.

A part stays where the columns that its stage reads, and the rows alive, come out as they were. That
is certain only after the stages before it; the forecast takes them to do what they did last time:

- a stage over all rows that sees some new ones treats the others as before;
- a stage that only appends, as judges do, drops no row.

Whatever else is not known counts as changed, so a forecast rather says too much than too little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from curate.pipeline import Pipeline
from curate.stage import Stage
from curate.store import Record, Store
from curate.tasks import task_keys
from curate.work import Shard, view_columns

UNKNOWN = "unknown"  # in place of a digest: no part's key was made from it
Named = Sequence[tuple[str, str]]  # parts by stage and key: records of all would fill the memory


@dataclass
class Rates:
    """What parts of one stage took and gave; sums over the parts."""

    rows_in: int = 0
    rows_out: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, records: Sequence[Record]) -> Rates:
        """Add up the records."""
        rates = cls()
        for record in records:
            rates.rows_in += record.rows_in
            rates.rows_out += record.rows_out
            rates.seconds += record.seconds
            rates.counts.update(record.counts)
        return rates

    @property
    def kept(self) -> float:
        """The share of the rows that stayed; 1 where there were none."""
        return self.rows_out / self.rows_in if self.rows_in else 1.0


@dataclass(frozen=True)
class Earlier:
    """The last run of the pipeline, as its manifest tells it."""

    identities: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    rates: Mapping[str, list[Rates]] = field(default_factory=dict)
    engines: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    seed: int | None = None
    places: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """Where the first, second, ... stage of a kind stood."""
    parts: Mapping[str, Named] = field(default_factory=dict)
    """By the key of a shard's source: its parts in order, the source's first."""

    @classmethod
    def load(cls, path: Path, store: Store) -> Earlier:
        """Read the manifest; what is missing or cannot be read counts as never run."""
        try:
            found = orjson.loads(path.read_bytes())
            identities: dict[str, list[dict[str, Any]]] = {}
            rates: dict[str, list[Rates]] = {}
            places: dict[tuple[str, int], int] = {}
            for place, identity in enumerate(found["stages"], 1):
                kind = identity["kind"]
                places[kind, len(identities.get(kind, ()))] = place
                identities.setdefault(kind, []).append(identity)
                parts = [store.find(*shard[place]) for shard in found["shards"]]
                rates.setdefault(kind, []).append(Rates.of([p for p in parts if p]))
            sources = {shard[0][1]: shard for shard in found["shards"]}
            return cls(identities, rates, found["engines"], found.get("seed"), places, sources)
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            return cls()

    def knows(self, stage: Stage) -> bool:
        """Whether a stage with this identity stood somewhere in the last run."""
        return stage.identity() in self.identities.get(stage.kind, [])

    def same(self, stage: Stage, turn: int, pipeline: Pipeline) -> bool:
        """Whether the stage, the `turn`th of its kind, stood in the last run as it is now."""
        engines = {role: pipeline.engines[role].identity() for role, _ in stage.engine_roles()}
        return (
            stage.identity() in self.identities.get(stage.kind, [])[turn : turn + 1]
            and all(self.engines.get(role) == spec for role, spec in engines.items())
            and not (stage.seeded and self.seed not in (None, pipeline.seed))
        )

    def before(self, store: Store, shard: Shard, place: int) -> tuple[Shard, Record] | None:
        """Return the same source's shard before the last run's stage there, and its part."""
        parts = self.parts.get(shard.parts[0].key, ()) if shard.parts else ()
        then = Shard(shard.index)
        for at, named in enumerate(parts[: place + 1]):
            part = store.find(*named)
            if part is None:
                return None
            if at == place:
                return then, part
            then = then.advance(part)
        return None


class Forecast:
    """Walks through the stages with each shard as it will be, as far as that can be told."""

    def __init__(
        self, pipeline: Pipeline, store: Store, earlier: Earlier, shards: Sequence[Shard]
    ) -> None:
        """`shards` are as the first stage that is not done will find them."""
        self._pipeline, self._store, self._earlier = pipeline, store, earlier
        self._shards = list(shards)
        self._rows = [float(shard.rows) for shard in shards]

    def step(self, stage: Stage, turn: int, ratio: float) -> tuple[float, int]:
        """Return the rows that are left to the stage, and how many shards' parts will be there.

        `turn` counts the stages of its kind from 0; `ratio` is the share of rows that it keeps
        where nothing better is known. Stages are asked for in order.
        """
        keys = task_keys(stage, self._shards, self._pipeline)
        found = [self._store.find(stage.kind, key) for key in keys]
        whole = stage.view_scope() == "dataset"
        if whole and not all(found):
            found = [None] * len(found)
        rows = sum(r for r, part in zip(self._rows, found, strict=True) if part is None)
        place = self._earlier.places.get((stage.kind, turn), 0)
        again = whole and place and self._earlier.same(stage, turn, self._pipeline)
        for i, part in enumerate(found):
            if part is not None:
                self._advance(i, part)
            elif not (again and self._as_before(i, stage, place)):
                self._blur(i, stage, ratio)
        return rows, sum(part is not None for part in found)

    def _advance(self, i: int, part: Record) -> None:
        self._shards[i] = self._shards[i].advance(part)
        self._rows[i] = float(part.rows_out)

    def _as_before(self, i: int, stage: Stage, place: int) -> bool:
        """Take the shard on by its last part, if the stage saw the same of it."""
        shard, then = self._shards[i], self._earlier.before(self._store, self._shards[i], place)
        if then is None or then[0].alive != shard.alive:
            return False
        if any(shard.columns[c] != then[0].columns.get(c) for c in view_columns(stage, shard)):
            return False
        self._advance(i, then[1])
        self._forget(i, stage)
        return True

    def _blur(self, i: int, stage: Stage, ratio: float) -> None:
        """Take the shard on without knowing what the stage will make of it."""
        if not stage.appends or stage.written():
            self._shards[i] = replace(self._shards[i], alive=UNKNOWN)
        self._forget(i, stage)
        self._rows[i] *= ratio

    def _forget(self, i: int, stage: Stage) -> None:
        """What the stage gives anew may be another than it was."""
        anew = dict.fromkeys((*stage.written(), *stage.appends), UNKNOWN)
        self._shards[i] = replace(self._shards[i], columns={**self._shards[i].columns, **anew})
