"""An engine without a model, for tests and for measuring the framework's own cost.

Its answers are a hash of the request. They look like text, mean nothing, and must never
enter a published data set.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import ClassVar

import xxhash
from pydantic import Field

from curate.component import Runtime
from curate.engines.contract import (
    Capability,
    Completion,
    Continuation,
    EngineSpec,
    Likelihood,
    Message,
    Request,
)

_WORDS = (
    "amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "heath",
    "inlet", "jetty", "knoll", "lagoon", "marsh", "north", "ocean", "prairie",
)  # fmt: skip
_PHRASES = tuple(f"{a} {b}" for a in _WORDS for b in _WORDS)  # one byte of the hash picks one
_hash = xxhash.xxh3_64_intdigest


class Scripted(EngineSpec, name="scripted"):
    """Tests only: answers are picked by a hash of messages and seed.

    `replies` are the possible answers (words from the hash where empty); `delay_s` is waited
    once a call; one request in `fail_every` comes back as `api_error` (0: none).
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {"chat", "token_probs", "loglikelihood"}
    )

    model: str = "scripted"
    replies: tuple[str, ...] = ()
    delay_s: Runtime[float] = Field(0.0, ge=0.0)
    fail_every: int = Field(0, ge=0)

    def load(self) -> ScriptedEngine:
        """Return the engine; there is nothing to load."""
        return ScriptedEngine(self)


class ScriptedEngine:
    """What `Scripted` loads. Thread-safe: it keeps no state."""

    def __init__(self, spec: Scripted) -> None:
        self._spec = spec
        self._replies = spec.replies or None

    @property
    def model(self) -> str:
        """The name given in the spec."""
        return self._spec.model

    def describe(self) -> Mapping[str, str]:
        """Return the model's name and the engine's kind."""
        return {"engine": "scripted", "model": self._spec.model, "version": "1"}

    def chat(self, requests: Sequence[Request]) -> list[Completion]:
        """Answer every request, in order."""
        if self._spec.delay_s:
            time.sleep(self._spec.delay_s)
        fail_every, replies = self._spec.fail_every, self._replies
        done = []
        for messages, _, seed, choices in requests:
            key = _key(messages, seed or 0)
            if fail_every and key % fail_every == 0:
                done.append(Completion("", "api_error", "error", error="scripted failure"))
                continue
            # The low bits decide on failure, so another part of the hash picks the answer.
            if replies is None:
                text = f"{_PHRASES[key >> 56]} {_PHRASES[key >> 48 & 255]}"
            else:
                text = replies[(key >> 32) % len(replies)]
            logprobs = _choice_logprobs(key, choices) if choices else None
            done.append(Completion(text, "ok", "stop", 1, 4, None, logprobs))
        return done

    def loglikelihood(self, requests: Sequence[Continuation]) -> list[Likelihood]:
        """Return a hash of every continuation in (-4, 0] a word, in order."""
        if self._spec.delay_s:
            time.sleep(self._spec.delay_s)
        fail_every = self._spec.fail_every
        done = []
        for messages, answer in requests:
            key = _hash(answer.encode(), _key(messages, 0))
            if fail_every and key % fail_every == 0:
                done.append(Likelihood(None, status="api_error", error="scripted failure"))
                continue
            tokens = len(answer.split()) or 1
            done.append(Likelihood(-4.0 * tokens * (key >> 11) / 2**53, tokens, prompt_tokens=1))
        return done

    def close(self) -> None:
        """Free nothing."""


def _key(messages: Sequence[Message], seed: int) -> int:
    """Chain the messages: each one's hash is seeded with the hash of those before it."""
    key = seed & 0xFFFFFFFFFFFFFFFF
    for message in messages:
        key = _hash(message["content"].encode(), _hash(message["role"].encode(), key))
    return key


def _choice_logprobs(key: int, choices: Sequence[str]) -> tuple[float, ...]:
    """Return log probabilities that sum to less than one, the rest being other tokens."""
    weights = [1 + (_hash(choice.encode(), key) >> 40) for choice in choices]
    total = sum(weights) * 1.05
    return tuple(math.log(weight / total) for weight in weights)
