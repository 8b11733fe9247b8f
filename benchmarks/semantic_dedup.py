"""Rephrased questions found by embeddings, against TF-IDF: recall and wrong matches.

    python benchmarks/semantic_dedup.py ORIGINALS.parquet COLUMN REPHRASED.jsonl
    python benchmarks/semantic_dedup.py large [rows]

ORIGINALS holds the GSM8K test questions in their order; REPHRASED is `data/rephrase/
rephrase_gsm8k.jsonl` of github.com/lm-sys/llm-decontaminator (Yang et al. 2023, Apache-2.0), line
i the same question in other words. Both are put into one pool, originals first, and deduplicated:
right is a rephrased question dropped for its own original, wrong is any other row dropped.

`large` runs the stage on made-up vectors of 384 numbers, in clusters and by brute force: unit
vectors around rows / 50 centres, a fifth of them moved to a cosine of 0.85 to 0.99 from another.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from diversity import rows_of

from curate.encoders import load_encoder
from curate.methods.threshold_sweep import greedy, similar_pairs
from curate.methods.vectors import unit
from curate.stage import Context
from curate.stages.semantic_dedup import SemanticDedup


def texts(originals: str, column: str, rephrased: str) -> tuple[list[str], list[str]]:
    """Return the questions and, in the same order, the same in other words."""
    first = pl.read_parquet(originals)[column].unique(maintain_order=True).to_list()
    lines = [json.loads(line)["text"] for line in Path(rephrased).read_text().splitlines()]
    second = [line.split("\nAnswer:")[0].removeprefix("Question: ") for line in lines]
    assert len(first) == len(second), (len(first), len(second))
    return first, second


def table(name: str, vectors: np.ndarray, n: int, thresholds: np.ndarray) -> None:
    """Print the best recall at up to 1.5% wrong, and what each threshold gives."""
    pairs = similar_pairs(vectors, float(thresholds[0]))
    best = (0.0, 0.0, 0.0)
    for threshold in thresholds:
        twin = greedy(2 * n, pairs, float(threshold))[0]
        right = twin[n:] == np.arange(n)
        wrong = int((twin >= 0).sum() - right.sum()) / (2 * n)
        if wrong <= 0.015:
            best = max(best, (float(right.mean()), wrong, float(threshold)))
        if round(float(threshold) * 100) % 5 == 0:
            print(f"| {name} | {threshold:.2f} | {right.mean():.1%} | {wrong:.2%} |", flush=True)
    print(f"| **{name}, best** | {best[2]:.2f} | **{best[0]:.1%}** | {best[1]:.2%} |", flush=True)


def with_copies(n: int) -> np.ndarray:
    """Return n unit vectors (n, 384), a fifth of them near another one."""
    vectors, rng = rows_of(n), np.random.default_rng(1)
    copies = np.sort(rng.choice(n, n // 5, replace=False))
    others = np.setdiff1d(np.arange(n), copies)
    for start in range(0, len(copies), 8192):
        at = copies[start : start + 8192]
        original = vectors[rng.choice(others, len(at))]
        away = rng.standard_normal(original.shape, dtype=np.float32)
        away -= (away * original).sum(axis=1, keepdims=True) * original
        cosine = rng.uniform(0.85, 0.99, (len(at), 1)).astype(np.float32)
        vectors[at] = cosine * original + np.sqrt(1 - cosine**2) * unit(away)
    return vectors


def large(n: int) -> None:
    """Print time, memory and what is dropped, in clusters and by brute force."""
    values = pa.array(with_copies(n).astype(np.float16).reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(values, 384)
    view = pa.table({"id": [f"r{row}" for row in range(n)], "embedding": column})
    dropped = {}
    for name, most in (("clusters", 0), ("every pair", n)):
        ctx, began, cpu = Context(), time.perf_counter(), time.process_time()
        why = SemanticDedup(exact_up_to=most).apply(view, ctx)["drop"]
        taken = time.perf_counter() - began, time.process_time() - cpu
        dropped[name] = {row for row, reason in enumerate(why.to_pylist()) if reason}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            f"{name}: {taken[0]:.1f} s, CPU {taken[1]:.1f} s, peak {peak:.2f} GB, "
            f"{len(dropped[name])} dropped, {dict(ctx.counts)}",
            flush=True,
        )
    every = dropped["every pair"]
    share = len(dropped["clusters"] & every) / max(1, len(every))
    print(f"of the rows that every pair drops, clusters drop {share:.5f}")


def main() -> None:
    """Print one line a method and threshold."""
    if sys.argv[1] == "large":
        return large(int(sys.argv[2]) if len(sys.argv) > 2 else 100_000)
    from sklearn.feature_extraction.text import TfidfVectorizer

    first, second = texts(*sys.argv[1:4])
    n = len(first)
    sparse = TfidfVectorizer(sublinear_tf=True).fit_transform(first + second)
    dense = np.asarray(sparse.todense(), dtype=np.float32)
    table("TF-IDF", dense, n, np.arange(0.30, 0.99, 0.01))
    started = time.perf_counter()
    vectors = load_encoder("packaged:minilm").encode(first + second)
    print(f"encoded {2 * n} texts in {time.perf_counter() - started:.1f} s")
    table("MiniLM", vectors, n, np.arange(0.60, 0.99, 0.01))


if __name__ == "__main__":
    main()
