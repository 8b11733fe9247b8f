"""Near-duplicate search against MinHash libraries: rows a second, recall, precision, memory.

    python benchmarks/near_dedup.py [--rows 10000 100000 1000000] [--peers PYTHON] [--repeat 3]
        [--tools curate gaoya]

PYTHON is an interpreter that has the tools of near_dedup_peers.py (any of them). Every measurement
is a process of its own that maps the same texts into memory; the tools take turns.

The texts are made from a seed: a chain of words that follows how often one word comes after
another in the documentation that ships with Python, 5 to 120 words long (a log-normal length, 30
in the mean), of which 10% come from 1,000 templates with some words left open. A fifth of the rows
are copies of an earlier row: a quarter of these word for word, the others with one or two words
replaced, left out, added or put in capitals.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import pydoc_data.topics
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
from near_dedup_peers import PEERS, THRESHOLD

SLOW = ("datasketch", "semhash", "text-dedup", "datatrove")
LIMITS = dict.fromkeys(SLOW, 100_000)  # rows; beyond that they take many minutes


def make_texts(rows: int, seed: int = 0) -> pa.Array:
    """Return the benchmark's texts; see the module's docstring."""
    rng = np.random.default_rng(seed)
    prose = " ".join(text for _, text in sorted(pydoc_data.topics.topics.items())).split()
    vocabulary, stream = np.unique(prose, return_inverse=True)
    after = np.argsort(stream[:-1], kind="stable") + 1  # places, grouped by the word before them
    begin = np.searchsorted(np.sort(stream[:-1]), np.arange(len(vocabulary) + 1))
    size = np.clip(rng.lognormal(3.2, 0.6, rows), 5, 120).astype(np.int64)
    template = rng.random(rows) < 0.1
    shape = np.where(template, rng.integers(0, 1000, rows), 0)
    size[template] = 8 + shape[template] % 25
    ids = np.zeros((rows, 120), dtype=np.int32)
    ids[:, 0] = stream[rng.integers(0, len(stream), rows)]
    for step in range(1, 120):
        low, high = begin[ids[:, step - 1]], begin[ids[:, step - 1] + 1]
        pick = low + (rng.random(rows) * np.maximum(high - low, 1)).astype(np.int64)
        ids[:, step] = stream[after[np.minimum(pick, len(after) - 1)]]
    fixed = stream[np.random.default_rng(seed + 1).integers(0, len(stream) - 120, 1000)[:, None]
                   + np.arange(120)]  # fmt: skip
    open_slot = rng.random((rows, 120)) < 0.15
    ids = np.where(template[:, None] & ~open_slot, fixed[shape], ids)
    _copy(ids, size, rng, len(vocabulary))
    words = np.concatenate([vocabulary, np.char.upper(vocabulary)])
    flat = pa.array(words).take(pa.array(ids[np.arange(120) < size[:, None]]))
    offsets = pa.array(np.concatenate([[0], np.cumsum(size)]).astype(np.int32))
    return pa.compute.binary_join(pa.ListArray.from_arrays(offsets, flat), " ")


def _copy(ids: np.ndarray, size: np.ndarray, rng: np.random.Generator, vocabulary: int) -> None:
    """Turn a fifth of the rows into copies of earlier ones, three quarters of them edited."""
    rows = len(ids)
    for row in np.flatnonzero(rng.random(rows) < 0.2)[1:].tolist():
        source = int(rng.integers(0, row))
        ids[row], size[row] = ids[source], size[source]
        for _ in range(rng.integers(1, 3) if rng.random() < 0.75 else 0):
            at, kind = int(rng.integers(0, size[row])), int(rng.integers(0, 4))
            if kind == 0:
                ids[row, at] = rng.integers(0, vocabulary)
            elif kind == 1 and size[row] > 5:
                ids[row, at:-1] = ids[row, at + 1 :].copy()
                size[row] -= 1
            elif kind == 2 and size[row] < 120:
                ids[row, at + 1 :] = ids[row, at:-1].copy()
                ids[row, at] = rng.integers(0, vocabulary)
                size[row] += 1
            elif kind == 3:
                ids[row, at] = ids[row, at] % vocabulary + vocabulary


def run_curate(texts: pa.Array) -> np.ndarray:
    """Return the twin of each text that the exact join drops, -1 elsewhere."""
    from curate.methods.copies import near_text

    return near_text([texts], np.arange(len(texts)), THRESHOLD)[0]


def run_curate_spilled(texts: pa.Array) -> np.ndarray:
    """The same with the shingles and postings in files."""
    from curate.methods.copies import near_text

    with tempfile.TemporaryDirectory() as directory:
        return near_text([texts], np.arange(len(texts)), THRESHOLD, spill=Path(directory))[0]


TOOLS = {"curate": run_curate, "curate, spilled": run_curate_spilled, **PEERS}


def child(tool: str, path: str, out: str) -> None:
    """Run one tool on the texts of `path`; print seconds and peak memory over the input."""
    texts = pa.ipc.open_file(pa.memory_map(path)).read_all()["text"].combine_chunks()
    TOOLS[tool](texts[:100])  # imports and warm-up are not measured
    np.frombuffer(texts.buffers()[2], dtype=np.uint8).max()  # read the input into memory
    before = peak_memory()
    start, used = time.perf_counter(), processor_time()
    twin = TOOLS[tool](texts)
    seconds, used = time.perf_counter() - start, processor_time() - used
    memory = peak_memory() - before
    np.save(out, twin)
    print(json.dumps({"seconds": seconds, "cpu": used, "memory": memory}))


def processor_time() -> float:
    """Return the seconds of processor time of this process and of those that it has waited for."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(sum(resource.getrusage(who)[:2]) for who in whose)


