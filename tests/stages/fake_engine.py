"""A fake engine and small tables for the stages that call engines."""

import pyarrow as pa

from curate.engines.contract import Completions
from curate.schema import CANDIDATES, PAIRS, PROMPT
from curate.stage import Context


class Fake:
    """Answers with what `reply(request)` returns, and keeps the requests."""

    model = "fake-1"

    def __init__(self, reply):
        self.reply, self.requests = reply, []

    def chat(self, requests):
        self.requests += requests
        return Completions.of([self.reply(r) for r in requests], len(requests.choices))

    def loglikelihood(self, requests):
        self.requests += requests
        return [self.reply(request) for request in requests]


def table(answers, drops=None, pairs=None, **columns):
    """Rows "r0", "r1"... whose candidates have the given texts."""
    n = len(answers)
    drops = drops or [[None] * len(row) for row in answers]
    candidates = [
        [
            {"text": t, "model": "m", "finish_reason": "stop", "tokens": 1, "drop": d}
            for t, d in zip(*row, strict=True)
        ]
        for row in zip(answers, drops, strict=True)
    ]
    data = {
        "id": pa.array([f"r{i}" for i in range(n)], pa.string()),
        "prompt": pa.array(
            [[{"role": "user", "content": f"question {i}"}] for i in range(n)], PROMPT
        ),
        "candidates": pa.array(candidates, CANDIDATES),
        **columns,
    }
    if pairs is not None:
        data["pairs"] = pa.array(
            [[{"chosen": w, "rejected": r, "drop": d} for w, r, d in row] for row in pairs], PAIRS
        )
    return pa.table(data)


def asked(ctx):
    """The last message of each request so far."""
    return [r.messages[-1]["content"] for r in ctx.engines["fake"].requests]


def context(reply, seed=0):
    return Context(seed=seed, engines={"fake": Fake(reply)})
