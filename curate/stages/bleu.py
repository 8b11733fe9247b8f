"""How near each answer comes to references in its words."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pyarrow as pa
from pydantic import Field

from curate.errors import StageError
from curate.methods.bleu import sentence_bleu
from curate.methods.columns import base_column, values_of
from curate.stage import Context, Result, Stage
from curate.stages.live import judged_by


class Bleu(Stage, name="bleu"):
    """Append each live candidate's smoothed BLEU against the row's references as a judgment.

    In [0, 1]. Against references by strong models it agreed with people about as often as reward
    models of 8B parameters did, and costs nothing (BLEUBERI, Chang et al. 2025); but what says
    the same in other words scores less, and several references help. Rows without a reference
    get no judgment.
    """

    needs = ("candidates",)
    appends = ("judgments",)

    references: tuple[str, ...] = Field(("reference",), min_length=1)
    """Columns of texts or of lists of texts; "meta.KEY" is a key of the source's own columns."""
    name: str = "bleu"
    """The judge's name in the judgments."""

    def needed(self) -> tuple[str, ...]:
        """The columns of references, and the candidates."""
        return tuple(dict.fromkeys((*map(base_column, self.references), *self.needs)))

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the new judgments. Raises StageError for references that are no texts."""
        columns = [_texts(values_of(view, name), name) for name in self.references]
        references = [list(chain.from_iterable(row)) for row in zip(*columns, strict=True)]
        return {
            "judgments": judged_by(
                sentence_bleu, references, view["candidates"], judge=self.name, aspect="reference"
            )
        }


def _texts(values: list[Any], name: str) -> list[list[str]]:
    """Return each row's texts that are not blank."""
    rows = [value if isinstance(value, list) else [value] for value in values]
    wrong = {
        type(text).__name__ for row in rows for text in row if not isinstance(text, str | None)
    }
    if wrong:
        raise StageError(f"bleu: {name!r} must hold texts or lists of texts, not {min(wrong)}")
    return [[text for text in row if text and text.strip()] for row in rows]
