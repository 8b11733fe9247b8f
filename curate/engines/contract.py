"""What an engine is: the only way stages reach a language model.

An `EngineSpec` is configuration (light to import, written in YAML); `load()` turns it into
an `Engine`, which is loaded once a worker and may be called from several threads at once.
One item that fails is a `Completion` with a status and an error; an exception is raised only
when the engine as a whole cannot go on (bad credentials, dead server, out of memory).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field

from curate.component import Component, Registry
from curate.schema import CompletionStatus

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": text}
Capability = Literal["chat", "token_probs", "loglikelihood"]


class Sampling(BaseModel):
    """How to draw text. Defaults are the model's plain distribution, with no length limit.

    `max_tokens` None means up to the model's window; a text that reaches a limit comes back
    with status `truncated`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(default=1.0, ge=0.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    top_k: int | None = Field(default=None, ge=1)
    min_p: float = Field(default=0.0, ge=0.0, le=1.0)
    repetition_penalty: float = Field(default=1.0, gt=0.0)
    max_tokens: int | None = Field(default=None, ge=1)
    stop: tuple[str, ...] = ()


class Request(NamedTuple):
    """One chat call. If the last message is the assistant's, the engine continues that text.

    `choices` asks for the probabilities of these short texts as the next token.
    """

    messages: Sequence[Message]
    sampling: Sampling
    seed: int | None = None  # None only where sampling is greedy
    choices: tuple[str, ...] = ()


class Completion(NamedTuple):
    """The answer to one `Request`; `text` is "" unless status is ok or truncated."""

    text: str
    status: CompletionStatus = "ok"
    finish_reason: str | None = "stop"
    prompt_tokens: int = 0
    tokens: int = 0
    error: str | None = None
    choice_logprobs: tuple[float, ...] | None = None
    """Natural-log probability of each of `Request.choices` as the next token, -inf where the
    server's top list does not hold it; None where not asked for or not available."""
    cached_tokens: int = 0  # prompt tokens served from the prefix cache


class Continuation(NamedTuple):
    """Ask for log p(answer | messages); `answer` is the assistant's next turn."""

    messages: Sequence[Message]
    answer: str


class Likelihood(NamedTuple):
    """Sum of natural-log token probabilities of an answer, and its number of tokens."""

    logprob: float | None
    tokens: int = 0
    status: CompletionStatus = "ok"
    error: str | None = None
    prompt_tokens: int = 0


class Engine(Protocol):
    """A loaded model. Answers come in the order of the requests and are as many."""

    @property
    def model(self) -> str:
        """The name stored with each candidate that this engine writes."""

    def describe(self) -> Mapping[str, str]:
        """Return what is stored in each part's record: model, revision, engine version."""

    def chat(self, requests: Sequence[Request]) -> list[Completion]:
        """Answer every request."""

    def loglikelihood(self, requests: Sequence[Continuation]) -> list[Likelihood]:
        """Score every continuation."""

    def close(self) -> None:
        """Free what the engine holds."""


class EngineSpec(Component):
    """Configuration of an engine; subclass with `class MyEngine(EngineSpec, name="mine")`."""

    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    isolated: ClassVar[bool] = False  # load in a child process, whose exit frees the GPU

    @classmethod
    def __pydantic_init_subclass__(cls, name: str = "", **kwargs: Any) -> None:
        """Register the subclass under `name`."""
        super().__pydantic_init_subclass__(**kwargs)
        cls.kind = name or f"{cls.__module__}:{cls.__qualname__}"
        engine_registry.add(cls.kind, cls)

    @abstractmethod
    def load(self) -> Engine:
        """Load the model or connect. Raises ConfigError or StageError with a remedy."""


engine_registry: Registry[EngineSpec] = Registry("engine")
