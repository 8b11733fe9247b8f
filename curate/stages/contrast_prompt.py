"""The same answer under another prompt, to which it is the worse answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curate.arrays import lengths, messages_of, one_chunk, starts_of
from curate.errors import StageError
from curate.methods.constraints import Constraint, broken, satisfied, worded
from curate.schema import DROP, PROMPT
from curate.stage import Context, Result, Stage
from curate.stages.constrain import read_constraints
from curate.stages.live import LiveCandidates, live_candidates, with_reasons

BROKEN = "breaks a condition of its prompt"


class ContrastPrompt(Stage, name="contrast_prompt"):
    """Write for each prompt another one, with one condition changed that its answers break.

    For prompts from `constrain`: an answer that keeps to all of them is better under its own
    prompt than under `other_prompt`, and the export form `prompts` pairs these two (prompt-varied
    pairs, MAPL, Sun et al. 2025). Answers that break a condition of their own prompt are dropped.
    Writes `other_constraints` too. A row without an answer left, or whose answers keep to every
    condition that could be put in, is dropped.
    """

    needs = ("id", "prompt", "constraints", "candidates")
    writes = ("candidates", "other_prompt", "other_constraints")
    seeded = True

    loose: bool = False
    """Read answers without asterisks, their first line or their last too, as IFEval's second
    reading does."""

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the columns. Raises StageError for constraints that cannot be read."""
        live, counts = live_candidates(view["candidates"]), lengths(view["candidates"])
        asked = [read_constraints(row) for row in one_chunk(view["constraints"]).to_pylist()]
        kept = self._kept(live, asked)
        texts: list[list[str]] = [[] for _ in asked]
        for text, row, keeps in zip(live.texts.to_pylist(), live.row, kept, strict=True):
            if keeps:
                texts[row].append(text)
        reasons = np.full(int(counts.sum()), None, dtype=object)
        lost = ~np.array(kept, dtype=bool)
        reasons[(starts_of(counts)[live.row] + live.place)[lost]] = BROKEN
        seeds = ctx.row_seeds(view["id"], self.kind).tolist()
        others, new, why = [], [], []
        for row, turns in enumerate(messages_of(view["prompt"])):
            other, given, reason = self._other(seeds[row], turns, asked[row], texts[row])
            others.append(other)
            new.append([json.dumps(one) for one in given])
            why.append(reason)
        return {
            "candidates": with_reasons(view["candidates"], pa.array(reasons, pa.string())),
            "other_prompt": pa.array(others, PROMPT),
            "other_constraints": pa.array(new, pa.list_(pa.string())),
            DROP: pa.array(why, pa.string()),
        }

    def _kept(self, live: LiveCandidates, asked: Sequence[Sequence[Sequence[Any]]]) -> list[bool]:
        """Return whether each live answer keeps to all of its row's constraints."""
        try:
            return [
                all(satisfied(text, one, loose=self.loose) for one in asked[row])
                for text, row in zip(live.texts.to_pylist(), live.row, strict=True)
            ]
        except ValueError as error:
            raise StageError(f"{self.kind}: {error}") from None

    def _other(
        self,
        seed: int,
        turns: list[dict[str, str]],
        asked: Sequence[Sequence[Any]],
        texts: list[str],
    ) -> tuple[list[dict[str, str]] | None, list[Constraint], str | None]:
        """Return the other prompt and its constraints, or why there is none."""
        if not asked:
            return None, [], "no constraints"
        if not texts:
            return None, [], "no answer keeps to the constraints"
        ending = "\n".join(map(worded, asked))
        said = turns[-1]["content"] or ""
        if not said.endswith(ending):
            return None, [], "the prompt does not end with its constraints"
        given = broken(seed, texts, asked, loose=self.loose)
        if given is None:
            return None, [], "the answers keep to every other condition"
        text = said.removesuffix(ending) + "\n".join(map(worded, given))
        return [*turns[:-1], {**turns[-1], "content": text}], given, None
