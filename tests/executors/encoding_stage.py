"""A stage that asks no engine: it encodes, here or in the child of an engine that it names."""

import time
from typing import Annotated

import numpy as np
import pyarrow as pa

from curate.arrays import text_of
from curate.stage import EngineRole, Stage


class SlowEncoder:
    """Takes its time, and says after each batch how many texts are done."""

    def __init__(self, seconds):
        self.seconds = seconds

    def encode(self, texts, batch_size=64, told=lambda texts: None):
        distinct = sorted(set(texts))
        for start in range(0, len(distinct), 2):
            time.sleep(self.seconds * 2 / len(distinct))
            told(len(distinct[start : start + 2]))
        return np.ones((len(texts), 1), dtype=np.float32)


class Encoding(Stage):
    needs = ("prompt",)
    writes = ("norm",)
    engine: Annotated[str | None, EngineRole()] = None

    def apply(self, view, ctx):
        texts = text_of(view["prompt"]).to_pylist()
        vectors = ctx.encode(SlowEncoder(4.0), [*texts, *texts[:3]])  # three are repeated
        return {"norm": pa.array(vectors[: len(texts), 0])}
