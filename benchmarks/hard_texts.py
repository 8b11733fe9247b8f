"""Near-duplicate search on texts that make a join quadratic: processor seconds by number of rows.

    python benchmarks/hard_texts.py [rows ...]

One text again and again; one shingle in every text, which is else unlike all others; near-copies of
one text, each unique; empty texts and texts of two words out of 2,000; Han characters without a
space, drawn at random and, in a fifth of the rows, an earlier row's with its last ones left out.
What is dropped is checked against what must be, or against Python's own sets.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pyarrow as pa

from curate.methods.copies import near_text

THRESHOLD = 0.8


def han(rows: int, rng: np.random.Generator) -> list[str]:
    """Return texts of 30 Han characters; a fifth are an earlier one's first 28."""
    drawn = rng.integers(0x4E00, 0x9FA5, (rows, 30), dtype=np.uint32)
    texts = [line.tobytes().decode("utf-32-le") for line in drawn]
    for row in np.flatnonzero(rng.random(rows) < 0.2)[1:].tolist():
        texts[row] = texts[int(rng.integers(0, row))][:28]
    return texts


def texts_of(rows: int) -> dict[str, list[str]]:
    """Return the texts by what they are."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 2000, (2, rows)).tolist()
    known = "tell me all that you know about the history of rome please"
    pairs = zip(first, second, strict=True)
    short = [f"w{a} w{b}" if a % 3 else "" for a, b in pairs]
    return {
        "one text again and again": ["the very same text again"] * rows,
        "one shingle in every text, else unlike": [f"what is the x{i}" for i in range(rows)],
        "near-copies of one text, each unique": [f"{known} {i}" for i in range(rows)],
        "empty texts and texts of two words": short,
        "30 Han characters without a space": han(rows, rng),
    }


def expected(kind: str, texts: list[str]) -> int | None:
    """Return how many rows must be dropped, None where it is not known beforehand."""
    if kind.startswith(("one text", "near-copies")):
        return len(texts) - 1
    if kind.startswith("one shingle"):
        return 0
    if kind.startswith("empty"):  # nothing is like an empty text; of two words, both must be there
        full = [frozenset(text.split()) for text in texts if text]
        return len(full) - len(set(full))
    return None


def main() -> None:
    """Print one line a kind of text."""
    sizes = [int(rows) for rows in sys.argv[1:]] or [10_000, 100_000, 1_000_000]
    lines: dict[str, list[str]] = {}
    for rows in sizes:
        for kind, texts in texts_of(rows).items():
            column = pa.array(texts)
            near_text([column[:100]], np.arange(min(100, rows)), THRESHOLD)  # imports
            began = time.process_time()
            twin = near_text([column], np.arange(rows), THRESHOLD)[0]
            seconds, dropped = time.process_time() - began, int((twin >= 0).sum())
            must = expected(kind, texts)
            if must is not None and must != dropped:
                print(f"{kind}, {rows} rows: {dropped} dropped, {must} must be")
            lines.setdefault(kind, []).append(f"{seconds:.1f} ({dropped:,})")
    for kind, cells in lines.items():
        print(f"| {kind} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
