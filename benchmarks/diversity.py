"""Diversity at a fixed budget, next to plain alternatives in the same run.

Run `python benchmarks/diversity.py PART [rows] [python with apricot-select]`; PART is one of
graph, greedy, deita, topics (then a Parquet file), and `large [rows] [method ...]`, which runs the
stage `diverse` by each method, or by all, in a process of its own; those that go by neighbours do
so on an ivf graph. PICKS is read from the environment. Rows are 384 numbers each, unit vectors
around n / 50 centres.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from curate.methods.coverage import facility_location, farthest_first
from curate.methods.neighbours import exact_graph
from curate.methods.ranked import deita
from curate.methods.spread import determinantal
from curate.methods.vectors import unit

K, WIDTH = 10, 384
METHODS = (  # not dpp: 5,000 of a million rows would take 37 GiB, and it refuses
    "farthest_first", "facility_location", "clusters", "mmr", "knn_density", "knn_entropy", "deita",
)  # fmt: skip
PICKS = int(os.environ.get("PICKS", "5000"))

APRICOT = """
import sys, time, numpy as np
from scipy.sparse import csr_matrix
from apricot import FacilityLocationSelection
a = np.load(sys.argv[1])
n = len(a["starts"]) - 1
graph = csr_matrix((a["weight"], a["covered"], a["starts"]), shape=(n, n))
began = time.perf_counter()
select = FacilityLocationSelection(int(sys.argv[2]), metric="precomputed", optimizer="lazy")
found = select.fit(graph)
np.save(sys.argv[3], found.ranking)
print(time.perf_counter() - began)
"""


def rows_of(n: int, seed: int = 0) -> np.ndarray:
    """Return n unit vectors (n, 384)."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(1, n // 50), WIDTH)).astype(np.float32)
    noise = rng.standard_normal((n, WIDTH), dtype=np.float32)
    noise += 1.5 * centres[rng.integers(0, len(centres), n)]
    return unit(noise)


def timed(work, *args):  # noqa: ANN001, ANN002, ANN201
    """Return what `work` returns and its seconds; print them, and those of all threads' CPU."""
    began, cpu = time.perf_counter(), time.process_time()
    found = work(*args)
    seconds = time.perf_counter() - began
    print(f"{work.__name__}: {seconds:.1f} s, CPU {time.process_time() - cpu:.1f} s", flush=True)
    return found, seconds


def flat_search(vectors: np.ndarray) -> np.ndarray:
    """Return the k nearest others by faiss's flat index."""
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    found = index.search(vectors, K + 1)[1]
    itself = found == np.arange(len(found))[:, None]
    return np.take_along_axis(found, np.argsort(itself, axis=1, kind="stable"), 1)[:, :K]


def graph(n: int, apricot: str | None) -> None:
    """Compare the exact graph with faiss, and facility location with apricot."""
    vectors = rows_of(n)
    ours, seconds = timed(exact_graph, vectors, K)
    theirs, flat = timed(flat_search, vectors)
    differ = np.flatnonzero((np.sort(ours.rows, 1) != np.sort(theirs, 1)).any(axis=1))
    wide = vectors.astype(np.float64)
    worst = 0.0  # how much nearer the k-th of faiss is, where the two differ
    for row in differ:
        away = np.linalg.norm(wide[theirs[row]] - wide[row], axis=1).max()
        worst = max(worst, ours.distance[row, -1] - away)
    print(f"exact graph {seconds:.1f} s, faiss flat {flat:.1f} s, ratio {flat / seconds:.2f}")
    print(f"rows whose neighbours differ {len(differ)}; largest excess there {worst:.1e}")
    similarity = np.clip(ours.cosine, 0.0, 1.0)
    (chosen, value), extra = timed(facility_location, ours, similarity, PICKS)
    print(f"facility location {extra:.2f} s, {extra / seconds:.1%} of the graph; {value:.3f}")
    if apricot is None:
        return
    from curate.methods.coverage import _both_ways

    with tempfile.TemporaryDirectory() as folder:
        edges, found = Path(folder) / "edges.npz", Path(folder) / "found.npy"
        starts, covered, weight = _both_ways(ours, similarity)
        np.savez(edges, starts=starts, covered=covered, weight=weight)
        command = [apricot, "-c", APRICOT, str(edges), str(PICKS), str(found)]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        ranking = np.load(found)
    for name, picks in (("ours", chosen), ("apricot", ranking)):
        covers = np.zeros(n)
        for row in picks:
            at = slice(starts[row], starts[row + 1])
            covers[covered[at]] = np.maximum(covers[covered[at]], weight[at])
        print(f"coverage of {name}: {covers.sum():.3f} on {len(picks)} picks")
    print(f"apricot {float(out):.1f} s")


def plain_greedy(vectors: np.ndarray, keep: int, start: int) -> list[int]:
    """Farthest first as a plain NumPy loop, in float32."""
    chosen, square = [start], np.einsum("ij,ij->i", vectors, vectors)
    nearest = np.full(len(vectors), np.inf, dtype=np.float32)
    while len(chosen) < keep:
        away = square + square[chosen[-1]] - 2.0 * (vectors @ vectors[chosen[-1]])
        np.minimum(nearest, away, out=nearest)
        nearest[chosen[-1]] = -1.0
        chosen.append(int(nearest.argmax()))
    return chosen


