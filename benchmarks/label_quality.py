"""What filters and a calibrated p_correct buy, on human-labelled and exactly checkable data.

    python benchmarks/label_quality.py DATA [lint rows]

DATA holds pandalm/pairs.parquet (WeOpenML/PandaLM), prometheus_gpt4x3/responses.parquet
(prometheus-eval/prometheus-eval) and gsm8k_candidates/candidates.parquet
(openai/grade-school-math). Prints the tables of label_quality.md. Every p_correct is
cross-fitted, so that no prompt has a part in its own; the alternative in the same run is the
plain filter at the same size. Intervals are 95%, from 1,000 resamples of prompts.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from lint_speed import lint_speed

from curate.arrays import Bools, Floats
from curate.evaluation.calibration import calibration_error, chance_error, random_orientation
from curate.evaluation.datasets import columns_of, open_set, read_rows
from curate.evaluation.filter_gain import against
from curate.evaluation.resampling import Resampled
from curate.methods.evidence import VERDICTS, Votes, comparisons, groups_of, majority, votes
from curate.methods.outcomes import cross_fitted, folds_of
from curate.methods.pair_features import pair_features

SEEDS = range(10)


@dataclass
class Trial:
    """Claims, whether they are right, and probabilities for them: one array a fold seed."""

    right: Bools
    sample: Resampled
    picked: list[Floats]  # that the judge's verdict is right; NaN where it has none
    better: list[Floats]  # that the likeliest verdict is right
    own: list[Bools]  # whether that one is

    def rows(self, name: str, kept: Bools) -> None:
        """Print a filter, and p_correct at its size on the judge's verdicts and on its own."""
        base = self.sample.mean(self.right, kept)
        right = f"{base.estimate:.1%} [{base.low:.1%}, {base.high:.1%}]"
        print(f"| {name} | {kept.sum()} | {right} | | |")
        kinds = {
            "p_correct, same verdicts": (self.picked, [self.right] * len(self.picked)),
            "p_correct, own verdicts": (self.better, self.own),
        }
        for kind, (scores, rights) in kinds.items():
            found = [
                against(self.right, kept, right, score, self.sample)
                for score, right in zip(scores, rights, strict=True)
            ]
            gains = np.array([100 * f["gain"]["value"] for f in found])
            shown = sum(f["gain"]["low"] > 0 for f in found)
            more = [f["kept_at_same_accuracy"] for f in found]
            accuracy = np.mean([f["accuracy"]["value"] for f in found])
            low, high = 100 * found[0]["gain"]["low"], 100 * found[0]["gain"]["high"]
            gain = f"{gains.mean():+.1f} ({gains.min():+.1f} to {gains.max():+.1f}; first seed "
            gain += f"[{low:+.1f}, {high:+.1f}]), shown in {shown} of {len(found)}"
            rows = f"{np.mean(more):.0f} ({min(more)} to {max(more)})"
            print(f"| - {kind} | {kept.sum()} | {accuracy:.1%} | {gain} | {rows} |")


def header(title: str) -> None:
    """Print a section's title and its table's head."""
    print(
        f"\n## {title}\n\n| kept by | rows | right | gain over the filter, points | as right on |"
    )
    print("|---|---|---|---|---|")


def errors(name: str, p: list[Floats], right: list[Bools]) -> None:
    """Print the calibration error of held-out probabilities over the fold seeds."""
    found = [calibration_error(q, y) for q, y in zip(p, right, strict=True)]
    print(
        f"ECE (10 bins), {name}: mean {np.mean(found):.3f}, worst of {len(found)} seeds "
        f"{max(found):.3f}; a perfect predictor would show {chance_error(p[0]):.3f}\n"
    )


def rows(path: Path, *mapping: str) -> pa.Table:
    """Return a file's canonical rows."""
    return read_rows(open_set(str(path), columns_of(mapping)))


