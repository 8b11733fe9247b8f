"""One call to an OpenAI-compatible server made ready, and its answer read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from curate.engines.contract import Completion, Request, Sampling

_LONGEST_REASON = 64  # characters of a finish reason: one word
_ROUNDING = 1e-3  # how far above 0 a server's log probability may be


_OWN_FIELDS = frozenset(
    {
        "add_generation_prompt", "continue_final_message", "logprobs", "max_completion_tokens",
        "messages", "model", "n", "response_format", "seed", "stream", "stream_options",
        "tool_choice", "tools", "top_logprobs",
    }
)  # fmt: skip
_SECRETS = re.compile(r"(?i)((api|access|auth)[-_ ]?)?(key|token|secret|password)|authorization")


def checked_body(given: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """Return what goes along with every call. Raises ValueError for what has a place of its own."""
    for name in given:
        if _SECRETS.fullmatch(name):
            raise ValueError(f"{name!r} looks like a key; use api_key_env or api_key_file")
        if name in Sampling.model_fields:
            raise ValueError(f"{name!r} belongs into the `sampling` of a stage")
        if name in _OWN_FIELDS:
            raise ValueError(f"{name!r} is what every call says by itself")
    return given


def arguments(
    request: Request, model: str, limit_field: str, body: Mapping[str, JsonValue]
) -> dict[str, Any]:
    """Return the call's arguments; what has its default is left out, as few servers know all.

    `body` goes along as it is.
    """
    sampling = request.sampling
    call: dict[str, Any] = {
        "model": model,
        "messages": list(request.messages),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    if request.seed is not None:
        call["seed"] = request.seed
    if sampling.stop:
        call["stop"] = list(sampling.stop)
    limit = answer_limit(request)
    if limit is not None:
        call[limit_field] = limit
    if request.choices:
        call |= {"logprobs": True, "top_logprobs": 20}
    if request.json_schema is not None:
        named = {"name": "answer", "schema": dict(request.json_schema), "strict": True}
        call["response_format"] = {"type": "json_schema", "json_schema": named}
    extra: dict[str, Any] = dict(body)  # beyond OpenAI's own API; vLLM and SGLang know these
    if sampling.top_k is not None:
        extra["top_k"] = sampling.top_k
    if sampling.min_p:
        extra["min_p"] = sampling.min_p
    if sampling.repetition_penalty != 1.0:
        extra["repetition_penalty"] = sampling.repetition_penalty
    if request.messages and request.messages[-1]["role"] == "assistant":
        extra |= {"continue_final_message": True, "add_generation_prompt": False}
    if extra:
        call["extra_body"] = extra
    return call


def answer_limit(request: Request) -> int | None:
    """Return the most tokens that the answer may have: one where probabilities are asked for."""
    return 1 if request.choices else request.sampling.max_tokens


def read_completion(answer: Any, choices: Sequence[str]) -> Completion:
    """Read a server's answer, of which nothing is taken on trust.

    Raises ValueError, TypeError, AttributeError or IndexError where it has another shape. Numbers
    of tokens that are none are unknown.
    """
    choice = answer.choices[0]
    if len(answer.choices) > 1:
        raise ValueError(f"{len(answer.choices)} choices where one was asked for")
    text, reason = _text(choice.message.content, "content"), _text(choice.finish_reason, "reason")
    counts = _counts(answer.usage)
    if choice.message.refusal or reason == "content_filter":
        return Completion("", "refused", "refusal", **counts)
    if reason == "length" and not choices:
        return Completion(text or "", "truncated", "length", **counts)
    if text is None and not choices:
        return Completion("", "refused", "refusal", **counts)
    probs = _choice_logprobs(choice.logprobs, choices) if choices else None
    reason = None if reason is None else reason[:_LONGEST_REASON]
    return Completion(text or "", "ok", reason, **counts, choice_logprobs=probs)


def whole_text(text: str) -> str:
    """Return the text without halves of characters: JSON can spell them, no file holds them."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _text(value: object, what: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{what} is not a text")
    return None if value is None else whole_text(value)


def _counts(usage: Any) -> dict[str, Any]:
    """Return the numbers of tokens, None where the server gives none that could be one."""
    details = getattr(usage, "prompt_tokens_details", None)
    told = {
        "prompt_tokens": getattr(usage, "prompt_tokens", None),
        "tokens": getattr(usage, "completion_tokens", None),
        "cached_tokens": getattr(details, "cached_tokens", None),
    }
    return {name: value if _is_count(value) else None for name, value in told.items()}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _choice_logprobs(logprobs: Any, choices: Sequence[str]) -> tuple[float, ...] | None:
    """Sum each choice's spellings (with and without space) in the first token's top list."""
    if logprobs is None or not logprobs.content:
        return None
    sums = dict.fromkeys((choice.strip() for choice in choices), 0.0)
    for entry in logprobs.content[0].top_logprobs:
        spelling, logprob = entry.token.strip(), float(entry.logprob)
        if not logprob <= _ROUNDING:  # NaN too
            raise ValueError(f"{logprob:g} is no log probability")
        if spelling in sums:
            sums[spelling] += math.exp(logprob)
    totals = [sums[choice.strip()] for choice in choices]
    return tuple(math.log(min(total, 1.0)) if total > 0 else -math.inf for total in totals)
