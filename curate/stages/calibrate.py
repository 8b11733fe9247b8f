"""From some human labels to a calibrated probability on every pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from curate.arrays import Bools, Floats, hashes, lists, one_chunk, text_of
from curate.errors import StageError
from curate.methods.evidence import (
    VERDICTS,
    Comparisons,
    Truth,
    Votes,
    chunks,
    comparisons,
    field_votes,
    fields_of,
    judge_names,
    no_voter,
    sizes,
    truth_of,
    voters_among,
)
from curate.methods.judgments import named, read_judgments
from curate.methods.outcomes import RIDGE, Outcomes, cross_fitted, folds_by_hash
from curate.methods.pair_features import Features, features, pair_features, text_evidence
from curate.methods.votes import pair_votes
from curate.stage import Context, Result
from curate.stages.judge_tables import judges_in, kept_tables, table_in
from curate.stages.pair_edits import edited, flip, read_pairs, set_floats
from curate.stages.reduced import Reduced, Values

SAID = ("margin", "forward", "backward", "spread")
"""What is kept of `votes.PairVotes`: the parts of `Votes`."""


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
    return learnt(found, prompt_hashes(table, pairs, seed), label, folds, ridge)


def learnt(
    found: Features, prompts: npt.NDArray[np.uint64], label: Floats, folds: int, ridge: float
) -> Outcomes:
    """Return the same from the evidence and the hashes of the comparisons' prompts (n,)."""
    known = ~np.isnan(label)
    fold = np.zeros(len(label), dtype=np.int64)
    different = len(np.unique(prompts[known]))
    fold[known] = folds_by_hash(prompts[known], min(folds, max(different, 1)))
    return cross_fitted(found.sided, found.even, label, fold, ridge)


def prompt_hashes(table: pa.Table, pairs: Comparisons, seed: int = 0) -> npt.NDArray[np.uint64]:
    """Return a hash of the prompt of each comparison (n,)."""
    found = [hashes(text_of(chunk), seed) for chunk in chunks(table["prompt"])]
    return np.asarray(np.concatenate(found)[pairs.row])


