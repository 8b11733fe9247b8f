"""Calls as columns: one seed a call, or none at all."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from curate.engines.contract import Requests, Sampling
from curate.schema import PROMPT

PROMPTS = pa.array([[{"role": "user", "content": text}] for text in "ab"], PROMPT)


def test_calls_are_iterated_in_order_with_their_seeds() -> None:
    which = np.array([1, 1, 0])
    asked = Requests(PROMPTS, Sampling(), which, np.array([5, 6, 7], np.uint64))
    assert [(call.messages[0]["content"], call.seed) for call in asked] == [
        ("b", 5), ("b", 6), ("a", 7),
    ]  # fmt: skip
    assert [call.seed for call in Requests(PROMPTS, Sampling())] == [None, None]


def test_seeds_that_are_not_one_a_call_are_no_calls() -> None:
    with pytest.raises(ValueError, match="shorter"):
        list(Requests(PROMPTS, Sampling(), seeds=np.array([5], np.uint64)))
