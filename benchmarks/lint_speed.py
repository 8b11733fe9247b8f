"""What `curate lint` takes on many rows; `label_quality.py` prints it below its tables."""

from __future__ import annotations

import re
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.evaluation.dataset_lint import lint_dataset


def lint_speed(size: int) -> None:
    """Print what `curate lint` takes, beside a loop over rows that does less."""
    random = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(20_000)], dtype=object)
    body = [" ".join(words[random.integers(0, len(words), 200)]) + "." for _ in range(20_000)]
    names = ("prompt", "chosen", "rejected")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.parquet"
        with pq.ParquetWriter(path, pa.schema([(name, pa.string()) for name in names])) as file:
            for start in range(0, size, 50_000):
                ids = range(start, min(start + 50_000, size))
                texts = (
                    [f"Tell me about number {i}?" for i in ids],
                    [f"{i} {body[i % 20_000]}" for i in ids],
                    [f"{i} no {body[(7 * i + 1) % 20_000]}" for i in ids],
                )
                file.write_table(pa.table(dict(zip(names, texts, strict=True))))
        before, spent = time.perf_counter(), time.process_time()
        found = lint_dataset(str(path))
        seconds, spent = time.perf_counter() - before, time.process_time() - spent
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        some = pq.ParquetFile(path).read_row_group(0).to_pylist()
        before = time.process_time()
        loop(some)
        plain = (time.process_time() - before) / len(some) * found["rows"]
        size_gb = path.stat().st_size / 1e9
    print(
        f"\n## Lint\n\n{found['rows']} rows ({size_gb:.2f} GB): {seconds:.0f} s, of which "
        f"{spent:.0f} s of CPU; peak {peak:.1f} GB. A loop over rows with six of the checks takes "
        f"{plain:.0f} s of CPU, reading the file not counted."
    )


def loop(some: list[dict[str, Any]]) -> int:
    """Six checks that look at one row, written the plain way."""
    patterns = [
        re.compile(r"<\||\[/?INST\]|<<SYS>>|</s>"),
        re.compile(r"\n\s*(?:Human|User|Assistant)\s?:\s"),
        re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u202a-\u202e]"),
        re.compile(r"(?i)^(?:i'm sorry|sorry)?,? ?(?:but )?i (?:cannot|can't|won't)"),
    ]
    hits = 0
    for row in some:
        one, two = row["chosen"].strip(), row["rejected"].strip()
        hits += one == two or not one or not two or one.startswith(two) or two.startswith(one)
        for text in (one, two):
            hits += sum(pattern.search(text) is not None for pattern in patterns)
            hits += text.count("```") % 2
    return hits
