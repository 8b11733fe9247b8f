"""Each row to the judge for its kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeAlias

import numpy as np
import pyarrow as pa
from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from curate.arrays import Column, one_chunk
from curate.engines.contract import Capability
from curate.errors import StageError
from curate.schema import JUDGMENTS
from curate.stage import Context, Result, Stage, stage_registry


def _parsed(form: object) -> Stage:
    return form if isinstance(form, Stage) else stage_registry.parse(form, "route")


Inner: TypeAlias = Annotated[
    Stage, BeforeValidator(_parsed), PlainSerializer(lambda stage: stage.to_yaml())
]


class Route(Stage, name="route"):
    """Append the judgments of the stage that is for the row's kind; kinds come from a column.

    A rubric for mathematics and one for chat, an instruction for prompts about safety, a
    reference for questions with one right answer: `to` maps each kind to a stage that appends
    judgments and nothing else, such as `judge`, `likelihood`, `relevance` or `reward`. The
    column holds a text, or a list of texts as `tag` writes it; then the first kind of `to` that
    the list holds counts. Rows of no kind go to `otherwise`, or get no judgment.
    """

    appends = ("judgments",)
    seeded = True

    by: str
    """The column with each row's kind."""
    to: dict[str, Inner] = Field(min_length=1)
    """The stage for each kind, as it would stand in a pipeline."""
    otherwise: Inner | None = None
    """The stage for the rows of any other kind, and of none."""

    @model_validator(mode="after")
    def _judging(self) -> Route:
        for stage in self._stages():
            if stage.appends != ("judgments",) or stage.written():
                raise ValueError(f"`{stage.kind}` does more than append judgments")
            if stage.view_scope() != "shard":
                raise ValueError(f"`{stage.kind}` looks at all rows at once; a part is not enough")
        return self

    def needed(self) -> tuple[str, ...]:
        """The column with the kinds, and what the stages need."""
        return tuple(dict.fromkeys((self.by, *(n for s in self._stages() for n in s.needed()))))

    def used(self) -> tuple[str, ...]:
        """What the stages use."""
        return tuple(dict.fromkeys(n for s in self._stages() for n in s.used()))

    def engine_roles(self) -> Iterator[tuple[str, tuple[Capability, ...]]]:
        """The engines of all stages."""
        for stage in self._stages():
            yield from stage.engine_roles()

    def identity(self) -> dict[str, Any]:
        """The column, and the stages' own identities in the order of `to`."""
        to = [[kind, stage.identity()] for kind, stage in self.to.items()]
        other = None if self.otherwise is None else self.otherwise.identity()
        return super().identity() | {"to": to, "otherwise": other}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the judgments. Raises StageError for a column that holds no kinds."""
        kinds = row_kinds(view[self.by], self.by, self.to)
        parts, rows = [], []
        for kind, stage in [*self.to.items(), (None, self.otherwise)]:
            mine = np.flatnonzero(kinds == kind)
            rows.append(mine)
            ctx.counts[f"rows of {'no kind' if kind is None else kind}"] += len(mine)
            parts.append(pa.array([[]] * len(mine), JUDGMENTS))
            if stage is not None and len(mine):
                parts[-1] = _judged(stage, view.take(pa.array(mine)), ctx)
        order = np.argsort(np.concatenate(rows))
        return {"judgments": pa.concat_arrays(parts).take(pa.array(order))}

    def _stages(self) -> list[Stage]:
        return [*self.to.values(), *(() if self.otherwise is None else (self.otherwise,))]


def row_kinds(column: Column, name: str, known: Mapping[str, object]) -> np.ndarray:
    """Return (rows,) the kind of each row, one of `known`, or None.

    Of a list it is the first of `known` that the list holds. Raises StageError for a column
    that holds neither texts nor lists of texts.
    """
    kind = column.type
    if not (pa.types.is_string(kind) or _texts(kind)):
        raise StageError(f"route: {name!r} must hold texts or lists of texts; it holds {kind}")
    found = np.empty(len(column), dtype=object)
    for row, value in enumerate(one_chunk(column).to_pylist()):
        held = (value,) if isinstance(value, str) else value or ()
        found[row] = next((one for one in known if one in held), None)
    return found


def _texts(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) and pa.types.is_string(kind.value_type))


def _judged(stage: Stage, view: pa.Table, ctx: Context) -> pa.Array:
    names = [n for n in (*stage.needed(), *stage.used()) if n in view.column_names]
    result = stage.apply(view.select(list(dict.fromkeys(names))), ctx)
    if list(result) != ["judgments"]:
        raise StageError(f"route: `{stage.kind}` returned {sorted(result)}, not judgments alone")
    return one_chunk(result["judgments"])
