"""Preference pairs that cannot teach what they should: found, named, and dropped on request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator

from curate.arrays import (
    Bools,
    flat,
    large,
    lengths,
    lists,
    one_chunk,
    set_field,
    text_of,
)
from curate.errors import did_you_mean
from curate.methods.evidence import Comparisons, comparisons
from curate.methods.judgments import true
from curate.methods.lint_checks import (
    ERRORS,
    FINDINGS,
    OF_THE_SET,
    Facts,
    PairTexts,
    facts,
    findings,
    joined,
)
from curate.schema import DROP
from curate.stage import Context, Result
from curate.stages.pair_edits import all_dropped, first_reason
from curate.stages.reduced import Reduced, Values

OWN, SIDES = "own", ("winner", "loser")
COMPARED = ("prompt", "chosen", "rejected", "longer", "first")
BATCH = 20_000  # rows looked at at once: bounds memory and changes no output


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in FINDINGS:
            raise ValueError(f"unknown finding {name!r}{did_you_mean(name, FINDINGS)}")
        if name in OF_THE_SET:
            raise ValueError(f"{name!r} is about the set: no single pair can be dropped for it")
    return names


class Lint(Reduced, name="lint"):
    """Look over the pairs for what no preference set should hold, and drop the worst of it.

    Writes `lint`, each pair's findings as one text ("truncated, refusal"; empty where there is
    none), and gives the pairs with a finding in `drop` its name as their reason. A row whose
    pairs are all dropped is dropped. `curate lint` does the same for a set on disk.
    `near_identical_pair` is what stages that change one step or constraint make on purpose, so it
    is for `drop` only where no stage does.
    """

    version = 2
    scope = "dataset"  # contradictions and repeated answers are between rows
    needs = ("prompt", "candidates", "pairs")
    writes = ("pairs", "lint")

    drop: Annotated[tuple[str, ...], AfterValidator(_known)] = tuple(sorted(ERRORS))
    """Findings for which a pair is dropped: by default those that are errors."""

    def reduced(self, view: pa.Table, ctx: Context) -> Mapping[str, Values]:
        """Return the live pairs' own findings, and what they are compared by."""
        seen = joined(_batches(view))
        own = {f"{OWN} {name}": mask for name, mask in seen.found.items()}
        named = dict(zip(SIDES, seen.models, strict=True))
        return {name: getattr(seen, name) for name in COMPARED} | own | named

    def decided(self, found: Mapping[str, Values], ctx: Context) -> Mapping[str, Values]:
        """Return the live pairs' findings."""
        prefix = f"{OWN} "
        own = {
            name.removeprefix(prefix): np.array(mask)
            for name, mask in found.items()
            if name.startswith(prefix)
        }
        winner, loser = (one_chunk(found[name]) for name in SIDES)
        columns = {name: np.asarray(found[name]) for name in COMPARED}
        masks = findings([Facts(own, models=(winner, loser), **columns)])
        ctx.counts.update({name: int(mask.sum()) for name, mask in masks.items()})
        return masks

    def finished(self, view: pa.Table, decided: Mapping[str, Values]) -> Result:
        """Return the pairs with their reasons, and each pair's findings."""
        counts = lengths(view["pairs"])
        values = flat(view["pairs"])
        live = true(pc.is_null(pc.struct_field(values, "drop")))
        found = {name: np.zeros(len(values), dtype=bool) for name in FINDINGS}
        for name, mask in decided.items():
            found[name][live] = mask
        masks = [(found[name], name.replace("_", " ")) for name in FINDINGS if name in self.drop]
        reason = first_reason(pc.struct_field(values, "drop"), masks)
        return {
            "pairs": lists(counts, set_field(values, "drop", reason)),
            "lint": lists(counts, _named(found, len(values))),
            DROP: all_dropped(counts, reason),
        }


def _batches(view: pa.Table) -> Iterator[Facts]:
    """Yield the facts of the live pairs, some rows at a time: texts are never joined as a whole."""
    for batch in view.to_batches(max_chunksize=BATCH):
        table = pa.Table.from_batches([batch])
        live = true(pc.is_null(flat(table["pairs"], "drop")))
        pairs = Comparisons(*(index[live] for index in comparisons(table)))
        row, a, b = (pa.array(index) for index in pairs)
        texts = large(flat(table["candidates"], "text"))
        model, finish = (flat(table["candidates"], name) for name in ("model", "finish_reason"))
        cut = true(pc.equal(finish.take(a), "length")) | true(pc.equal(finish.take(b), "length"))
        models = (model.take(a), model.take(b))
        prompt = large(text_of(table["prompt"])).take(row)
        yield facts(PairTexts(prompt, texts.take(a), texts.take(b), models=models, cut=cut))


def _named(found: dict[str, Bools], size: int) -> pa.Array:
    """Return each pair's findings joined by a comma; most pairs have none."""
    names = np.full(size, "", dtype=object)
    for name, mask in found.items():
        at = np.flatnonzero(mask)
        names[at] = [f"{before}, {name}" if before else name for before in names[at]]
    return pa.array(names, pa.string())
