"""Judge arithmetic against Polars, pandas and a Python loop over the same scores.

Run `python benchmarks/judge_arithmetic.py [prompts] [answers]`. Ours works on one row a prompt
with flat lists; the alternatives get their own favourite: long rows, one an answer, already in
memory and sorted by prompt. Every alternative must give the same pairs. Best of five runs, the
Python loop once on a tenth of the prompts. Prints JSON lines: what, by whom, candidates (or
pairs) a second.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from curate.arrays import lists, owners, structs
from curate.methods.crowd import dawid_skene
from curate.methods.pairing import all_pairs, best_worst
from curate.schema import CANDIDATE, JUDGMENT
from curate.stage import Context
from curate.stages.combine import Combine
from curate.stages.filters import Margin
from curate.stages.jury import Jury
from curate.stages.pairing import AllPairs, BestWorst

GAP = 1.0


def best_of(run: Callable[[], Any], times: int = 5) -> tuple[float, Any]:
    """Return the least seconds of several runs, and the last result."""
    seconds, result = [], None
    for _ in range(times):
        started = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - started)
    return min(seconds), result


def report(what: str, who: str, items: int, seconds: float) -> None:
    """Print one measurement."""
    print(json.dumps({"what": what, "by": who, "per_second": round(items / seconds)}), flush=True)


def python_best_worst(rows: list[list[float]]) -> list[tuple[int, int] | None]:
    """Return the pair of each prompt as one would write it without arrays."""
    found: list[tuple[int, int] | None] = []
    for scores in rows:
        high, low = max(scores), min(scores)
        found.append((scores.index(high), scores.index(low)) if high > low else None)
    return found


def python_all_pairs(rows: list[list[float]]) -> int:
    """Count the pairs of each prompt as one would write it without arrays."""
    found = 0
    for scores in rows:
        for one in scores:
            for other in scores:
                found += one - other > GAP
    return found


def pairing(counts: np.ndarray, scores: np.ndarray) -> None:
    """Best against worst, and all pairs above a margin."""
    local = np.arange(len(scores)) - np.repeat(np.cumsum(counts) - counts, counts)
    long = pl.DataFrame({"row": owners(counts), "i": local, "s": scores})
    long = long.with_columns(pl.col("row").set_sorted())
    few = [part.tolist() for part in np.split(scores, np.cumsum(counts))[: len(counts) // 10]]
    best_against_worst(counts, scores, long, few)
    pairs_above_a_margin(counts, scores, long, few)


def best_against_worst(
    counts: np.ndarray, scores: np.ndarray, long: pl.DataFrame, few: list[list[float]]
) -> None:
    """Measure the best answer of each prompt against the worst."""
    frame, what = long.to_pandas(), "best against worst"

    def polars_best() -> pl.DataFrame:
        best = pl.col("s").arg_max().alias("best")
        worst = pl.col("s").arg_min().alias("worst")
        margin = (pl.col("s").max() - pl.col("s").min()).alias("margin")
        grouped = long.lazy().group_by("row", maintain_order=True).agg(best, worst, margin)
        return grouped.filter(pl.col("margin") > 0).collect()

    def pandas_best() -> pd.DataFrame:
        grouped = frame.groupby("row", sort=False)["s"]
        best, worst = frame.loc[grouped.idxmax()], frame.loc[grouped.idxmin()]
        margin = best["s"].to_numpy() - worst["s"].to_numpy()
        made = pd.DataFrame({"row": best["row"].to_numpy(), "best": best["i"].to_numpy(),
                             "worst": worst["i"].to_numpy(), "margin": margin})  # fmt: skip
        return made[made["margin"] > 0]

    seconds, (best, worst) = best_of(lambda: best_worst(counts, scores))
    report(what, "curate", len(scores), seconds)
    seconds, found = best_of(polars_best)
    report(what, "polars", len(scores), seconds)
    paired = best >= 0
    assert np.array_equal(found["best"].to_numpy(), best[paired])
    assert np.array_equal(found["worst"].to_numpy(), worst[paired])
    seconds, other = best_of(pandas_best, 2)
    report(what, "pandas", len(scores), seconds)
    assert np.array_equal(other["best"].to_numpy(), best[paired])
    seconds, looped = best_of(lambda: python_best_worst(few), 1)
    report(what, "python loop", sum(map(len, few)), seconds)
    assert looped[0] == ((best[0], worst[0]) if best[0] >= 0 else None)


def pairs_above_a_margin(
    counts: np.ndarray, scores: np.ndarray, long: pl.DataFrame, few: list[list[float]]
) -> None:
    """Measure all pairs of a prompt's answers whose scores are far enough apart."""
    frame, what = long.to_pandas(), "all pairs with a margin"

    def polars_pairs() -> pl.DataFrame:
        margin = pl.col("s") - pl.col("s_right")
        joined = long.lazy().join(long.lazy(), on="row").filter(margin > GAP)
        return joined.select("row", "i", "i_right", margin.alias("margin")).collect()

    def pandas_pairs() -> pd.DataFrame:
        joined = frame.merge(frame, on="row")
        return joined[joined["s_x"] - joined["s_y"] > GAP]

    seconds, (row, chosen, rejected) = best_of(lambda: all_pairs(counts, scores, GAP))
    report(what, "curate", len(scores), seconds)
    seconds, found = best_of(polars_pairs)
    report(what, "polars", len(scores), seconds)
    found = found.sort("row", "i", "i_right")
    assert np.array_equal(found["row"].to_numpy(), row)
    assert np.array_equal(found["i_right"].to_numpy(), rejected)
    seconds, other = best_of(pandas_pairs, 2)
    report(what, "pandas", len(scores), seconds)
    assert len(other) == len(chosen)
    seconds, pairs = best_of(lambda: python_all_pairs(few), 1)
    report(what, "python loop", sum(map(len, few)), seconds)
    assert pairs == int((row < len(few)).sum())


