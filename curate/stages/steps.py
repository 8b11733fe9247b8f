"""Steps of solutions: which are right, and where a better one and a worse one part."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.arrays import lists, structs
from curate.methods.steps import (
    By,
    Path,
    StepPair,
    label_confidence,
    longest_known,
    path_of,
    step_labels,
    step_pairs,
    steps_of,
    tree,
)
from curate.schema import DROP, PAIR, STEP, STEP_PAIR
from curate.stage import Context, Result, Stage
from curate.stages.pairing import usable_scores

UNSOLVED = "no solution ends right, so no step is known to lead astray"
UNKNOWN = "no step with a known label"


class Solutions(NamedTuple):
    """A row's candidates as solutions: texts, steps, and whether they end right."""

    texts: list[str]
    paths: list[Path]
    right: list[bool | None]


class LabelSteps(Stage, name="label_steps"):
    """Write `steps`: the solutions' steps, and whether each is right, for process reward models.

    A step is right where more than `share` of the row's solutions that begin so end right; with
    share 0 one is enough (hard estimation of Math-Shepherd, Wang et al. 2024). `continue_steps`
    gives the solutions to count. Fewer than `min_tries` are too few to call a step wrong: a
    solution's steps count up to there. What is only the beginning of another solution is left
    out. A row of which no solution ends right is dropped: it shows that the problem is too hard for
    who wrote them, not where they went astray. Export as `stepwise`.
    """

    needs = ("candidates", "scores")
    writes = ("steps",)

    good: float = Field(1.0, allow_inf_nan=False)
    """The least score of a solution that ends right."""
    share: float = Field(0.0, ge=0.0, lt=1.0)
    """More than this share of the solutions through a right step end right."""
    min_tries: int = Field(4, ge=1)
    """Solutions through a step, at least, before it may be called wrong."""
    by: By = "line"
    """What a step is: a line, or a paragraph."""
    most: int = Field(64, ge=1)
    """Solutions with more steps than this do not count."""

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the steps, and who is dropped."""
        entries: list[dict[str, object]] = []
        counts, reasons = [], []
        for found in _solutions(view, self.good, self.by, self.most):
            solved = any(found.right)
            new = self._labelled(found) if solved else []
            entries += new
            counts.append(len(new))
            reasons.append(None if new else UNKNOWN if solved else UNSOLVED)
        return {
            "steps": lists(counts, pa.array(entries, STEP)),
            DROP: pa.array(reasons, pa.string()),
        }

    def _labelled(self, found: Solutions) -> list[dict[str, object]]:
        nodes = tree(found.paths, found.right)
        labels = [
            step_labels(path, nodes, well, self.share, self.min_tries)
            for path, well in zip(found.paths, found.right, strict=True)
        ]
        kept = longest_known(list(zip(found.paths, labels, strict=True)))
        return [
            {
                "candidate": place,
                "text": found.texts[place][step.start : step.end],
                "right": labels[place][k],
                "tries": nodes[found.paths[place][: k + 1]].tries,
                "ended_right": nodes[found.paths[place][: k + 1]].right,
            }
            for place, size in enumerate(kept)
            for k, step in enumerate(steps_of(found.texts[place], self.by)[:size])
        ]


class PairSteps(Stage, name="pair_steps"):
    """Pair solutions where they part: a next step that leads further against one that does not.

    At every beginning that solutions share, the next step through which the largest share of them
    ends right is paired with the one with the smallest share, which is at most `at_most`: with 0
    nothing ended right after it, so it is a solution's first wrong step (Step-DPO, Lai et al.
    2024). The pair's candidates are a right solution through the one step and a wrong one through
    the other, and its margin is the difference of the shares. `step_pairs` holds the steps
    themselves with their counts, for the export `step-preference`; the confidence in them is
    MCTS-DPO's (Xie et al. 2024), of use where a search chose which steps to try more often.
    """

    needs = ("candidates", "scores")
    writes = ("pairs", "step_pairs")

    good: float = Field(1.0, allow_inf_nan=False)
    """The least score of a solution that ends right."""
    at_most: float = Field(0.0, ge=0.0, le=1.0)
    """The largest share of the solutions through a rejected step that end right."""
    at_least: float = Field(0.0, ge=0.0, lt=1.0)
    """The two steps' shares must be more than this apart."""
    min_tries: int = Field(4, ge=1)
    """Solutions through a rejected step, at least: fewer do not show that it is wrong."""
    against: Literal["worst", "second"] = "worst"
    """Pair the best next step with the worst, or with the second best."""
    by: By = "line"
    """What a step is: a line, or a paragraph."""
    most: int = Field(64, ge=1)
    """Solutions with more steps than this do not count."""

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return both columns, and who is dropped."""
        counts, pairs, entries = [], [], []
        for found in _solutions(view, self.good, self.by, self.most):
            counted = (self.at_most, self.at_least, self.min_tries, self.against)
            new = step_pairs(found.paths, found.right, *counted)
            counts.append(len(new))
            pairs += new
            entries += [_evidence(found.texts, pair, self.by) for pair in new]
        margin = [pair.better.value - pair.worse.value for pair in pairs]
        made = structs(
            PAIR,
            len(pairs),
            chosen=[pair.chosen for pair in pairs],
            rejected=[pair.rejected for pair in pairs],
            margin=pa.array(margin, pa.float32()),
            source=self.kind,
        )
        why = "no pair: no beginning after which one step leads further than another"
        return {
            "pairs": lists(counts, made),
            "step_pairs": lists(counts, pa.array(entries, STEP_PAIR)),
            DROP: pa.array([None if n else why for n in counts], pa.string()),
        }


def _solutions(view: pa.Table, good: float, by: By, most: int) -> list[Solutions]:
    """Return each row's solutions. Too long ones, and those without a score, have no outcome."""
    counts, scores, texts = usable_scores(view)
    ends = np.cumsum(counts).tolist()
    found = []
    for start, end in zip([0, *ends], ends, strict=False):
        own = [text or "" for text in texts[start:end].to_pylist()]
        paths = [path_of(text, by) for text in own]
        known = [
            None if score != score or len(path) > most else score >= good
            for score, path in zip(scores[start:end].tolist(), paths, strict=True)
        ]
        paths = [path if len(path) <= most else () for path in paths]
        found.append(Solutions(own, paths, known))
    return found


def _evidence(texts: list[str], pair: StepPair, by: By) -> dict[str, object]:
    chosen, rejected = (steps_of(texts[k], by) for k in (pair.chosen, pair.rejected))
    better, worse = chosen[pair.shared], rejected[pair.shared]
    text = texts[pair.chosen]
    return {
        "prefix": text[: better.start] if pair.shared else "",
        "chosen": text[better.start : better.end],
        "rejected": texts[pair.rejected][worse.start : worse.end],
        "q_chosen": pair.better.value,
        "q_rejected": pair.worse.value,
        "n_chosen": pair.better.tries,
        "n_rejected": pair.worse.tries,
        "confidence": label_confidence(pair.better.tries, pair.worse.tries),
    }