def labelled(
    title: str, table: pa.Table, label: Floats, voters: Mapping[str, Votes],
    filters: Mapping[str, Bools],
) -> None:  # fmt: skip
    """Print one set of labelled pairs; the first voter is the judge whose verdicts are kept."""
    pairs = comparisons(table)
    groups = groups_of(table, pairs)
    found = pair_features(table, pairs, voters)
    judge = next(iter(voters.values()))
    sign = np.sign(judge.value)
    claims, right = judge.asked & (sign != 0), sign == label
    turned = random_orientation([f"{a} {b}" for a, b in zip(pairs.a, pairs.b, strict=True)])
    halves = [
        cross_fitted(found.sided, found.even, label, folds_of(groups, 2, seed)) for seed in SEEDS
    ]
    whole = [
        cross_fitted(found.sided, found.even, label, folds_of(groups, 10, seed)) for seed in SEEDS
    ]
    trial = Trial(
        right,
        Resampled(groups),
        [np.where(claims, np.where(sign > 0, p.a, p.b), np.nan) for p in whole],
        [np.maximum(p.a, p.b) for p in whole],
        [np.where(p.a >= p.b, 1.0, -1.0) == label for p in whole],
    )
    header(title)
    for name, mask in filters.items():
        trial.rows(name, claims & mask)
    outcome = label == np.where(turned, -1.0, 1.0)
    print(f"\n{len(label)} comparisons of {len(set(groups.tolist()))} prompts. ", end="")
    errors(
        "random orientation, each half of the prompts predicted from the other",
        [np.where(turned, p.b, p.a) for p in halves], [outcome] * len(halves),
    )  # fmt: skip
    has = claims & ~np.isnan(sign)
    errors(
        "of the judge's verdicts, likewise",
        [np.where(sign > 0, p.a, p.b)[has] for p in halves], [right[has]] * len(halves),
    )  # fmt: skip


def pandalm(data: Path) -> None:
    """Three humans, two judges: GPT-3.5's verdicts, and PandaLM-7B's as the second opinion."""
    mapping = ("prompt=instruction", "input=input", "chosen=response1", "rejected=response2")
    judges = ("gpt_result", "pandalm_result")
    humans = ("annotator1", "annotator2", "annotator3")
    for title, more in (
        ("PandaLM, with the judge's own reference answer as evidence", ["reference=gpt_reference"]),
        ("PandaLM, without it", []),
    ):
        table = rows(data / "pandalm/pairs.parquet", *mapping, *more)
        found = votes(
            table, comparisons(table), [*humans, "gpt_result", "pandalm_result"], VERDICTS
        )
        label = majority([found[name].value for name in humans])
        voters = {name: found[name] for name in judges}
        first, second = (np.sign(vote.value) for vote in voters.values())
        filters = {
            "all verdicts, unreadable ones wrong": np.ones(len(label), dtype=bool),
            "readable verdicts": ~np.isnan(first),
            "both judges agree": first == second,
        }
        labelled(title, table, label, voters, filters)