def judged(counts: np.ndarray, judges: int, draws: np.random.Generator) -> pa.Table:
    """Return prompts whose answers each judge scored once from 1 to 5."""
    n = int(counts.sum())
    size = n * judges
    names = pa.DictionaryArray.from_arrays(
        pa.array(np.tile(np.arange(judges, dtype=np.int32), n)),
        pa.array([f"judge-{k}:helpfulness" for k in range(judges)]),
    ).cast(pa.string())
    local = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    quality = np.repeat(draws.normal(3, 1, n), judges)
    marks = np.clip(np.rint(quality + draws.normal(0, 0.8, size)), 1, 5)
    values = structs(
        JUDGMENT, size, judge=names, aspect="helpfulness", status="ok", text="Score: 3",
        a=pa.array(np.repeat(local, judges)), score=pa.array(marks.astype(np.float32)),
    )  # fmt: skip
    texts = pa.array([f"answer {k}" for k in range(n)])
    return pa.table(
        {
            "id": pa.array([f"r{k}" for k in range(len(counts))]),
            "candidates": lists(counts, structs(CANDIDATE, n, text=texts, model="m")),
            "judgments": lists(counts * judges, values),
        }
    )


def combining(counts: np.ndarray, judges: int, draws: np.random.Generator) -> None:
    """The mean over judges, and the stages on top of it, against a group-by on long rows."""
    table, n = judged(counts, judges, draws), int(counts.sum())
    seconds, result = best_of(lambda: Combine().apply(table, Context()))
    report(f"mean and deviation, judges: {judges}", "curate (stage)", n, seconds)
    values = table["judgments"].chunk(0).flatten()
    long = pl.DataFrame(
        {
            "key": np.repeat(np.arange(n), judges),
            "judge": pl.from_arrow(values.field("judge")),
            "score": values.field("score").to_numpy(),
        }
    )

    def polars_mean() -> pl.DataFrame:
        cells = long.lazy().group_by("key", "judge").agg(pl.col("score").mean())
        score = pl.col("score")
        return cells.group_by("key").agg(score.mean(), score.std(ddof=0).alias("std")).collect()

    seconds, found = best_of(polars_mean, 3)
    report(f"mean and deviation, judges: {judges}", "polars", n, seconds)
    ours = result["scores"].flatten().to_numpy()
    assert np.allclose(found.sort("key")["score"].to_numpy(), ours, atol=1e-5)
    seconds, _ = best_of(lambda: Combine(scale="prompt").apply(table, Context()), 3)
    report(f"mean of z-scores, judges: {judges}", "curate (stage)", n, seconds)
    for name, column in result.items():
        table = table.append_column(name, column)
    stages(table, n, judges)


