"""The stage contract: the one rule that everything else rests on.

A stage sees the columns it **needs** and returns the columns it **writes**, row for row. It
may give a row, a candidate or a pair a **reason** to be dropped. It never reorders, adds or
deletes rows. Only sources create rows and only the export reshapes them, so every input row
ends up exported, dropped with a reason, or failed with an error.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from curate.arrays import hashes
from curate.component import Component, Registry, Runtime
from curate.division import Division
from curate.encoders import Encoder, Vectors
from curate.engines.contract import Capability, Engine, EngineSpec
from curate.errors import ConfigError, StageError
from curate.meter import TEXTS, Meters
from curate.schema import DROP, FAIL
from curate.vector_cache import CachedEncoder

Scope = Literal["shard", "dataset"]
Result = Mapping[str, pa.Array | pa.ChunkedArray]


@dataclass(frozen=True)
class EngineRole:
    """Marks a field that names an engine (or several) of the pipeline, and what it must do."""

    capabilities: tuple[Capability, ...] = ("chat",)


class WrittenMark:
    """Marks a field that names a column which the stage writes."""


@dataclass
class Context:
    """What a stage may use beside its view: the run's seed, its engines, its counters.

    `vectors` is the folder in which a store keeps vectors by their texts, and `vectors_used`
    holds the files there that they were found in or put into. `meters` count what the stage does
    itself that takes long: `meters.of("programs")` is told of what is to be done and of what is
    done, and the progress shows it. Engines and `encode` count by themselves.
    """

    seed: int = 0
    engines: Mapping[str, Engine] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    vectors: Path | None = None
    vectors_used: set[str] = field(default_factory=set)
    meters: Meters = field(default_factory=Meters)

    def engine(self, role: str) -> Engine:
        """Return the loaded engine that the pipeline calls `role`."""
        if role not in self.engines:
            raise ConfigError(f"no engine named {role!r}; engines: {sorted(self.engines)}")
        return self.engines[role]

    def encode(
        self, encoder: Encoder, texts: Sequence[str], batch_size: int = 64, cache: bool = True
    ) -> Vectors:
        """Return one unit vector a text (n, d), in the order of `texts`, and count them.

        With `cache` what the store has of them is looked up, where there is a store, and what it
        has not is kept. Raises StoreError.
        """
        if cache and self.vectors is not None:
            encoder = CachedEncoder(encoder, self.vectors, self.vectors_used)
        meter = self.meters.of(TEXTS)
        meter.asked(len(set(texts)))
        return encoder.encode(texts, batch_size, meter.ended)

    def row_seeds(self, ids: pa.Array | pa.ChunkedArray, purpose: str) -> npt.NDArray[np.uint64]:
        """Return a seed in [0, 2**63) for each row, from the run's seed, its id and the purpose.

        Never from position or worker, so that a row draws the same wherever it is worked on.
        `arrays.mix` makes further seeds of one, for candidates or samples.
        """
        start = xxhash.xxh3_64_intdigest(f"{self.seed}\0{purpose}".encode())
        return hashes(ids, start) >> np.uint64(1)


stage_registry: Registry[Stage] = Registry("stage")


class Stage(Component):
    """One step of a pipeline; subclass with `class MinWords(Stage, name="min_words")`.

    `needs` must exist; `uses` are given where an earlier stage writes them; `writes` replace a
    column; `appends` extend a list column element by element (several judges each append to
    `judgments` without depending on each other). `seeded` adds the run's seed to the identity.
    `scope` says whether `apply` sees one shard at a time or all rows. `version` is raised when the
    same fields come to mean another output: code is not hashed, and stored parts are found by the
    kind, the version, the fields that are not `Runtime`, and what the columns read hold.
    """

    registry: ClassVar[Registry[Any] | None] = stage_registry
    scope: ClassVar[Scope] = "shard"
    needs: ClassVar[tuple[str, ...]] = ()
    uses: ClassVar[tuple[str, ...]] = ()
    writes: ClassVar[tuple[str, ...]] = ()
    appends: ClassVar[tuple[str, ...]] = ()
    seeded: ClassVar[bool] = False

    @abstractmethod
    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return new columns, each as long as `view`, row for row.

        `view` holds the needed columns of the rows still alive: of one shard, or of every
        shard where the scope is "dataset". It may have no rows, and its columns several chunks.
        Several threads call this at once on the one frozen object: what a call needs to remember
        is its own. The same view must give the same result.

        Columns of `schema.COLUMNS` have the types that stand there; others hold numbers,
        booleans, times, texts, bytes, or lists and structs of these (`arrays.plain_type`).
        The columns `drop` and `fail` hold a text where a row leaves, as a decision or an error,
        and null elsewhere. Reports group reasons by what stands before the first ": " or " (", so
        that details may follow.

        Counters in `ctx.counts` are whole numbers and add up over the shards. `plan` and the
        progress read `calls`, `prompt_tokens`, `tokens` and `errors`, the report also those that
        begin with "replies: " (`calls.count_replies`); any other is shown as it is.

        Raises StageError where the shard cannot be done; what was committed stays.
        """

    def ready(self) -> None:
        """Raise ConfigError for what can be known to be missing before anything runs."""

    def division(self) -> Division | None:
        """How `apply` over all rows can be done in pieces on many workers, with the same result.

        None: it needs the columns of all rows in one process.
        """
        return None

    # Those below exist for stages whose columns or scope depend on their fields.

    def needed(self) -> tuple[str, ...]:
        """Columns that must exist before this stage."""
        return self.needs

    def used(self) -> tuple[str, ...]:
        """Columns that are handed over where they exist."""
        return self.uses

    def written(self) -> tuple[str, ...]:
        """Columns that exist after this stage, appended ones left out."""
        fields = type(self).model_fields.items()
        marked = [n for n, i in fields if any(isinstance(m, WrittenMark) for m in i.metadata)]
        return (*self.writes, *(getattr(self, name) for name in marked))

    def why_needed(self, column: str) -> str:
        """What asks for a column, where that is no field of the stage: "" or some words."""
        return ""

    def view_scope(self) -> Scope:
        """Whether `apply` sees one shard or all of them."""
        return self.scope

    def engine_roles(self) -> Iterator[tuple[str, tuple[Capability, ...]]]:
        """Yield (engine name, capabilities needed) for every engine this stage names."""
        for name, info in type(self).model_fields.items():
            for mark in info.metadata:
                if isinstance(mark, EngineRole):
                    value = getattr(self, name)
                    for role in (value,) if isinstance(value, str) else value or ():
                        yield role, mark.capabilities


