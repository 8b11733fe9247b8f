"""Cross-encoders from sentence-transformers: a question and an answer in, one score out."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from curate.component import Runtime
from curate.engines.contract import Capability, Continuation, EngineSpec, Message, Reward
from curate.engines.overlong import why_too_long
from curate.engines.scoring import ScoringEngine, chosen_output
from curate.errors import ConfigError, MissingExtra, importing, installed, out_of_memory
from curate.loading import each_batch, without_bars
from curate.lookout import roomy
from curate.meter import Meter, Underway


class CrossEncoder(EngineSpec, name="cross_encoder"):
    """A cross-encoder or reranker (`...ForSequenceClassification` over two texts).

    `model` is a Hub name or a directory. The first text is the conversation (a lone question as
    it is, else its turns with their roles), the second the answer; the score is the raw
    output, without a sigmoid. `output` says which output counts where a model has several.
    Code that comes with a model is never run. Raises MissingExtra without
    sentence-transformers, ConfigError where the model does not load or has a chat template
    (which makes it a reward model: see `vllm_reward`).
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset({"score"})
    isolated: ClassVar[bool] = True

    model: str
    """A Hub name or a directory."""
    output: int | None = Field(None, ge=0)
    """Which output is the score, from 0, where a model has several."""
    revision: str | None = None
    """The commit, tag or branch of the Hub's model."""
    max_model_len: int | None = Field(None, ge=2)
    """Most tokens of question and answer together; by default the model's own."""
    device: Runtime[str | None] = None
    """Such as cuda:0 or cpu; by default what there is."""
    batch_size: Runtime[int] = Field(32, ge=1)
    """Pairs of texts that are scored at once."""

    def ready(self) -> None:
        """Raise MissingExtra without sentence-transformers."""
        if not installed("sentence_transformers"):
            raise MissingExtra("sentence-transformers", "embed")

    def load(self) -> CrossEncoderEngine:
        """Load the model."""
        return CrossEncoderEngine(self)


class CrossEncoderEngine(ScoringEngine):
    """What `CrossEncoder` loads. Safe to call from several threads, which then take turns."""

    def __init__(self, spec: CrossEncoder) -> None:
        with importing("sentence_transformers", "embed", "sentence-transformers"):
            import sentence_transformers
        try:
            with without_bars():
                self._network: Any = sentence_transformers.CrossEncoder(
                    spec.model,
                    revision=spec.revision,
                    max_length=spec.max_model_len,
                    device=spec.device,
                    trust_remote_code=False,
                )
        except (OSError, ValueError) as error:
            if out_of_memory(error):
                raise
            raise ConfigError(f"cannot load the cross-encoder {spec.model!r}: {error}") from error
        if getattr(self._network.tokenizer, "chat_template", None):
            raise ConfigError(f"{spec.model} has a chat template; use a vllm_reward engine")
        # A control token's name inside a text stays text.
        self._network.tokenizer.split_special_tokens = True
        config = self._network.config
        self._output = chosen_output(spec.model, int(config.num_labels), spec.output)
        positions = int(getattr(config, "max_position_embeddings", 0) or 0) or math.inf
        name = "max_seq_length"  # renamed in sentence-transformers 6
        limit = getattr(self._network, name, None) or self._network.max_length
        self._window = min(limit or math.inf, positions)
        self._batch, self._lock, self._meter = spec.batch_size, threading.Lock(), Meter()
        described = {
            "revision": spec.revision or getattr(config, "_commit_hash", None) or "",
            "version": str(sentence_transformers.__version__),
            "dtype": str(next(self._network.model.parameters()).dtype).removeprefix("torch."),
        }
        super().__init__("cross_encoder", spec.model, described)

    def score(self, requests: Sequence[Continuation]) -> list[Reward]:
        """Give every answer its score, in order.

        A pair that does not fit the model's window is `too_long`, never cut.
        """
        pairs = [(_shown(r.messages), r.answer) for r in requests]
        if not pairs:
            return []
        self._meter.asked(len(pairs))
        with self._lock:  # tokenizers must not be entered by two threads at once
            ids = self._network.tokenizer(
                [a for a, _ in pairs], [b for _, b in pairs], truncation=False, verbose=False
            )["input_ids"]
            sizes = [len(row) for row in ids]
            fits = [pair for pair, size in zip(pairs, sizes, strict=True) if size <= self._window]
            self._meter.ended(len(pairs) - len(fits))
            values = iter(self._values(fits))
        done = [
            _reward(next(values), size)
            if size <= self._window
            else Reward(None, "too_long", why_too_long(size, int(self._window)), size)
            for size in sizes
        ]
        self._meter.ended(0, failed=sum(reward.status == "api_error" for reward in done))
        return done

    def so_far(self) -> Underway:
        """Return how far it has come with all pairs."""
        return self._meter.so_far()

    def close(self) -> None:
        """Drop the model."""
        del self._network

    def _values(self, pairs: list[tuple[str, str]]) -> list[float]:
        import torch

        if not pairs:
            return []
        # One module of several since sentence-transformers 6.
        several = isinstance(self._network, torch.nn.Sequential)
        module = self._network[-1] if several else self._network.model
        roomy()
        with each_batch(module, len(pairs), self._meter.ended):
            found = self._network.predict(
                pairs,
                batch_size=self._batch,
                show_progress_bar=False,
                activation_fn=torch.nn.Identity(),
            )
        roomy()
        return [float(v) for v in found.reshape(len(pairs), -1)[:, self._output]]


def _reward(value: float, size: int) -> Reward:
    if not math.isfinite(value):
        return Reward(None, "api_error", "the score is not finite", size)
    return Reward(value, prompt_tokens=size)


def _shown(messages: Sequence[Message]) -> str:
    if len(messages) == 1 and messages[0]["role"] == "user":
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)
