"""Hold judges against humans: agreement, biases, calibration, and what each filter buys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import Bools, Floats, flat
from curate.errors import ConfigError, did_you_mean
from curate.evaluation.agreement import confusion, krippendorff_alpha
from curate.evaluation.bias import interval_dict, lean, position_bias
from curate.evaluation.labelled import Labelled
from curate.evaluation.probabilities import MIN_LABELS, margin_calibration
from curate.evaluation.resampling import RESAMPLES, Resampled
from curate.evaluation.style_lean import FEATURES, style_lean
from curate.evaluation.verdict_filters import filter_report
from curate.methods.concord import cohen_kappa
from curate.methods.crowd import Interval
from curate.methods.evidence import (
    VERDICTS,
    Comparisons,
    Truth,
    chunks,
    comparisons,
    groups_of,
    judge_names,
    truth_of,
    voters_of,
    votes,
)
from curate.methods.judgments import floats
from curate.methods.style import style_difference, text_style

CLASSES = (1.0, 0.0, -1.0)
_READS = "--verdict says how a value reads: 3=a, 0=tie, -3=b"


@dataclass(frozen=True)
class Question:
    """Whose word counts as truth, whose is examined, and how."""

    humans: Sequence[str]
    judges: Sequence[str] = ()  # none given: every judge in `judgments` that is no human
    judge_models: Mapping[str, str] = field(default_factory=dict)  # judge: its model's prefix
    verdicts: Mapping[str, float] = field(default_factory=lambda: dict(VERDICTS))
    truth: Truth = "majority"  # or the side of the humans' mean, where they score
    seed: int = 0
    folds: int = 10
    resamples: int = RESAMPLES
    known_models: Mapping[str, str] = field(default_factory=dict)  # judge: the model that it is


def evaluate_judges(table: pa.Table, question: Question) -> dict[str, Any]:
    """Return the whole report as plain data; its first judge is the one whose verdicts are kept.

    `table` holds canonical rows with candidates, and pairs, judgments and meta as they come.
    Comparisons on which the humans' majority is open are counted and left out. Raises
    ConfigError where a name is unknown, or nothing is labelled or judged.
    """
    if "candidates" not in table.column_names:
        raise ConfigError("no answers are mapped; use --map chosen=A --map rejected=B, or response")
    pairs = comparisons(table)
    humans = voters_of(table, question.humans)
    judges = voters_of(table, question.judges)
    judges = judges or [name for name in judge_names(table) if name not in humans]
    if not judges or not humans:
        raise ConfigError("name at least one judge and one human column")
    if set(judges) & set(humans):
        raise ConfigError("a column cannot be both the judge and the truth")
    if question.truth not in get_args(Truth):
        raise ConfigError(f"truth must be majority or mean, not {question.truth!r}")
    found = votes(table, pairs, [*humans, *judges], question.verdicts)
    human = truth_of([found[name].value for name in humans], question.truth)
    labelled = np.flatnonzero(~np.isnan(human))
    if not len(labelled):
        raise ConfigError(f"no comparison has a label of {', '.join(question.humans)}; {_READS}")
    chosen = Comparisons(*(index[labelled] for index in pairs))
    voters = {name: found[name].take(labelled) for name in judges}
    if not voters[judges[0]].asked.any():
        raise ConfigError(
            f"judge {judges[0]!r} has no verdict on any labelled comparison; {_READS}"
        )
    sample = Resampled(groups_of(table, chosen), question.seed, question.resamples)
    known = Labelled(table, chosen, human[labelled], voters, sample)
    ballots = np.stack([found[name].value[labelled] for name in humans])
    report = {
        "comparisons": len(pairs.row),
        "labelled": len(labelled),
        "prompts": len(set(groups_of(table, chosen).tolist())),
        "humans": _humans(ballots, human[labelled]),
        "judges": {
            name: _judge(known, name, ballots, _own_answers(known, name, question))
            for name in judges
        },
    }
    return report | filter_report(known, judges, question.folds, question.seed, question.resamples)


def verdicts_of(words: Mapping[str, str]) -> dict[str, float]:
    """Return the known verdicts and the user's own: {"3": "a"} reads 3 as the first answer.

    Raises ConfigError for a meaning other than a, b and tie.
    """
    sides = {"a": 1.0, "b": -1.0, "tie": 0.0}
    for word, side in words.items():
        if side not in sides:
            raise ConfigError(f"a verdict {word!r} must be a, b or tie, not {side!r}")
    return {**VERDICTS, **{word.strip().lower(): sides[side] for word, side in words.items()}}


def _humans(ballots: Floats, human: Floats) -> dict[str, Any]:
    return {
        "voters": len(ballots),
        "alpha": _number(krippendorff_alpha(np.sign(ballots))),
        "ties": float((human == 0).mean()),
    }


def _judge(known: Labelled, name: str, ballots: Floats, own: Floats | str) -> dict[str, Any]:
    vote, human, sample = known.voters[name], known.human, known.sample
    sign = np.sign(vote.value)
    readable, same = ~np.isnan(sign), sign == human
    claims = vote.asked & (sign != 0)  # unreadable ones claim something too, and wrongly
    decided = readable & (sign != 0)
    table = confusion(sign, human, CLASSES)
    report = {
        "asked": int(vote.asked.sum()),
        "unreadable": int((vote.asked & ~readable).sum()),
        "ties": int((sign == 0).sum()),
        "accuracy": {"n": int(claims.sum()), **interval_dict(sample.mean(same, claims))},
        "accuracy_readable": {"n": int(decided.sum()), **interval_dict(sample.mean(same, decided))},
        "agreement_with_ties": _share(same, vote.asked, sample),
        "agreement_without_ties": _share(same, decided & (human != 0), sample),
        "kappa": _number(cohen_kappa(table)),
        "alpha": _number(krippendorff_alpha(np.stack([sign, human]))),
        "alpha_among_humans_and_judge": _number(
            krippendorff_alpha(np.vstack([np.sign(ballots), sign]))
        ),
        "position_bias": position_bias(vote, human, sample),
        "length_bias": lean(sign, human, _longer(known), sample),
        "style": _style(known, sign),
        "margin_calibration": margin_calibration(known, vote),
    }
    measured = lean(sign, human, own, sample) if not isinstance(own, str) else own
    return report | {"self_preference": measured}


def _style(known: Labelled, sign: Floats) -> dict[str, Any] | None:
    """Return what length and markdown weigh for the judge and for the humans."""
    both = (np.nan_to_num(sign) != 0) & (known.human != 0)
    if both.sum() < MIN_LABELS:
        return None
    counts = text_style(_texts(known))
    a, b = known.pairs.a[both], known.pairs.b[both]
    differences = style_difference(counts[a], counts[b], "density")
    found = style_lean(sign[both], known.human[both], differences, known.prompts[both])
    return {
        name: {
            "judge": float(found.judge[k]),
            "human": float(found.human[k]),
            "excess": interval_dict(_normal(found.difference[k], found.error[k])),
        }
        for k, name in enumerate(FEATURES)
        if differences[:, k].any()
    }


def _normal(value: float, error: float) -> Interval:
    return Interval(float(value), float(value - 1.96 * error), float(value + 1.96 * error))


def _share(right: Bools, where: Bools, sample: Resampled) -> dict[str, Any]:
    return {"n": int(where.sum()), **interval_dict(sample.mean(right, where))}


def _texts(known: Labelled) -> pa.ChunkedArray:
    return pa.chunked_array([flat(c, "text") for c in chunks(known.table["candidates"])])


def _longer(known: Labelled) -> Floats:
    length = np.nan_to_num(floats(pc.utf8_length(_texts(known))))
    return np.sign(length[known.pairs.a] - length[known.pairs.b])


def _own_answers(known: Labelled, judge: str, question: Question) -> Floats | str:
    """Return 1 where only answer a is the judge's own, -1 where only b is, or why that is unknown.

    The user's prefix counts before the model that the judge is known to be. Raises ConfigError
    where no model's name begins with the user's prefix.
    """
    prefix, model = question.judge_models.get(judge), question.known_models.get(judge)
    if prefix is None and model is None:
        return "not measurable: which model the judge is is not known; name it with --own"
    wrote = pc.fill_null(flat(known.table["candidates"], "model"), "")
    by = pc.equal(wrote, model) if prefix is None else pc.starts_with(wrote, prefix)
    mine = np.asarray(by.to_numpy(zero_copy_only=False), dtype=float)
    if not mine.any() and prefix is not None:
        hint = did_you_mean(prefix, {*wrote.to_pylist()} - {""})
        raise ConfigError(f"no candidate is by a model whose name begins with {prefix!r}{hint}")
    if not mine.any():
        return f"not measurable: none of the answers is by its model, {model}"
    side = np.asarray(mine[known.pairs.a] - mine[known.pairs.b])
    return side if side.any() else "not measurable: no comparison is with another model's answer"


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