def stages(table: pa.Table, n: int, judges: int) -> None:
    """The stages as a pipeline runs them, texts and all."""
    seconds, result = best_of(lambda: BestWorst().apply(table, Context()), 3)
    report("stage best_worst", "curate (stage)", n, seconds)
    seconds, _ = best_of(lambda: AllPairs(at_least=GAP).apply(table, Context()), 3)
    report("stage all_pairs", "curate (stage)", n, seconds)
    paired = table.append_column("pairs", result["pairs"])
    seconds, _ = best_of(lambda: Margin(at_least=GAP).apply(paired, Context()), 3)
    report("stage margin", "curate (stage)", n, seconds)
    pairs = len(result["pairs"].flatten())
    seconds, _ = best_of(lambda: Jury().apply(paired, Context()), 2)
    report(f"stage jury, judges: {judges}", "curate (stage)", pairs, seconds)


def python_em(rows: list[list[float]], iterations: int) -> list[float]:
    """Return the accuracies after some iterations, as one would write it without arrays."""
    import math

    judges = len(rows[0])
    accuracy = [0.7] * judges
    for _ in range(iterations):
        right, decided = [7.0] * judges, [10.0] * judges
        for votes in rows:
            odds = 0.0
            for c, v in zip(accuracy, votes, strict=True):
                odds += v * math.log(c / (1 - c))
            lean = math.tanh(odds / 2)
            for k, v in enumerate(votes):
                decided[k] += abs(v)
                right[k] += 0.5 * (abs(v) + v * lean)
        accuracy = [min(max(r / d, 0.5), 0.99) for r, d in zip(right, decided, strict=True)]
    return accuracy


def crowds(pairs: int, draws: np.random.Generator) -> None:
    """Expectation-maximisation over five judges, with whole votes and with uneven ones."""
    truth = draws.choice([-1.0, 1.0], (pairs, 1))
    right = draws.random((pairs, 5)) < [0.9, 0.8, 0.7, 0.6, 0.55]
    votes = np.where(right, truth, -truth)
    seconds, found = best_of(lambda: dawid_skene(votes), 3)
    report("em over 5 judges", "curate", pairs, seconds)
    few = votes[: pairs // 50]
    rounds = dawid_skene(few).iterations
    seconds, accuracy = best_of(lambda: python_em(few.tolist(), rounds), 1)
    report("em over 5 judges", "python loop", len(few), seconds)
    assert np.allclose(accuracy, dawid_skene(few).accuracy, atol=1e-9)
    seconds, found = best_of(lambda: dawid_skene(votes * draws.uniform(0.5, 1, votes.shape)), 2)
    report(f"em over 5 judges, no two pairs alike, {found.iterations} rounds", "curate", pairs,
           seconds)  # fmt: skip


def main() -> None:
    """Measure everything once."""
    prompts = int(sys.argv[1]) if len(sys.argv) > 1 else 250_000
    answers = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    draws = np.random.default_rng(0)
    counts = np.full(prompts, answers)
    pairing(counts, draws.integers(0, 20, prompts * answers) / 4.0)
    combining(counts, 1, draws)
    combining(counts, 3, draws)
    crowds(prompts, draws)


if __name__ == "__main__":
    main()
