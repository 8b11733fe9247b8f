"""The name of a column that a stage adds."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from curate.schema import COLUMNS, DROP, FAIL


def _free(name: str) -> str:
    if name in COLUMNS or name in (DROP, FAIL):
        raise ValueError(f"{name!r} is a column of another type; choose another name")
    return name


NewColumn = Annotated[str, Field(min_length=1), AfterValidator(_free)]
"""Any name but those of the columns whose type is fixed."""
