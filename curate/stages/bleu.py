"""How near each answer comes to a reference in its words."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import one_chunk
from curate.methods.bleu import sentence_bleu
from curate.stage import Context, Result, Stage
from curate.stages.live import judged, live_candidates


class Bleu(Stage, name="bleu"):
    """Append each live candidate's smoothed BLEU against the row's reference as a judgment.

    In [0, 1]. Against references by strong models it agreed with people about as often as reward
    models of 8B parameters did, and costs nothing (BLEUBERI, Chang et al. 2025); but what says
    the same in other words scores less. Rows without a reference get no judgment.
    """

    needs = ("reference", "candidates")
    appends = ("judgments",)

    name: str = "bleu"
    """The judge's name in the judgments."""

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the new judgments."""
        live = live_candidates(view["candidates"])
        reference = pc.fill_null(one_chunk(view["reference"]), "").to_pylist()
        live = live.of_rows(np.array([bool(text.strip()) for text in reference], dtype=bool))
        row, texts = live.row, live.texts.to_pylist()
        scores = [
            sentence_bleu(text, reference[i]) for text, i in zip(texts, row.tolist(), strict=True)
        ]
        return {
            "judgments": judged(
                len(view),
                row,
                judge=self.name,
                aspect="reference",
                a=pa.array(live.place),
                score=pa.array(scores, pa.float32()),
                status="ok",
                text="",
            )
        }
