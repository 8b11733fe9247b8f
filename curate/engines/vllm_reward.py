"""Reward models in vLLM: sequence classifiers that read a conversation to its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from curate.engines.contract import Capability, Continuation, Reward
from curate.engines.overlong import why_too_long
from curate.engines.rendering import ChatTokenizer
from curate.engines.scoring import ScoringEngine, chosen_output
from curate.engines.stepping import Failed
from curate.engines.vllm_loading import VLLMModel, load
from curate.errors import ConfigError
from curate.meter import Underway


class VLLMReward(VLLMModel, name="vllm_reward"):
    """A reward model (`...ForSequenceClassification`) run by vLLM, on GPUs or on a CPU.

    The conversation with its answer goes through the model's own chat template; the reward is
    the raw output, without a sigmoid. `output` says which output counts where a model has
    several. Raises MissingExtra without vLLM, ConfigError for a model without a chat template
    or with several outputs and no `output`, StageError where the model cannot be loaded.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset({"score"})

    output: int | None = Field(None, ge=0)
    """Which output is the reward, from 0, where a model has several."""

    def load(self) -> VLLMRewardEngine:
        """Load the model; minutes for a large one."""
        return VLLMRewardEngine(self)


class VLLMRewardEngine(ScoringEngine):
    """What `VLLMReward` loads. Safe to call from several threads at once."""

    def __init__(self, spec: VLLMReward) -> None:
        self._stepper, self._window, described = load(spec, runner="pooling")
        llm = self._stepper.llm
        try:
            if "classify" not in llm.supported_tasks:
                raise ConfigError(
                    f"{spec.model} is no sequence classifier; it supports: "
                    f"{', '.join(sorted(llm.supported_tasks))}"
                )
            labels = getattr(llm.llm_engine.model_config.hf_config, "num_labels", 1)
            self._output = chosen_output(spec.model, int(labels), spec.output)
            self._tokenizer = ChatTokenizer(
                llm.get_tokenizer(), spec.model, spec.chat_template_kwargs
            )
        except ConfigError:
            self.close()
            raise
        super().__init__("vllm_reward", spec.model, described)

    def score(self, requests: Sequence[Continuation]) -> list[Reward]:
        """Give every answer its reward, in order. Raises StageError where vLLM itself failed.

        A conversation that does not fit the model's window is `too_long`, never cut.
        """
        calls = [self._call(request) for request in requests]
        sent = [ids for ids in calls if isinstance(ids, list)]
        answers = iter(self._stepper.run([(ids, _params()) for ids in sent]))
        return [
            self._read(next(answers), call) if isinstance(call, list) else call for call in calls
        ]

    def so_far(self) -> Underway:
        """Return how far it has come with all calls."""
        return self._stepper.meter.so_far()

    def close(self) -> None:
        """Stop the thread and free the model."""
        self._stepper.close()

    def _call(self, request: Continuation) -> list[int] | Reward:
        turn = {"role": request.role, "content": request.answer}
        try:
            ids = self._tokenizer.prompt([*request.messages, turn], closed=True)
        except ValueError as error:
            return Reward(None, "api_error", str(error))
        if not ids:
            return Reward(None, "api_error", "the conversation has no tokens")
        if len(ids) > self._window:
            why = why_too_long(len(ids), self._window)
            return Reward(None, "too_long", why, len(ids))
        return ids

    def _read(self, output: Any, ids: list[int]) -> Reward:
        if isinstance(output, Failed):
            return Reward(None, "api_error", output.error, len(ids))
        value = float(output.outputs.data[self._output])
        cached = getattr(output, "num_cached_tokens", 0) or 0
        if not math.isfinite(value):
            return Reward(None, "api_error", "the reward is not finite", len(ids), cached)
        return Reward(value, prompt_tokens=len(ids), cached_tokens=cached)


def _params() -> Any:
    from vllm import PoolingParams

    return PoolingParams(task="classify", use_activation=False)
