"""Columns that a stage adds under a name of the pipeline's choice."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from curate.schema import COLUMNS, DROP, FAIL
from curate.stage import WrittenMark
from curate.stages.pooled import Pooled


def _free(name: str) -> str:
    if name in COLUMNS or name in (DROP, FAIL):
        raise ValueError(f"{name!r} is a column of another type; choose another name")
    return name


NewColumn = Annotated[str, Field(min_length=1), AfterValidator(_free), WrittenMark()]
"""What a column is to be called that the stage writes: as none of those of a fixed type."""


class OfVectors(Pooled):
    """A stage that writes a number for each row from the embeddings of all."""

    to: NewColumn
    """The column to write."""

    def needed(self) -> tuple[str, ...]:
        """Return the columns of id and embedding."""
        return (*self.needs, self.embedding)
