"""From some human labels to a calibrated probability on every pair."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.arrays import Floats, lists
from curate.errors import ConfigError, StageError
from curate.methods.evidence import (
    VERDICTS,
    Comparisons,
    Truth,
    Votes,
    comparisons,
    groups_of,
    judge_names,
    truth_of,
    voters_of,
    votes,
)
from curate.methods.outcomes import RIDGE, Outcomes, cross_fitted, folds_of
from curate.methods.pair_features import pair_features
from curate.stage import Context, Result, Stage
from curate.stages.pair_edits import edited, flip, read_pairs, set_floats


def label_probabilities(
    table: pa.Table,
    pairs: Comparisons,
    voters: dict[str, Votes],
    label: Floats,
    *,
    folds: int = 10,
    ridge: float = RIDGE,
    seed: int = 0,
) -> Outcomes:
    """Return how likely people prefer a, b or neither, learnt from the labelled comparisons.

    `label` (n,) is 1 for a, -1 for b, 0 for a tie, NaN where nobody said. A labelled comparison's
    own prompt has no part in its probabilities (cross-fitting, folds by prompt), so they can be
    held against the labels. NaN where no other prompt has a label.
    """
    found = pair_features(table, pairs, voters)
    groups = groups_of(table, pairs)
    known = ~np.isnan(label)
    fold = np.zeros(len(label), dtype=np.int64)
    prompts = len(set(groups[known].tolist()))
    fold[known] = folds_of(groups[known], min(folds, max(prompts, 1)), seed)
    return cross_fitted(found.sided, found.even, label, fold, ridge)


class Calibrate(Stage, name="calibrate"):
    """Fit to the pairs with human labels, and give every pair a calibrated `p_correct`.

    p_correct is the probability that people would call the chosen answer the better one (a tie
    counts against it). It is learnt from the judges' votes, their margins and disagreements, and
    from the texts; labelled pairs get theirs from a fit that their prompt had no part in. With
    `relabel`, a pair that people more likely see the other way round is turned. With `at_least`,
    less likely pairs are dropped, and a row whose pairs are all dropped is dropped.
    """

    scope = "dataset"
    version = 2
    needs = ("prompt", "candidates", "pairs")
    uses = ("judgments", "meta", "reference")
    writes = ("pairs",)

    labels: tuple[str, ...] = Field(min_length=1)
    """Who knows the truth: judges of `judgments`, by name or by what comes before a colon in it
    ("people" for all of them), or columns of the input that are kept in `meta` and hold a verdict
    on the row's first and second candidate (1 or a, 2 or b, 0 or tie)."""
    truth: Truth = "majority"
    """How several labels make one: the side that most take, or (of scores) the side of the mean."""
    judges: tuple[str, ...] | None = None
    """Whose votes count as evidence, named likewise; by default every judge that is no label."""
    at_least: float | None = Field(default=None, ge=0.0, le=1.0)
    """Drop pairs whose p_correct is below this, or unknown."""
    relabel: bool = False
    """Where the rejected answer is the likelier one, let the two trade places: the margin changes
    its sign, and the pair's source ends in `:flipped`."""
    min_labels: int = Field(default=100, ge=1)
    """Fewer labelled pairs than this are an error: no calibration can be learnt from them."""
    folds: int = Field(default=10, ge=2)
    """Parts that labelled prompts are divided into; each is predicted from the others."""
    ridge: float = Field(default=RIDGE, gt=0.0, allow_inf_nan=False)
    """How strongly weights are held near zero, in units of labelled pairs."""

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the pairs with p_correct. Raises StageError where labels are too few."""
        if not len(view):
            return {"pairs": view["pairs"]}
        pairs = comparisons(view)
        label, voters = self._votes(view, pairs)
        labelled = int((~np.isnan(label)).sum())
        if labelled < self.min_labels:
            raise StageError(
                f"calibrate: {labelled} of {len(label)} pairs have a label of "
                f"{', '.join(self.labels)}, fewer than min_labels {self.min_labels}; label more"
            )
        found = label_probabilities(view, pairs, voters, label, folds=self.folds, ridge=self.ridge)
        ctx.counts["labelled_pairs"] += labelled
        edits = read_pairs(view)
        turned = np.asarray(found.b > found.a) & self.relabel
        ctx.counts["relabelled_pairs"] += int(turned.sum())
        p = np.where(turned, found.b, found.a)
        values = flip(edits.values, turned)
        values = set_floats(values, "p_correct", p, np.ones(len(p), dtype=bool))
        if self.at_least is None:
            return {"pairs": lists(edits.sizes, values)}
        low = p < self.at_least - 1e-6  # float32
        masks = [(np.isnan(p), "no p_correct"), (low, f"p_correct below {self.at_least}")]
        return edited(edits, values, masks)

    def _votes(self, view: pa.Table, pairs: Comparisons) -> tuple[Floats, dict[str, Votes]]:
        labels = voters_of(view, self.labels)
        if self.judges is None:
            judges = [name for name in judge_names(view) if name not in labels]
        else:
            judges = voters_of(view, self.judges)
        try:
            found = votes(view, pairs, (*labels, *judges), VERDICTS)
        except ConfigError as error:
            raise StageError(f"calibrate: {error}") from None
        label = truth_of([found[name].value for name in labels], self.truth)
        return label, {name: found[name] for name in judges}
