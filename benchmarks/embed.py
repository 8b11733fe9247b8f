"""Embed prompts with curate's encoder and with plain sentence-transformers: speed, neighbours.

    python benchmarks/embed.py PROMPTS.parquet:COLUMN [PROMPTS.parquet:COLUMN ...] [rounds]

512 prompts of each file, spread over it, are embedded together, a mix of their lengths. The ways
take turns, and the least of `rounds` counts, on the clock and of the processors (where the machine
is shared only the latter means something, with OMP_NUM_THREADS=1, so that no thread waits for
another). Vectors of curate are compared as they are stored, in float16.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import polars as pl
import torch
from sentence_transformers import SentenceTransformer

from curate.encoders import _local_path, load_encoder
from curate.methods.vectors import unit

NEIGHBOURS = 10
PROMPTS = 512  # of a file


def neighbours(vectors: np.ndarray) -> np.ndarray:
    """Return the 10 nearest other rows of each of the unit vectors (n, d)."""
    cosine = vectors @ vectors.T
    np.fill_diagonal(cosine, -2)
    return np.argsort(-cosine, axis=1, kind="stable")[:, :NEIGHBOURS]


def kept(expected: np.ndarray, vectors: np.ndarray) -> float:
    """Return the share of the expected neighbours that the vectors, stored in float16, keep."""
    found = neighbours(unit(vectors.astype(np.float16)))
    pairs = zip(expected, found, strict=True)
    return float(np.mean([len(np.intersect1d(a, b)) for a, b in pairs]) / NEIGHBOURS)


def prompts(name: str) -> list[str]:
    """Return up to 512 distinct texts of a file's column, given as FILE:COLUMN."""
    path, column = name.rsplit(":", 1)
    every = pl.read_parquet(path)[column].unique(maintain_order=True)
    return every.gather_every(max(1, len(every) // PROMPTS)).head(PROMPTS).to_list()


def main() -> None:
    """Print one line a way of encoding."""
    names = [name for name in sys.argv[1:] if ":" in name]
    rounds = int(sys.argv[-1]) if ":" not in sys.argv[-1] else 3
    texts = [text for name in names for text in prompts(name)]
    plain = SentenceTransformer(_local_path("packaged:minilm"), device="cpu")
    sizes = [len(ids) for ids in plain.tokenizer(texts, truncation=True, max_length=256).input_ids]
    print(
        f"{len(texts)} texts, {torch.get_num_threads()} threads; tokens: mean {np.mean(sizes):.0f}"
    )
    ways: dict[str, Callable[[], np.ndarray]] = {
        "sentence-transformers, fp32, batch 32": lambda: plain.encode(texts, batch_size=32)
    }
    for precision in ("fp32", "bf16"):
        encoder = load_encoder("packaged:minilm", precision)
        ways[f"curate, {precision}"] = lambda encoder=encoder: encoder.encode(texts)
    least = {name: np.full(2, np.inf) for name in ways}  # wall, CPU
    vectors: dict[str, np.ndarray] = {}
    for _ in range(rounds):
        for name, encode in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            vectors[name] = encode()
            taken = time.perf_counter() - wall, time.process_time() - cpu
            least[name] = np.minimum(least[name], taken)
    first = next(iter(ways))
    expected = neighbours(unit(vectors[first]))
    for name, seconds in least.items():
        same = 1.0 if name == first else kept(expected, vectors[name])
        (wall, cpu), rate = least[first] / seconds, len(texts) / seconds
        line = f"{rate[0]:.0f} | **{wall:.2f}** | {rate[1]:.0f} | {cpu:.2f} | {same:.4f}"
        print(f"| {name} | {line} |", flush=True)


if __name__ == "__main__":
    main()