class Calibrate(Reduced, name="calibrate"):
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

    def reduced(self, view: pa.Table, ctx: Context) -> Mapping[str, Values]:
        """Return each pair's votes and what its texts say, a hash of its prompt, and no texts.

        Some 100 bytes a pair, and 32 more for each judge.
        """
        pairs, known = comparisons(view), judge_names(view)
        names = known
        if self.judges is not None:
            names = list(named(known, (*self.labels, *self.judges)))
        judgments, tables = None, dict.fromkeys(SAID, np.zeros((len(pairs.row), 0)))
        counts = sizes(view["candidates"])
        if names:
            judgments = read_judgments(view["judgments"], counts, tuple(names))
            said = pair_votes(judgments, pairs.a, pairs.b, int(counts.sum()))
            tables = {name: getattr(said, name) for name in SAID}
        sided, even = text_evidence(view, pairs)
        return {
            "prompt": prompt_hashes(view, pairs),
            "rows": np.array([len(view)]),
            "known": pa.array(known, pa.string()),
            **kept_tables(judgments, **tables),
            **self._fields(view, pairs, known),
            "sided names": pa.array(list(sided), pa.string()),
            "sided": np.stack([*sided.values()]),
            "even names": pa.array(list(even), pa.string()),
            "even": np.stack([*even.values()]),
        }

    def _fields(
        self, view: pa.Table, pairs: Comparisons, known: Sequence[str]
    ) -> dict[str, Values]:
        """Return the verdicts in `meta` of each name that is no judge here."""
        names = self._names()
        fields = [name for name in names if not named(known, [name])]
        found = field_votes(view, pairs, fields, VERDICTS)
        none = np.full(len(pairs.row), np.nan)
        return {
            "there": np.array([[name in found] for name in names]),
            "columns": pa.array(fields_of(view) if len(found) < len(fields) else [], pa.string()),
            "a first": np.stack([found[n].a_first if n in found else none for n in names]),
            "b first": np.stack([found[n].b_first if n in found else none for n in names]),
        }

    def _names(self) -> list[str]:
        return list(dict.fromkeys((*self.labels, *(self.judges or ()))))

    def decided(self, found: Mapping[str, Values], ctx: Context) -> Mapping[str, Values]:
        """Return how likely people prefer either answer of each pair.

        Raises StageError where labels are too few.
        """
        prompts: npt.NDArray[np.uint64] = np.asarray(found["prompt"])
        if not np.sum(found["rows"]):
            return {"a": np.zeros(0), "b": np.zeros(0)}
        label, voters = self._votes(found)
        labelled = int((~np.isnan(label)).sum())
        if labelled < self.min_labels:
            raise StageError(
                f"calibrate: {labelled} of {len(label)} pairs have a label of "
                f"{', '.join(self.labels)}, fewer than min_labels {self.min_labels}; label more"
            )
        sided, even = (_named_rows(found, name) for name in ("sided", "even"))
        made = learnt(features(sided, even, voters), prompts, label, self.folds, self.ridge)
        ctx.counts["labelled_pairs"] += labelled
        ctx.counts["relabelled_pairs"] += int(self._turned(made.a, made.b).sum())
        return {"a": made.a, "b": made.b}

    def finished(self, view: pa.Table, decided: Mapping[str, Values]) -> Result:
        """Return the pairs with p_correct."""
        a, b = (np.asarray(decided[name]) for name in ("a", "b"))
        edits, turned = read_pairs(view), self._turned(a, b)
        p = np.where(turned, b, a)
        values = flip(edits.values, turned)
        values = set_floats(values, "p_correct", p, np.ones(len(p), dtype=bool))
        if self.at_least is None:
            return {"pairs": lists(edits.sizes, values)}
        low = p < self.at_least - 1e-6  # float32
        masks = [(np.isnan(p), "no p_correct"), (low, f"p_correct below {self.at_least}")]
        return edited(edits, values, masks)

    def _turned(self, a: Floats, b: Floats) -> Bools:
        return np.asarray((b > a) & self.relabel)

    def _votes(self, found: Mapping[str, Values]) -> tuple[Floats, dict[str, Votes]]:
        """Return the labels (pairs), and the votes of each judge."""
        known = sorted(set(one_chunk(found["known"]).to_pylist()))
        labels = voters_among(known, self.labels)
        if self.judges is None:
            judges = [name for name in known if name not in labels]
        else:
            judges = voters_among(known, self.judges)
        names, there = self._names(), np.any(np.asarray(found["there"]), axis=1).tolist()
        tables = [table_in(found, name) for name in SAID]
        columns, none = judges_in(found), np.full(len(np.asarray(found["prompt"])), np.nan)
        cast = {}
        for name in dict.fromkeys((*labels, *judges)):
            value, a, b, spread = none, none, none, none
            if name in columns:
                at = columns.index(name)
                value, a, b, spread = (table[:, at] for table in tables)
            elif name not in known:
                at = names.index(name)
                if not there[at]:
                    options = sorted({*known, *one_chunk(found["columns"]).to_pylist()})
                    raise StageError(f"calibrate: {no_voter(name, options)}")
                a, b = (np.asarray(found[key])[at] for key in ("a first", "b first"))
                value = np.where(np.isnan(a), b, a)
            cast[name] = Votes(value, a, b, spread, asked=~np.isnan(value))
        label = truth_of([cast[name].value for name in labels], self.truth)
        return label, {name: cast[name] for name in judges}


def _named_rows(found: Mapping[str, Values], name: str) -> dict[str, Floats]:
    names = one_chunk(found[f"{name} names"]).to_pylist()
    return dict(zip(names, np.asarray(found[name]), strict=False))  # a list of names for each span
