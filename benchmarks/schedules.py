"""Calls and ranking quality of the schedules for pairwise judging.

Run `python benchmarks/schedules.py [prompts] [folder of real data]`. The stages `tournament` and
`rank` run as they are; the engine behind them is a simulated judge, or replays stored verdicts:

- simulated: answers of normal strength; the judge prefers the first shown with the probability
  of a logistic in the difference of strengths plus a leaning to what stands first, and always
  says the same of the same two answers in the same order, as a greedy judge does;
- `prometheus_gpt4x3`: 80 prompts with 4 answers and three independent GPT-4 grades each. The first
  grades decide in one order and the second in the other; the third are the truth;
- `pandalm`: the 20 prompts where every two of 5 answers were compared. GPT-3.5's verdict decides,
  the truth is the round robin of three people's verdicts.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from scipy.stats import kendalltau

from curate.arrays import mix
from curate.engines.contract import Completion, Completions, Requests
from curate.methods.ranking import bradley_terry
from curate.schema import CANDIDATES, PROMPT
from curate.stage import Context
from curate.stages.rank import Rank
from curate.stages.tournament import Tournament

Verdict = Callable[[int, int, int], str]  # row, shown first, shown second -> A, B or tie
SCHEDULES: dict[str, dict[str, Any]] = {
    "round_robin": {},
    "swiss": {},
    "knockout": {},
    "baseline": {"baseline": "m0"},
}
_ANSWER = re.compile(r"answer number (\d+) of (\d+)\b")


class Replay:
    """An engine that knows each answer by its text and asks `verdict`."""

    model = "replay"

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict

    def chat(self, requests: Requests) -> Completions:
        """Answer with a verdict on the two answers in each prompt."""
        done = []
        for request in requests:
            found = _ANSWER.findall(request.messages[-1]["content"])
            (first, row), (second, _) = found
            done.append(Completion(f"[[{self.verdict(int(row), int(first), int(second))}]]"))
        return Completions.of(done)


class Case(NamedTuple):
    """Rows of equally many answers, how well each truly is, and a judge."""

    name: str
    truth: np.ndarray  # (rows, answers); NaN nowhere
    verdict: Verdict


def simulated(rows: int, size: int, sharpness: float, leaning: float, seed: int = 0) -> Case:
    """Answers of normal strength and a noisy judge that leans to the first answer."""
    truth = np.random.default_rng(seed).normal(size=(rows, size))

    def verdict(row: int, first: int, second: int) -> str:
        gap = sharpness * (truth[row, first] - truth[row, second]) + leaning
        draw = float(mix(seed, row, first, second)) / 2.0**64
        return "A" if draw < 1.0 / (1.0 + np.exp(-gap)) else "B"

    return Case(f"{size} answers, sharpness {sharpness:g}, leaning {leaning:g}", truth, verdict)


def prometheus(path: Path) -> Case:
    """Replay GPT-4's grades of the prompts that four models answered."""
    import polars as pl

    table = pl.read_parquet(path / "responses.parquet").filter(pl.col("bench") == "vicuna")
    groups = table.sort("idx", "model").partition_by("idx", maintain_order=True)
    grades = np.array([group["gpt4_scores"].to_list() for group in groups], dtype=float)

    def verdict(row: int, first: int, second: int) -> str:
        sample = 0 if first < second else 1
        gap = grades[row, first, sample] - grades[row, second, sample]
        return "tie" if gap == 0 else "A" if gap > 0 else "B"

    return Case("prometheus_gpt4x3, 4 answers", grades[:, :, 2], verdict)


