"""vLLM in this process: one stepping thread, so shards in flight share continuous batching.

A caller hands its requests to the thread and waits for its own answers only; requests of
several shards run side by side, and the GPU never waits for the tail of a shard. Text in
messages never becomes a control token: see `rendering`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from curate.arrays import messages_of
from curate.engines.contract import (
    Capability,
    Completion,
    Completions,
    Continuation,
    Likelihood,
    Requests,
)
from curate.engines.overlong import room_for
from curate.engines.rendering import ChatTokenizer
from curate.engines.stepping import Failed
from curate.engines.vllm_calls import Call, chat_call, prompt_call, read_completion
from curate.engines.vllm_likelihood import likelihoods
from curate.engines.vllm_loading import VLLMModel, load
from curate.errors import ConfigError
from curate.meter import Underway


class VLLM(VLLMModel, name="vllm"):
    """A model run by vLLM, on GPUs or on a CPU.

    `model` is a Hub name, a directory, or `packaged:smollm2-135m-instruct`. Raises MissingExtra
    without vLLM, ConfigError for a model without a chat template, StageError where the model
    cannot be loaded.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {"chat", "token_probs", "loglikelihood", "structured"}
    )
    version: ClassVar[int] = 2  # 2: control tokens in messages stay text

    cut_prompts: bool = False
    """Cut the prompt of a chat that does not fit the window in the middle of its longest text,
    instead of the status `too_long`; texts whose likelihood is asked for are never cut."""

    def load(self) -> VLLMEngine:
        """Load the model; minutes for a large one."""
        return VLLMEngine(self)


class VLLMEngine:
    """What `VLLM` loads. Safe to call from several threads at once."""

    def __init__(self, spec: VLLM) -> None:
        self._spec = spec
        self._stepper, self._window, self._described = load(spec)
        try:
            tokenizer = self._stepper.llm.get_tokenizer()
            self._tokenizer = ChatTokenizer(tokenizer, spec.model, spec.chat_template_kwargs)
        except ConfigError:
            self.close()
            raise

    @property
    def model(self) -> str:
        """The name given in the spec."""
        return self._spec.model

    def describe(self) -> Mapping[str, str]:
        """Return model, revision (a commit, or the file's sha256), vLLM version and dtype."""
        return {"engine": "vllm", "model": self._spec.model, **self._described}

    def chat(self, requests: Requests) -> Completions:
        """Answer every call, in order. Raises StageError where vLLM itself failed."""
        tokenizer, window = self._tokenizer, self._window
        most = None
        if self._spec.cut_prompts:
            limit = 1 if requests.choices else requests.sampling.max_tokens
            most = window - room_for(limit, window)
        prompts = [prompt_call(tokenizer, m, most) for m in messages_of(requests.conversations)]
        which = range(len(prompts)) if requests.which is None else requests.which.tolist()
        calls = [
            chat_call(prompts[place], request, tokenizer, window)
            for place, request in zip(which, requests, strict=True)
        ]
        done = []
        for call, output in zip(calls, self._outputs(calls), strict=True):
            if isinstance(output, Failed):
                status, size = call.status, len(call.ids)
                done.append(Completion("", status, "error", size, 0, error=output.error))
            else:
                done.append(read_completion(output, call))
        return Completions.of(done, len(requests.choices))

    def loglikelihood(self, requests: Sequence[Continuation]) -> list[Likelihood]:
        """Return log p(answer | messages) for every continuation, in order.

        The sum runs over the answer's own tokens, without an end-of-turn token. Messages that
        neighbouring requests share are read once.
        """
        return likelihoods(requests, self._tokenizer, self._window, self._stepper.run)

    def so_far(self) -> Underway:
        """Return how far it has come with all calls."""
        return self._stepper.meter.so_far()

    def _outputs(self, calls: Sequence[Call]) -> Iterator[Any]:
        """Yield vLLM's output, or `Failed`, for every call; what cannot be sent is not sent."""
        answers = iter(self._stepper.run([(c.ids, c.params) for c in calls if c.error is None]))
        for call in calls:
            yield next(answers) if call.error is None else Failed(call.error)

    def close(self) -> None:
        """Stop the thread and free the model."""
        self._stepper.close()