def compare_greedy(n: int) -> None:
    """Compare farthest first with the plain loop."""
    vectors = rows_of(n)
    (chosen, _), seconds = timed(farthest_first, vectors, PICKS, 0)
    expected, plain = timed(plain_greedy, vectors, PICKS, 0)
    same = int((chosen == np.array(expected)).sum())
    print(f"farthest first {seconds:.1f} s, plain {plain:.1f} s, ratio {plain / seconds:.2f}")
    print(f"{same} of {PICKS} picks the same, {len(set(chosen) & set(expected))} as a set")


def plain_deita(order: np.ndarray, vectors: np.ndarray, threshold: float) -> list[int]:
    """DEITA's rule as a NumPy loop."""
    taken = np.empty_like(vectors)
    chosen: list[int] = []
    for row in order.tolist():
        if not chosen or float((taken[: len(chosen)] @ vectors[row]).max()) <= threshold:
            taken[len(chosen)] = vectors[row]
            chosen.append(row)
    return chosen


def compare_deita(n: int) -> None:
    """Compare the threshold rule with the loop."""
    vectors = rows_of(n)
    order = np.random.default_rng(1).permutation(n)
    chosen, seconds = timed(deita, order, vectors, 0.7)
    expected, plain = timed(plain_deita, order, vectors, 0.7)
    print(f"deita {seconds:.1f} s, loop {plain:.1f} s, ratio {plain / seconds:.2f}")
    print(f"{len(chosen)} taken, identical: {chosen.tolist() == expected}")


def large(n: int, methods: Sequence[str]) -> None:
    """Run the stage by each method on a memory-mapped float16 column."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.f16"
        with path.open("wb") as file:
            for start in range(0, n, 50_000):
                block = rows_of(min(50_000, n - start), seed=start)
                file.write(block.astype(np.float16).tobytes())
        for method in methods or METHODS:
            subprocess.run([sys.executable, __file__, "one", str(n), method, str(path)], check=True)


def one(n: int, method: str, path: str) -> None:
    """Run the stage by one method and print its seconds, peak memory and counters."""
    import pyarrow as pa

    from curate.stage import Context
    from curate.stages.diverse import Diverse

    mapped = pa.memory_map(path).read_buffer()
    values = pa.Array.from_buffers(pa.float16(), n * WIDTH, [None, mapped])
    quality = np.random.default_rng(1).random(n)
    columns = {
        "id": pa.array([f"r{row:07}" for row in range(n)]),
        "embedding": pa.FixedSizeListArray.from_arrays(values, WIDTH),
        "quality": pa.array(quality),
    }
    stage = Diverse(keep=PICKS, method=method, quality="quality", graph="ivf", min_recall=0.0, k=K)
    context, before = Context(), peak()
    found, seconds = timed(stage.apply, pa.table(columns), context)
    kept = found["drop"].null_count
    print(f"{method}: {seconds:.1f} s, {kept} kept, peak {peak():.2f} GB ({before:.2f} before)")
    print({name: number / 10_000 for name, number in context.counts.items()}, flush=True)


def topics(path: str) -> None:
    """Count the topics that half of the prompts of a file reach (columns prompt and cluster)."""
    import polars as pl

    from curate.encoders import load_encoder

    table = pl.read_parquet(path).unique("prompt", maintain_order=True)
    labels = np.unique(table["cluster"].to_numpy(), return_inverse=True)[1]
    vectors = load_encoder("packaged:minilm").encode(table["prompt"].to_list())
    n = len(vectors)
    rng = np.random.default_rng(0)
    random = [len(set(labels[rng.choice(n, n // 2, replace=False)])) for _ in range(5000)]
    print(
        f"random {np.mean(random):.1f} +- {np.std(random):.1f}", np.percentile(random, [2.5, 97.5])
    )
    print("farthest first", len(set(labels[farthest_first(vectors, n // 2, 0)[0]])))
    for width in (0.25, 0.5, 1.0, 2.0):
        found = len(set(labels[determinantal(vectors, n // 2, width)]))
        print(f"dpp, width={width}: {found}")
    for k in (1, 2, 3, 5, 10, 50, n - 1):
        near = exact_graph(vectors, k)
        picks, _ = facility_location(near, np.clip(near.cosine, 0, 1), n // 2)
        found = len(set(labels[picks]))
        as_good = np.mean(np.array(random) >= found)
        print(f"facility location, k={k}: {found}; random as good {as_good:.4f}")


def peak() -> float:
    """Return this process's peak memory in GB, mapped file pages included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    part, *rest = sys.argv[1:]
    if part == "topics":
        topics(rest[0])
        sys.exit()
    if part == "large" and rest and not rest[0].isdigit():
        rest = ["1000000", *rest]
    count = int(rest[0]) if rest else (1_000_000 if part == "large" else 100_000)
    if part == "graph":
        graph(count, rest[1] if len(rest) > 1 else None)
    elif part == "large":
        large(count, rest[1:])
    elif part == "one":
        one(count, *rest[1:])
    else:
        {"greedy": compare_greedy, "deita": compare_deita}[part](count)
