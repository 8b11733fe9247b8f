"""Judged rows to export: a row that any form can take, and those that give no record."""

import pyarrow as pa

from curate.schema import COLUMNS

STEPS = [
    {"candidate": c, "text": text, "right": right, "tries": 2, "ended_right": int(right)}
    for c, text, right in [(0, "one", True), (0, "two", False), (2, "three", True)]
]
STEP_PAIR = {
    "prefix": "one\n", "chosen": "two", "rejected": "three", "q_chosen": 1.0, "q_rejected": 0.0,
    "n_chosen": 1, "n_rejected": 4, "confidence": 0.25,
}  # fmt: skip


def candidate(text, drop=None):
    return {"text": text, "model": "m", "finish_reason": "stop", "tokens": 1, "drop": drop}


def pair(chosen, rejected, drop=None):
    return {
        "chosen": chosen, "rejected": rejected, "margin": 1.5, "p_correct": 0.75,
        "weight": None, "source": "s", "drop": drop,
    }  # fmt: skip


def row(key, texts=("good", "bad"), pairs=None, turns=1, split=None):
    roles = ["user", "assistant", "user"]
    return {
        "id": key,
        "prompt": [{"role": r, "content": f"{key}{i}"} for i, r in enumerate(roles[:turns])],
        "candidates": [candidate(t) if isinstance(t, str) else t for t in texts],
        "scores": [float(len(texts) - i) for i in range(len(texts))],
        "pairs": [pair(0, 1)] if pairs is None else pairs,
        "rationales": ["because"],
        "steps": STEPS,
        "step_pairs": [STEP_PAIR],
        "other_prompt": [{"role": "user", "content": f"another {key}"}],
        "goals": [f"worth {len(texts) - i}" for i in range(len(texts))],
        "reference": f"truth of {key}" if turns == 1 else None,
        "split": split,
    }


def table(rows):
    names = ["id", "prompt", "candidates", "scores", "pairs", "rationales", "reference", "split"]
    names += ["steps", "step_pairs", "other_prompt", "goals"]
    return pa.Table.from_pylist(rows, schema=pa.schema([(n, COLUMNS[n]) for n in names]))


def say(role, content):
    return {"role": role, "content": content}


ROWS = [
    row("a", ("good", "bad", "mid"), [pair(0, 1), pair(0, 2, "margin too small"), pair(2, 1)]),
    row("b", ("x", candidate("y", "too long"))),
    row("c", ("x", None), [pair(0, 5), pair(None, 0), pair(0, 0)])
    | {"candidates": [candidate("x"), candidate(None)]},
    row("d", turns=3, split="test"),
    row("e", turns=0),
]
