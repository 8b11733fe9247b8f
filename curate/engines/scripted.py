"""An engine without a model, for tests and for measuring the framework's own cost.

Its answers are a hash of the request. They look like text, mean nothing, and must never
enter a published data set.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import Field

from curate.arrays import flat, hashes, large, lengths, mix
from curate.component import Runtime
from curate.engines.contract import (
    Capability,
    Completions,
    Continuation,
    EngineSpec,
    Likelihood,
    Requests,
    Reward,
)
from curate.engines.scripted_json import json_text
from curate.meter import Meter, Underway

_WORDS = (
    "amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "heath",
    "inlet", "jetty", "knoll", "lagoon", "marsh", "north", "ocean", "prairie",
)  # fmt: skip
_FAILURE = "scripted failure"
_TOKENS = 4  # of an answer
_SLICES = 10  # in which a delay is waited, with a share of the calls done after each


class Scripted(EngineSpec, name="scripted"):
    """Tests only: answers are picked by a hash of messages and seed.

    `replies` are the possible answers (where empty, words from the hash, or JSON that fits the
    schema asked for); `delay_s` is waited once for all requests that come together; one request in
    `fail_every` comes back as `api_error` (0: none).
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {"chat", "token_probs", "loglikelihood", "structured", "score"}
    )

    model: str = "scripted"
    """The name that answers carry."""
    replies: tuple[str, ...] = ()
    """The possible answers."""
    delay_s: Runtime[float] = Field(0.0, ge=0.0)
    """Seconds that calls which come together wait."""
    fail_every: int = Field(0, ge=0)
    """One call in so many fails; 0: none."""

    def load(self) -> ScriptedEngine:
        """Return the engine; there is nothing to load."""
        return ScriptedEngine(self)


class ScriptedEngine:
    """What `Scripted` loads. Thread-safe: it keeps nothing but its sums."""

    def __init__(self, spec: Scripted) -> None:
        self._spec, self._meter = spec, Meter()

    @property
    def model(self) -> str:
        """The name given in the spec."""
        return self._spec.model

    def describe(self) -> Mapping[str, str]:
        """Return the model's name and the engine's kind."""
        return {"engine": "scripted", "model": self._spec.model, "version": "2"}

    def chat(self, requests: Requests) -> Completions:
        """Answer every call, in order."""
        self._wait(len(requests), _TOKENS)
        keys = _keys(requests.conversations)
        if requests.which is not None:
            keys = keys[requests.which]
        keys = mix(keys, 0 if requests.seeds is None else requests.seeds)
        size, choices = len(keys), requests.choices
        failed = np.zeros(size, dtype=bool)
        if self._spec.fail_every:
            failed = keys % np.uint64(self._spec.fail_every) == 0
            self._meter.ended(0, failed=int(failed.sum()))
        bad = pa.array(failed)
        logprobs = _choice_logprobs(keys, choices)
        logprobs[failed] = np.nan
        return Completions(
            text=pc.if_else(bad, "", self._texts(keys, requests)),
            status=pc.if_else(bad, "api_error", "ok"),
            finish_reason=pc.if_else(bad, "error", "stop"),
            tokens=pc.if_else(bad, pa.scalar(0, pa.int32()), pa.scalar(_TOKENS, pa.int32())),
            error=pc.if_else(bad, _FAILURE, pa.scalar(None, pa.string())),
            choice_logprobs=logprobs,
            prompt_tokens=pc.if_else(bad, pa.scalar(0, pa.int32()), pa.scalar(1, pa.int32())),
        )

    def loglikelihood(self, requests: Sequence[Continuation]) -> list[Likelihood]:
        """Return a hash of every continuation in (-4, 0] a word, in order."""
        self._wait(len(requests), 0)
        fail_every = self._spec.fail_every
        done = []
        for messages, answer, _ in requests:
            texts = [message["content"] for message in messages]
            key = xxhash.xxh3_64_intdigest("\0".join([*texts, answer]).encode())
            if fail_every and key % fail_every == 0:
                done.append(Likelihood(None, status="api_error", error=_FAILURE))
                continue
            tokens = len(answer.split()) or 1
            done.append(Likelihood(-4.0 * tokens * (key >> 11) / 2**53, tokens, prompt_tokens=1))
        return done

    def score(self, requests: Sequence[Continuation]) -> list[Reward]:
        """Return the hash of `loglikelihood` as a reward, in order."""
        return [
            Reward(found.logprob, found.status, found.error, found.prompt_tokens + found.tokens)
            for found in self.loglikelihood(requests)
        ]

    def close(self) -> None:
        """Free nothing."""

    def so_far(self) -> Underway:
        """Return how far it has come with all calls."""
        return self._meter.so_far()

    def _wait(self, calls: int, tokens: int) -> None:
        self._meter.asked(calls)
        if not self._spec.delay_s:  # even no time at all would hand the turn to another thread
            self._meter.ended(calls, calls * tokens)
            return
        for number in range(_SLICES):
            time.sleep(self._spec.delay_s / _SLICES)
            done = calls * (number + 1) // _SLICES - calls * number // _SLICES
            self._meter.ended(done, done * tokens)

    def _texts(self, keys: npt.NDArray[np.uint64], requests: Requests) -> pa.Array:
        # The low bits decide on failure, so another part of the hash picks the answer.
        if self._spec.replies:
            replies = pa.array(self._spec.replies, pa.string())
            return replies.take(pa.array((keys >> np.uint64(32)) % np.uint64(len(replies))))
        first, second = (
            _phrases().take(pa.array(keys >> np.uint64(shift) & np.uint64(255)))
            for shift in (56, 48)
        )
        said = pc.binary_join_element_wise(first, second, " ")
        if requests.json_schema is None:
            return said
        each = zip(requests.schemas(), keys.tolist(), said.to_pylist(), strict=True)
        made = (json_text(schema or {}, key, words) for schema, key, words in each)
        return pa.array(list(made), pa.string())


@cache
def _phrases() -> pa.Array:
    """Return a phrase for each byte; made late, as a list makes pyarrow import pandas."""
    return pa.array([f"{a} {b}" for a in _WORDS for b in _WORDS])


def _keys(conversations: pa.Array) -> npt.NDArray[np.uint64]:
    """Hash each conversation's contents, which lie one after another, and its number of turns."""
    counts, contents = lengths(conversations), large(flat(conversations, "content"))
    _, offsets, data = contents.buffers()
    ends = np.concatenate([[0], np.cumsum(counts)]) + contents.offset
    if not len(contents):
        return counts.astype(np.uint64)
    spans = np.frombuffer(offsets, dtype=np.int64)[ends]
    whole = pa.LargeStringArray.from_buffers(len(counts), pa.py_buffer(spans), data)
    return mix(hashes(whole), counts)


def _choice_logprobs(
    keys: npt.NDArray[np.uint64], choices: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Return log probabilities that sum to less than one, the rest being other tokens."""
    names = hashes(pa.array(choices, pa.large_string()))
    weights = (1 + (mix(keys[:, None], names[None, :]) >> np.uint64(40))).astype(np.float64)
    return np.asarray(np.log(weights / (weights.sum(axis=1, keepdims=True) * 1.05)))


__all__ = ["Scripted", "ScriptedEngine"]