def peak_memory() -> float:
    """Return the highest resident memory so far, in MB, mapped files included.

    Of this process, or of one that it has waited for, if that had more.
    """
    status = Path("/proc/self/status").read_text()
    own = float(status.split("VmHWM:")[1].split()[0])
    return max(own, float(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)) / 1024


def measure(tool: str, python: str, path: Path) -> tuple[dict[str, float], np.ndarray] | None:
    """Run a tool in a process of its own; None where it is not installed."""
    out = path.with_suffix(".npy")
    command = [python, __file__, "--child", tool, str(path), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{tool}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1]), np.load(out)


def similarity(texts: list[str], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the exact Jaccard index of texts a[i] and b[i], by Python's own sets."""

    def grams(text: str) -> set[object]:
        w = text.lower().split()
        return set(zip(w, w[1:], w[2:], strict=False)) if len(w) > 2 else set(w)

    values = []
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        one, two = grams(texts[x]), grams(texts[y])
        values.append(len(one & two) / len(one | two))
    return np.array(values)


def duplicates(texts: pa.Array) -> np.ndarray:
    """Return which texts a greedy pass drops: those similar to an earlier one that stays.

    Independent of the join: every pair that shares a shingle is counted by Polars.
    """
    import polars as pl

    words = pl.DataFrame({"row": np.arange(len(texts)), "word": pl.Series(texts)})
    words = words.with_columns(pl.col("word").str.to_lowercase().str.split(" ")).explode("word")
    two, three = pl.col("word").shift(-1).over("row"), pl.col("word").shift(-2).over("row")
    grams = words.with_columns(gram=pl.concat_str("word", two, three, separator=" "))
    grams = grams.drop_nulls("gram").select("row", "gram").unique()
    size = grams.group_by("row").len().rename({"len": "size"})
    pairs = grams.join(grams, on="gram", suffix="_b").filter(pl.col("row") > pl.col("row_b"))
    pairs = pairs.group_by("row", "row_b").len()
    pairs = pairs.join(size, on="row").join(size, left_on="row_b", right_on="row", suffix="_b")
    union = pl.col("size") + pl.col("size_b") - pl.col("len")
    found = pairs.filter(pl.col("len") / union >= THRESHOLD).select("row", "row_b").sort("row")
    dropped = np.zeros(len(texts), dtype=bool)
    for later, earlier in found.rows():
        dropped[later] |= not dropped[earlier]
    return dropped


def report(rows: int, tools: list[str], python: str, repeat: int, folder: Path) -> None:
    """Measure the tools on `rows` texts and print the table's lines."""
    texts = make_texts(rows)
    path = folder / f"{rows}.arrow"
    with pa.ipc.new_file(path, pa.schema([("text", pa.string())])) as file:
        file.write_table(pa.table({"text": texts}))
    plain = texts.to_pylist()
    runs: dict[str, list[tuple[dict[str, float], np.ndarray]]] = {}
    for _ in range(repeat):
        for tool in tools:
            if rows > LIMITS.get(tool, rows):
                continue
            found = measure(tool, sys.executable if tool.startswith("curate") else python, path)
            if found is not None:
                runs.setdefault(tool, []).append(found)
    print(f"\n{rows:,} rows, {texts.nbytes / 1e6:.0f} MB; load {os.getloadavg()[0]:.1f}")
    truth = duplicates(texts) if rows <= 10_000 else None
    exact = next(found[0][1] for tool, found in runs.items() if tool.startswith("curate"))
    for tool, found in runs.items():
        twin = found[0][1]
        flagged = np.flatnonzero(twin >= 0)
        good = similarity(plain, flagged, twin[flagged]) >= THRESHOLD
        # A row is rightly flagged if its twin is similar; the exact join's rows are the truth
        # beyond the size at which all pairs are counted.
        true = np.flatnonzero(truth if truth is not None else exact >= 0)
        recall = np.isin(true, flagged[good]).mean()
        seconds, cpu = (statistics.median(r[key] for r, _ in found) for key in ("seconds", "cpu"))
        memory = max(run["memory"] for run, _ in found)
        same = "" if not tool.startswith("curate") else f" same={np.array_equal(twin, exact)}"
        print(
            f"| {tool} | {rows / seconds:,.0f} | {rows / cpu:,.0f} "
            f"| {recall:.4f} | {good.mean():.4f} | {memory:,.0f} | {len(flagged):,}{same}"
        )


def main() -> None:
    """Parse the command line and run."""
    if importlib.util.find_spec("curate") is None:
        sys.path.insert(0, str(Path(__file__).parents[1]))
    if len(sys.argv) > 1 and sys.argv[1] == "--child":
        child(*sys.argv[2:5])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--peers", default=sys.executable)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--tools", nargs="+", default=list(TOOLS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for rows in arguments.rows:
            report(rows, arguments.tools, arguments.peers, arguments.repeat, Path(folder))


if __name__ == "__main__":
    main()