def pandalm(path: Path) -> Case:
    """Replay GPT-3.5's verdicts on the prompts whose answers were all compared."""
    import polars as pl

    table = pl.read_parquet(path / "pairs.parquet").with_columns(
        models=pl.col("cmp_key").str.split("_")
    )
    names = sorted({name for pair in table["models"].to_list() for name in pair})
    keys = ["instruction", "motivation_app"]
    full = table.filter(pl.len().over(keys) == 10).sort(*keys, "cmp_key")
    groups = full.partition_by(keys, maintain_order=True)
    people: list[tuple[int, int, float]] = []
    said: dict[tuple[int, int, int], str] = {}
    for row, group in enumerate(groups):
        for pair in group.to_dicts():
            a, b = (names.index(name) for name in pair["models"])
            for who in ("annotator1", "annotator2", "annotator3"):
                share = {1: 1.0, 2: 0.0}.get(int(pair[who]), 0.5)
                people.append((row * 5 + a, row * 5 + b, share))
            result = str(pair["gpt_result"])  # "garbage" stays what it is: no verdict
            said[row, a, b] = {"1": "A", "2": "B", "0": "tie"}.get(result, result)
            said[row, b, a] = {"1": "B", "2": "A", "0": "tie"}.get(result, result)
    one, two, shares = zip(*people, strict=True)
    truth = bradley_terry([5] * len(groups), one, two, shares).strength.reshape(-1, 5)
    return Case("pandalm, 5 answers", truth, lambda *question: said[question])


def scores(case: Case, schedule: str, **fields: Any) -> tuple[np.ndarray, float]:
    """Return (rows, answers) what `rank` makes of the schedule's verdicts, and calls a prompt."""
    rows, size = case.truth.shape
    candidates = [
        [{"text": f"answer number {k} of {row}", "model": f"m{k}"} for k in range(size)]
        for row in range(rows)
    ]
    view = pa.table(
        {
            "id": [f"r{row}" for row in range(rows)],
            "prompt": pa.array([[{"role": "user", "content": "?"}]] * rows, PROMPT),
            "candidates": pa.array(candidates, CANDIDATES),
        }
    )
    context = Context(seed=1, engines={"judge": Replay(case.verdict)})  # type: ignore[dict-item]
    stage = Tournament.model_validate(
        {"judge": {"engine": "judge"}, "schedule": schedule, **fields}
    )
    judged = stage.apply(view, context)["judgments"]
    ranked = Rank().apply(view.append_column("judgments", judged), context)["scores"]
    found = np.array(ranked.to_pylist(), dtype=float)
    return found, context.counts["calls"] / rows


def measures(found: np.ndarray, truth: np.ndarray) -> list[np.ndarray]:
    """Return by row: Kendall's tau, whether the best was found, the share of the widest gap.

    The gap is the true difference between the answers that come out best and worst: what a
    preference pair made of them is worth, against the widest there is.
    """
    tau = [kendalltau(f, t).statistic for f, t in zip(found, truth, strict=True)]
    rows = np.arange(len(truth))
    best, worst = found.argmax(axis=1), found.argmin(axis=1)
    widest = truth.max(axis=1) - truth.min(axis=1)
    with np.errstate(invalid="ignore"):
        gap = (truth[rows, best] - truth[rows, worst]) / np.where(widest > 0, widest, np.nan)
    return [np.array(tau), (truth[rows, best] == truth.max(axis=1)) * 1.0, gap]


def main() -> None:
    """Print one table row a case and schedule."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    cases = [
        simulated(rows, size, sharpness, leaning)
        for size in (4, 8, 16)
        for sharpness, leaning in ((4.0, 0.0), (2.0, 1.0))
    ]
    if len(sys.argv) > 2:
        folder = Path(sys.argv[2])
        cases += [prometheus(folder / "prometheus_gpt4x3"), pandalm(folder / "pandalm")]
    print("| case | prompts | schedule | calls | tau, truth | tau, round robin | best | gap |")
    print("|---|---|---|---|---|---|---|---|")
    for case in cases:
        whole, _ = scores(case, "round_robin")
        for name, fields in SCHEDULES.items():
            found, calls = scores(case, name, **fields)
            tau, best, gap = measures(found, case.truth)
            same = np.array([kendalltau(f, w).statistic for f, w in zip(found, whole, strict=True)])
            shown = [f"{np.nanmean(tau):.2f} ± {spread(tau):.2f}", f"{np.nanmean(same):.2f}"]
            shown += [f"{np.nanmean(best):.2f} ± {spread(best):.2f}", f"{np.nanmean(gap):.2f}"]
            print(
                f"| {case.name} | {len(found)} | {name} | {calls:g} | {' | '.join(shown)} |",
                flush=True,
            )


def spread(values: np.ndarray) -> float:
    """Return the standard error of the mean, in which a prompt without a value has no part."""
    known = values[~np.isnan(values)]
    return float(known.std(ddof=1) / np.sqrt(len(known)))


if __name__ == "__main__":
    main()