def prometheus(data: Path) -> None:
    """One score of GPT-4 against the mean of its two others."""
    scores = pl.col("gpt4_scores").list
    raw = pl.read_parquet(data / "prometheus_gpt4x3/responses.parquet").select(
        "prompt", "response", "reference", q=pl.concat_str(["bench", "idx"], separator=" "),
        first=scores.get(0).cast(pl.Float64),
        others=(scores.get(1) + scores.get(2)).cast(pl.Float64),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.parquet"
        raw.write_parquet(path)
        table = rows(
            path, "prompt=prompt", "response=response", "group=q", "varies=prompt,reference",
            "reference=reference", "scores=first,others",
        )  # fmt: skip
    found = votes(table, comparisons(table), ["first", "others"], VERDICTS)
    gap = np.abs(found["first"].value)
    filters = {f"gap of {k} or more": gap >= k for k in (1, 2, 3)}
    label = np.sign(found["others"].value)
    labelled("GPT-4's scores, thrice", table, label, {"first": found["first"]}, filters)


def last_number(text: str) -> float:
    """Return the last number of a solution."""
    found = re.findall(r"-?\$?[\d,]*\.?\d+", text)
    return float(found[-1].replace(",", "").replace("$", "")) if found else float("nan")


def gsm8k(data: Path) -> None:
    """Four solvers; the claim is that an answer is right, and its evidence who else gave it."""
    raw = pl.read_parquet(data / "gsm8k_candidates/candidates.parquet")
    n = raw["prompt_id"].n_unique()
    shape = (n, len(raw) // n)
    answers = np.array([last_number(t) for t in raw["response"]]).reshape(shape)
    right = raw["is_correct"].to_numpy().reshape(shape)
    same = answers[:, :, None] == answers[:, None, :]
    count, row = same.sum(axis=2), np.arange(n)
    pick = count.argmax(axis=1)
    size = np.array([len(t) for t in raw["response"]], dtype=np.float64).reshape(shape)
    steps = np.array([t.count("<<") for t in raw["response"]], dtype=np.float64).reshape(shape)
    most = np.broadcast_to(count.max(axis=1)[:, None], shape)
    plain = np.stack([np.ones(shape), np.log(size), steps, most], axis=2)
    levels = np.stack([count == k for k in (2, 3, 4)], axis=2)
    evidence = np.concatenate([plain, same, levels], axis=2).reshape(right.size, -1)
    evidence = evidence / np.sqrt((evidence**2).mean(axis=0))
    label = np.where(right, 1.0, -1.0).reshape(-1)
    groups = np.repeat(row.astype(str), shape[1])

    def probabilities(folds: int) -> list[Floats]:
        # "This answer is right" is a comparison with nothing: all its evidence takes its side.
        even = np.ones((len(label), 1))
        fold = [folds_of(groups, folds, seed) for seed in SEEDS]
        return [cross_fitted(evidence, even, label, f).a.reshape(shape) for f in fold]

    whole, halves = probabilities(10), probabilities(2)
    best = [p.argmax(axis=1) for p in whole]
    trial = Trial(
        right[row, pick], Resampled(row), [p[row, pick] for p in whole],
        [p.max(axis=1) for p in whole], [right[row, b] for b in best],
    )  # fmt: skip
    header("GSM8K, the most common final answer of four solvers")
    for least in (1, 2, 3, 4):
        trial.rows(f"{least} or more agree", count[row, pick] >= least)
    print(f"\n{n} prompts. ", end="")
    outcome = [right[row, pick]] * len(halves)
    errors("each half predicted from the other", [p[row, pick] for p in halves], outcome)


def gsm8k_pairs(data: Path) -> None:
    """Pairs of solutions; each solver is a judge that favours the answers equal to its own."""
    raw = pl.read_parquet(data / "gsm8k_candidates/candidates.parquet")
    answers = np.array([last_number(t) for t in raw["response"]]).reshape(-1, 4)
    same = (answers[:, :, None] == answers[:, None, :]).reshape(-1, 4).astype(np.float64)
    solvers = [f"solver{k}" for k in range(4)]
    raw = raw.with_columns(
        [pl.Series("votes", same.sum(axis=1)), pl.col("is_correct").cast(pl.Float64)]
        + [pl.Series(name, same[:, k]) for k, name in enumerate(solvers)]
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.parquet"
        raw.write_parquet(path)
        scores = ",".join(["is_correct", "votes", *solvers])
        table = rows(
            path, "prompt=prompt", "response=response", "group=prompt_id", f"scores={scores}"
        )
    found = votes(table, comparisons(table), ["is_correct", "votes", *solvers], VERDICTS)
    label, gap = np.sign(found.pop("is_correct").value), np.abs(found["votes"].value)
    filters = {f"{k} or more solvers ahead": gap >= k for k in (1, 2)}
    labelled("GSM8K, pairs of solutions", table, label, found, filters)


def main() -> None:
    """Run everything."""
    data = Path(sys.argv[1])
    pandalm(data)
    prometheus(data)
    gsm8k(data)
    gsm8k_pairs(data)
    lint_speed(int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)


if __name__ == "__main__":
    main()