def summary(kind: type[Component]) -> str:
    """Return what a stage or an engine does in one line: the first paragraph of its docstring."""
    return inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def check_ready(stages: Iterable[Stage], engines: Mapping[str, EngineSpec]) -> None:
    """Ask the stages, and the engines that they name, whether all that they need is there.

    Raises the ConfigError of the first that lacks something, with the stage or the engine before,
    or a StageError where it may be there later.
    """
    asked: set[str] = set()
    for stage in stages:
        here: list[tuple[str, Stage | EngineSpec]] = [(f"stage `{stage.kind}`", stage)]
        roles = [role for role, _ in stage.engine_roles() if role not in asked]
        asked.update(roles)
        here += [(f"engine {role!r}", engines[role]) for role in dict.fromkeys(roles)]
        for what, one in here:
            try:
                one.ready()
            except (ConfigError, StageError) as error:
                kind = StageError if isinstance(error, StageError) else ConfigError
                raise kind(f"{what}: {error}") from error


def drop(mask: pa.Array | pa.ChunkedArray, reason: str) -> dict[str, pa.Array]:
    """Drop the rows where `mask` is true, for `reason`; null counts as false."""
    return {DROP: reasons(mask, reason)}


def fail(mask: pa.Array | pa.ChunkedArray, error: str) -> dict[str, pa.Array]:
    """Mark the rows where `mask` is true as failed with `error`; null counts as false."""
    return {FAIL: reasons(mask, error)}


def reasons(mask: pa.Array | pa.ChunkedArray, reason: str) -> pa.Array:
    """Return a string column that holds `reason` where `mask` is true and null elsewhere."""
    return pc.if_else(pc.fill_null(mask, False), pa.scalar(reason), pa.scalar(None, pa.string()))


__all__ = [
    "Context",
    "EngineRole",
    "Result",
    "Runtime",
    "Stage",
    "WrittenMark",
    "check_ready",
    "drop",
    "fail",
    "stage_registry",
    "summary",
]
