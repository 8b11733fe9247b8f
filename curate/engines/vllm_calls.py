"""One request to vLLM made ready, and vLLM's output read; vLLM itself is loaded elsewhere."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from curate.engines.contract import Completion, Message, Request
from curate.engines.overlong import MOST_CUTS, shortened, why_too_long
from curate.engines.rendering import ChatTokenizer
from curate.schema import CompletionStatus


class Call(NamedTuple):
    """One request made ready: token ids and parameters, or why it cannot be sent."""

    ids: list[int]
    params: Any = None
    error: str | None = None
    status: CompletionStatus = "api_error"  # with an error
    cut: bool = False  # whether the prompt was shortened
    tokens: list[list[int]] = []  # token ids of each choice


def prompt_call(tokenizer: ChatTokenizer, messages: list[Message], most: int | None = None) -> Call:
    """Return the prompt's token ids, without parameters yet, or why there are none.

    With `most`, a prompt of more tokens is cut until it has no more, if it can be; see `shortened`.
    """
    try:
        ids, shown = tokenizer.prompt(messages), messages
        for _ in range(MOST_CUTS):
            if most is None or len(ids) <= most:
                break
            shorter = shortened(shown, most / len(ids))
            if shorter is None:
                break
            ids, shown = tokenizer.prompt(shorter), shorter
        return Call(ids, cut=shown is not messages)
    except ValueError as error:
        return Call([], error=str(error))


def chat_call(prompt: Call, request: Request, tokenizer: ChatTokenizer, window: int) -> Call:
    """Return the call that draws an answer to a prompt; `window` is the model's, in tokens."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    room = window - len(prompt.ids)
    if prompt.error is not None:
        return prompt
    if room < 1:
        return prompt._replace(error=why_too_long(len(prompt.ids), window), status="too_long")
    sampling, schema = request.sampling, request.json_schema
    try:
        tokens = tokenizer.choices(request.choices)
        params = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k or 0,
            min_p=sampling.min_p,
            repetition_penalty=sampling.repetition_penalty,
            stop=list(sampling.stop) or None,
            seed=request.seed if sampling.temperature else None,
            max_tokens=1 if tokens else min(sampling.max_tokens or room, room),
            logprob_token_ids=sorted({t for group in tokens for t in group}) or None,
            structured_outputs=(
                StructuredOutputsParams(json=dict(schema)) if schema is not None else None
            ),
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
    except (ValueError, TypeError) as error:
        return prompt._replace(error=f"{type(error).__name__}: {error}")
    return prompt._replace(params=params, tokens=tokens)


def read_completion(output: Any, call: Call) -> Completion:
    """Read what vLLM gave for a chat call."""
    answer = output.outputs[0]
    probs: tuple[float, ...] | None = None
    if call.tokens:
        found = answer.logprobs[0]
        sums = [sum(math.exp(found[t].logprob) for t in group) for group in call.tokens]
        probs = tuple(math.log(total) if total > 0 else -math.inf for total in sums)
    # Asking for choices asks for one token, so that reaching its limit is no truncation.
    cut = answer.finish_reason == "length" and not call.tokens
    if answer.finish_reason not in ("stop", "length"):
        error = f"vLLM ended the request with {answer.finish_reason!r}"
        return Completion("", "api_error", "error", len(call.ids), error=error)
    return Completion(
        answer.text,
        "truncated" if cut else "ok",
        answer.finish_reason,
        len(call.ids),
        len(answer.token_ids),
        None,
        probs,
        output.num_cached_tokens or 0,
        cut=call.cut,
    )
