"""Answers that give away what their reader must not know of."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrays import lengths, starts_of
from curate.methods.quotes import quoted
from curate.stage import Context, Result, Stage
from curate.stages.live import live_candidates, with_reasons
from curate.stages.row_texts import row_texts, source_of
from curate.stages.shown import transcripts


class DropQuotes(Stage, name="drop_quotes"):
    """Drop candidates that quote `words` or more words in a row from columns not in the prompt.

    For answers that were written with something in view which the prompt does not hold, such as
    what the user said afterwards, or hidden instructions: a model that learns from "here it is
    again without the jargon, as you asked" learns to answer what nobody asked. What the prompt
    says too may be repeated. Only literal quotes are found.
    """

    needs = ("prompt", "candidates")
    writes = ("candidates",)

    of: tuple[str, ...] = Field(min_length=1)
    """Columns of texts or of lists of texts; "meta.KEY" is a key of the source's own columns."""
    words: int = Field(default=6, ge=2)
    """How many words in a row make a quote."""

    def needed(self) -> tuple[str, ...]:
        """Prompt and candidates, and the columns that must not be quoted."""
        return tuple(dict.fromkeys((*self.needs, *map(source_of, self.of))))

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the candidates with their reasons."""
        live, counts = live_candidates(view["candidates"]), lengths(view["candidates"])
        hidden = [pc.fill_null(row_texts(view, name), "").to_pylist() for name in self.of]
        known = transcripts(view["prompt"]).to_pylist()
        starts = starts_of(counts)
        reasons = np.full(int(counts.sum()), None, dtype=object)
        for text, row, place in zip(live.texts.to_pylist(), live.row, live.place, strict=True):
            for name, texts in zip(self.of, hidden, strict=True):
                if run := quoted(text, texts[row], known[row], self.words):
                    reasons[starts[row] + place] = f"quotes {name}: {run}"
                    ctx.counts[f"quotes of {name}"] += 1
                    break
        return {"candidates": with_reasons(view["candidates"], pa.array(reasons, pa.string()))}
