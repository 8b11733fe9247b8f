"""The likelihood of given texts in vLLM, with the tokens before them read once.

vLLM does not read its prefix cache for requests that ask for prompt log probabilities, as it
has none for the cached tokens. Only those of the given text are wanted here, so the cache is
switched on, and the few requests whose own text was cached are asked again without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from curate.engines.contract import Continuation, Likelihood
from curate.engines.overlong import why_too_long
from curate.engines.rendering import ChatTokenizer
from curate.engines.stepping import Failed
from curate.schema import CompletionStatus

Ask: TypeAlias = Callable[[Sequence[tuple[list[int], Any]]], Sequence[Any]]


class Given(NamedTuple):
    """A text to score: all token ids, and where its own begin; or why it cannot be scored."""

    ids: list[int]
    start: int
    error: str | None = None
    status: CompletionStatus = "api_error"  # with an error


def likelihoods(
    requests: Sequence[Continuation], tokenizer: ChatTokenizer, window: int, ask: Ask
) -> list[Likelihood]:
    """Return the likelihood of every request's text, in order; `ask` is `Stepper.run`."""
    given = list(given_texts(requests, tokenizer, window))
    found: list[Likelihood | None] = [
        None if text.error is None else Likelihood(None, status=text.status, error=text.error)
        for text in given
    ]
    for cached in (True, False):
        todo = [i for i, likelihood in enumerate(found) if likelihood is None]
        outputs = ask([(given[i].ids, _params(cached)) for i in todo])
        for i, output in zip(todo, outputs, strict=True):
            found[i] = read_likelihood(output, given[i])
    nothing = Likelihood(None, status="api_error", error="vLLM gave no log probabilities")
    return [likelihood or nothing for likelihood in found]


def given_texts(
    requests: Sequence[Continuation], tokenizer: ChatTokenizer, window: int
) -> Iterator[Given]:
    """Yield the requests as token ids; neighbours that share their messages share the work."""
    before: list[int] | str = []
    last: Continuation | None = None
    for request in requests:
        if last is None or request.messages is not last.messages or request.role != last.role:
            before = _before(request, tokenizer)
        last = request
        if isinstance(before, str):
            yield Given([], 0, before)
            continue
        own = tokenizer.text(request.answer)
        size = len(before) + len(own)
        given = Given([*before, *own], len(before))
        if not before or not own:
            given = given._replace(error="an empty prompt or answer has no likelihood")
        elif size >= window:  # vLLM always generates one token more
            given = given._replace(error=why_too_long(size, window), status="too_long")
        yield given


def read_likelihood(output: Any, given: Given) -> Likelihood | None:
    """Read the sum of the text's own token log probabilities; None where one is missing."""
    if isinstance(output, Failed):
        return Likelihood(None, status="api_error", error=output.error)
    cached, total = output.num_cached_tokens or 0, 0.0
    own = len(given.ids) - given.start
    # Counted from the end: some of vLLM's runners leave the cached tokens' places out.
    rows = (output.prompt_logprobs or [])[-own:]
    if cached >= given.start or len(rows) < own:
        return None
    for token, row in zip(given.ids[given.start :], rows, strict=True):
        if row is None or token not in row:
            return None
        total += row[token].logprob
    if not math.isfinite(total):
        return Likelihood(None, status="api_error", error="the log probability is not finite")
    return Likelihood(total, own, prompt_tokens=given.start, cached_tokens=cached)


def _before(request: Continuation, tokenizer: ChatTokenizer) -> list[int] | str:
    """Return the token ids up to where the text begins, or why there are none."""
    try:
        if request.role == "user":
            return tokenizer.before_user(request.messages)
        return tokenizer.prompt(request.messages)
    except ValueError as error:
        return str(error)


def _params(cached: bool) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=0.0,
        max_tokens=1,
        prompt_logprobs=0,
        skip_reading_prefix_cache=not cached,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
