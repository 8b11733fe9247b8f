"""One call to an OpenAI-compatible server made ready, and its answer read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from curate.engines.contract import Completion, Request


def arguments(request: Request, model: str, limit_field: str) -> dict[str, Any]:
    """Return the call's arguments; what has its default is left out, as few servers know all."""
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
    limit = 1 if request.choices else sampling.max_tokens
    if limit is not None:
        call[limit_field] = limit
    if request.choices:
        call |= {"logprobs": True, "top_logprobs": 20}
    if request.json_schema is not None:
        named = {"name": "answer", "schema": dict(request.json_schema), "strict": True}
        call["response_format"] = {"type": "json_schema", "json_schema": named}
    extra: dict[str, Any] = {}  # beyond OpenAI's own API; vLLM and SGLang know these
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


def read_completion(answer: Any, choices: Sequence[str]) -> Completion:
    """Read a server's answer. Raises ValueError and the like where it has another shape."""
    choice = answer.choices[0]
    if len(answer.choices) > 1:
        raise ValueError(f"{len(answer.choices)} choices where one was asked for")
    text, reason = choice.message.content, choice.finish_reason
    if text is not None and not isinstance(text, str):
        raise ValueError("content is not a text")
    if text is not None:
        # JSON can spell half a surrogate pair, which no file can hold.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    usage = answer.usage
    prompt_tokens, tokens = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
    cached = (usage.prompt_tokens_details if usage else None) or None
    counts: dict[str, Any] = {
        "prompt_tokens": prompt_tokens or 0,
        "tokens": tokens or 0,
        "cached_tokens": (cached.cached_tokens or 0) if cached else 0,
    }
    if choice.message.refusal or reason == "content_filter":
        return Completion("", "refused", "refusal", **counts)
    if reason == "length" and not choices:
        return Completion(text or "", "truncated", "length", **counts)
    if text is None and not choices:
        return Completion("", "refused", "refusal", **counts)
    probs = _choice_logprobs(choice.logprobs, choices) if choices else None
    return Completion(text or "", "ok", reason, **counts, choice_logprobs=probs)


def _choice_logprobs(logprobs: Any, choices: Sequence[str]) -> tuple[float, ...] | None:
    """Sum each choice's spellings (with and without space) in the first token's top list."""
    if logprobs is None or not logprobs.content:
        return None
    sums = dict.fromkeys((choice.strip() for choice in choices), 0.0)
    for entry in logprobs.content[0].top_logprobs:
        spelling = entry.token.strip()
        if spelling in sums:
            sums[spelling] += math.exp(entry.logprob)
    totals = [sums[choice.strip()] for choice in choices]
    return tuple(math.log(min(total, 1.0)) if total > 0 else -math.inf for total in totals)
