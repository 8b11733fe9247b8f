"""Does relevance choose the answer that people, or GPT-4, prefer? PandaLM and Prometheus.

    python benchmarks/relevance.py DATA

DATA holds pandalm/pairs.parquet (999 pairs, three people each, and a reference by GPT-3.5) and
prometheus_gpt4x3/responses.parquet (answers scored thrice by GPT-4, and a reference). A pair is
right where the answer that two of three people prefer, or whose mean score is higher by one or
more, has the higher score; a tie counts half. The alternative, in the same run, is the length.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from curate.encoders import load_encoder
from curate.methods.relevance import distinct_share, relevance, tokens


class Pair(NamedTuple):
    """Two answers of which the first is preferred."""

    prompt: str
    reference: str
    better: str
    worse: str


def pandalm(data: Path) -> list[Pair]:
    """Return the pairs on which two of three people agree."""
    found = []
    for row in pq.read_table(data / "pandalm/pairs.parquet").to_pylist():
        votes = [int(row[f"annotator{k}"]) for k in (1, 2, 3)]
        answers = row["response1"], row["response2"]
        if max(votes.count(1), votes.count(2)) >= 2 and answers[0] != answers[1]:
            ordered = answers if votes.count(1) >= 2 else answers[::-1]
            prompt = f"{row['instruction']}\n\n{row['input'] or ''}"
            found.append(Pair(prompt, row["gpt_reference"] or "", *ordered))
    return found


def prometheus(data: Path) -> list[Pair]:
    """Return the pairs of one prompt whose mean scores differ by one or more."""
    by_prompt: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for row in pq.read_table(data / "prometheus_gpt4x3/responses.parquet").to_pylist():
        answers = by_prompt.setdefault((row["prompt"], row["reference"]), [])
        answers.append((float(np.mean(row["gpt4_scores"])), row["response"]))
    return [
        Pair(prompt, reference, max(two)[1], min(two)[1])
        for (prompt, reference), answers in by_prompt.items()
        for two in itertools.combinations(answers, 2)
        if abs(two[0][0] - two[1][0]) >= 1
    ]


def measure(name: str, pairs: list[Pair]) -> None:
    """Print the share of right pairs for each way to score an answer."""
    encoder = load_encoder("packaged:minilm")
    vector = {
        field: encoder.encode([getattr(pair, field) or " " for pair in pairs])
        for field in Pair._fields
    }
    read = {side: [tokens(getattr(p, side)) for p in pairs] for side in ("better", "worse")}
    words = {side: np.array([len(t) for t in found], float) for side, found in read.items()}
    distinct = {
        side: np.array([distinct_share(t, 3) for t in found]) for side, found in read.items()
    }

    def show(way: str, better: np.ndarray, worse: np.ndarray) -> None:
        right = np.where(better == worse, 0.5, better > worse)
        error = 1.96 * right.std() / np.sqrt(len(right))
        print(f"| {name}, {len(pairs)} pairs | {way} | {right.mean():.1%} | {error:.1%} |")

    show("length alone", words["better"], words["worse"])
    show("distinct trigrams alone", distinct["better"], distinct["worse"])
    for to in ("prompt", "reference"):
        cosine = {side: (vector[side] * vector[to]).sum(axis=1) for side in read}
        for way, ngram, per_words in (
            (f"cosine to the {to}", False, None),
            (f"`relevance` to the {to}", True, None),
            (f"`relevance` to the {to}, per_words 100", True, 100.0),
        ):
            score = [
                relevance(cosine[s], words[s], distinct[s] if ngram else 1.0, per_words, 3.0)
                for s in ("better", "worse")
            ]
            show(way, *score)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    print("| set | score | right | 95% +- |\n|---|---|---|---|")
    measure("PandaLM", pandalm(folder))
    measure("Prometheus", prometheus(folder))
