"""Which pairs go to people: those whose labels are worth the most, as many as the budget says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator, model_validator

from curate.arrays import (
    Bools,
    Floats,
    flat,
    large,
    lengths,
    lists,
    mix,
    one_chunk,
    owners,
    places_of,
)
from curate.errors import did_you_mean
from curate.methods.routing import CUTS, LEVELS, doubt, gain, levels, measures, within_budget
from curate.stage import Context, Result
from curate.stages.budget import Keep, rows_to_keep
from curate.stages.pair_edits import Pairs, read_pairs
from curate.stages.reduced import Reduced, Values
from curate.stages.shown import transcripts


class RoutePairs(Reduced, name="route_pairs"):
    """Mark the pairs whose labels by people are worth the most, as many as the `budget` says.

    A pair's features are its row's tags (from `tag`) and what its texts measure (`prompt_words`,
    `shorter_words`, `longer_words`, `length_gap`, `words_in_common`, each =low, =middle or
    =high). Its gain is the sum of its features' coefficients, which come from a regression of
    trained models' scores on which features people had labelled (hybrid preferences, Miranda et
    al. 2024); for trials of your own, call `curate.methods.routing.fit_gains` in Python.
    Without coefficients it is the label's doubt: the entropy of its `p_correct`, over the root
    of how many pairs are in its `group`. Writes `gain`, each pair's, and `for_people`, whether
    it is within the budget; a pair with nothing to gain never is. `curate ask` then asks about
    those pairs, and `overrule` puts people's verdicts in.
    """

    scope = "dataset"
    needs = ("id", "prompt", "candidates", "pairs")
    writes = ("gain", "for_people")
    seeded = True

    budget: Keep
    """Pairs for people, or a share of the live ones in (0, 1)."""
    coefficients: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = {}
    """What each feature adds; one that is not named adds nothing. Empty: doubt counts."""
    tags: str | None = None
    """The column of tags; only the texts' features count where not given."""
    group: str | None = None
    """Without coefficients: a column of rows' kinds, such as a cluster, of which rare ones count
    more."""

    @field_validator("coefficients")
    @classmethod
    def _known(cls, coefficients: dict[str, float]) -> dict[str, float]:
        for name in coefficients:
            measure, _, level = name.partition("=")
            if measure in CUTS and level not in LEVELS:
                raise ValueError(
                    f"{name!r}: a level of {measure} is one of {', '.join(LEVELS)}"
                    f"{did_you_mean(level, LEVELS)}"
                )
            if "=" in name and measure not in CUTS:
                hint = did_you_mean(measure, CUTS)
                raise ValueError(f"{name!r}: the texts have no measure {measure!r}{hint}")
        return coefficients

    @model_validator(mode="after")
    def _consistent(self) -> RoutePairs:
        if self.coefficients and self.group is not None:
            raise ValueError("group is for doubt; with coefficients leave it out")
        if not self.coefficients and self.tags is not None:
            raise ValueError("tags count by their coefficients; give some, or leave tags out")
        return self

    def needed(self) -> tuple[str, ...]:
        """Need the tags or the kinds too where they count."""
        more = self.tags if self.coefficients else self.group
        return self.needs if more is None else (*self.needs, more)

    def reduced(self, view: pa.Table, ctx: Context) -> Mapping[str, Values]:
        """Return what the pairs' gains come from, and the keys that decide between equals."""
        pairs = read_pairs(view)
        seeds = ctx.row_seeds(view["id"], self.kind)[pairs.row]
        place = places_of(pairs.sizes)
        found: dict[str, Values] = {"key": mix(seeds, place), "live": pairs.live}
        if not self.coefficients:
            if self.group is not None:
                found |= {"sizes": pairs.sizes, "group": view[self.group]}
            return found | {"p": pairs.floats("p_correct")}
        features, live = self._features(view, pairs), np.flatnonzero(pairs.live)
        gains = np.full(len(pairs.row), np.nan)
        gains[live] = [gain(features[k], self.coefficients) for k in live.tolist()]
        met = {name for k in live.tolist() for name in features[k]}
        return found | {"gain": gains, "met": np.array([n in met for n in self.coefficients])}

    def decided(self, found: Mapping[str, Values], ctx: Context) -> Mapping[str, Values]:
        """Return each pair's gain, NaN where that is not known, and whether it is for people."""
        live = np.asarray(found["live"])
        if self.coefficients:
            gains = np.asarray(found["gain"])
            met = np.asarray(found["met"]).reshape(-1, len(self.coefficients)).any(axis=0)
            ctx.counts["coefficients that no pair meets"] = int((~met).sum())
        else:
            gains = self._doubts(found, live)
        chosen = within_budget(
            gains, rows_to_keep(self.budget, int(live.sum())), np.asarray(found["key"])
        )
        ctx.counts["pairs for people"] = int(chosen.sum())
        ctx.counts["pairs for models"] = int(live.sum()) - int(chosen.sum())
        return {"gain": gains, "chosen": chosen}

    def finished(self, view: pa.Table, decided: Mapping[str, Values]) -> Result:
        """Return each pair's gain and whether it is for people."""
        gains, sizes = np.asarray(decided["gain"]), lengths(view["pairs"])
        column = pa.array(gains.astype(np.float32), mask=np.isnan(gains))
        chosen = pa.array(np.asarray(decided["chosen"]))
        return {"gain": lists(sizes, column), "for_people": lists(sizes, chosen)}

    def _doubts(self, found: Mapping[str, Values], live: Bools) -> Floats:
        group = None
        if self.group is not None:
            kinds = one_chunk(found["group"]).dictionary_encode(null_encoding="encode")
            group = np.asarray(kinds.indices)[owners(np.asarray(found["sizes"]))][live]
        gains = np.full(len(live), np.nan)
        gains[live] = doubt(np.asarray(found["p"])[live], group)
        return gains

    def _features(self, view: pa.Table, pairs: Pairs) -> list[list[str]]:
        """Return the names of each pair's features."""
        texts = pc.fill_null(large(flat(view["candidates"], "text")), "")
        prompts = transcripts(view["prompt"]).take(pa.array(pairs.row)).to_pylist()
        sides = [texts.take(pa.array(end)).to_pylist() for end in (pairs.chosen, pairs.rejected)]
        tags = [[]] * len(view) if self.tags is None else one_chunk(view[self.tags]).to_pylist()
        found = [list(dict.fromkeys(tags[row] or ())) for row in pairs.row.tolist()]
        for name, values in measures(prompts, *sides).items():
            for names, level in zip(found, levels(values, CUTS[name]).tolist(), strict=True):
                names.append(f"{name}={LEVELS[level]}")
        return found
