"""What an engine is: the only way stages reach a language model.

An `EngineSpec` is configuration (light to import, written in YAML); `load()` turns it into
an `Engine`, which is loaded once a worker and may be called from several threads at once.
One item that fails is a `Completion` with a status and an error; an exception is raised only
when the engine as a whole cannot go on (bad credentials, dead server, out of memory).

A number of tokens that is not known is None (null in a column), never 0. A prompt that does not fit
the model's window is a `too_long` of its own: no rerun changes that, so it is not charged to the
stage's error budget.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from curate.arrays import messages_of
from curate.component import Component, Registry
from curate.schema import CompletionStatus

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": text}
Schema = Mapping[str, Any]  # a JSON schema
Capability = Literal["chat", "token_probs", "loglikelihood", "structured", "score"]


class Sampling(BaseModel):
    """How to draw text. Defaults are the model's plain distribution, with no length limit.

    `max_tokens` None means up to the model's window; a text that reaches a limit comes back
    with status `truncated`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(default=1.0, ge=0.0)
    """0 is greedy."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Draw from the likeliest tokens that hold this probability together."""
    top_k: int | None = Field(default=None, ge=1)
    """Draw from so many of the likeliest tokens; not every server knows it."""
    min_p: float = Field(default=0.0, ge=0.0, le=1.0)
    """Draw from tokens at least this likely beside the likeliest; not every server knows it."""
    repetition_penalty: float = Field(default=1.0, gt=0.0)
    """Above 1: tokens that were there become less likely; not every server knows it."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Most tokens of an answer."""
    stop: tuple[str, ...] = ()
    """Texts before which an answer ends."""


class Request(NamedTuple):
    """One chat call. If the last message is the assistant's, the engine continues that text."""

    messages: Sequence[Message]
    sampling: Sampling
    seed: int | None
    choices: tuple[str, ...]
    json_schema: Schema | None = None


@dataclass(frozen=True)
class Requests:
    """Chat calls as columns: thousands of prompts are built with a few Arrow calls.

    `conversations` is a column of lists of {role, content}. `which` holds, for each call, the
    index of the conversation that it sends: several samples of one prompt name the same one and
    share its text and its tokens. Without `which` there is one call a conversation, in order.
    `seeds` holds one seed a call, in [0, 2**63); it may be None only where sampling is greedy.
    `choices` asks for the probabilities of these short texts as the next token.
    `json_schema` holds the answers to a JSON schema, or each call's to its own (engines with the
    capability "structured").
    """

    conversations: pa.Array
    sampling: Sampling
    which: npt.NDArray[np.int64] | None = None
    seeds: npt.NDArray[np.uint64] | None = None
    choices: tuple[str, ...] = ()
    json_schema: Schema | Sequence[Schema] | None = None

    def __len__(self) -> int:
        """Return the number of calls."""
        return len(self.conversations) if self.which is None else len(self.which)

    def __iter__(self) -> Iterator[Request]:
        """Yield the calls one by one, for an engine that works so; conversations are shared."""
        messages = messages_of(self.conversations)
        which = range(len(messages)) if self.which is None else self.which.tolist()
        seeds = [None] * len(which) if self.seeds is None else self.seeds.tolist()
        for place, seed, schema in zip(which, seeds, self.schemas(), strict=True):
            yield Request(messages[place], self.sampling, seed, self.choices, schema)

    def schemas(self) -> Sequence[Schema | None]:
        """Return the schema of each call."""
        held = self.json_schema
        return [held] * len(self) if held is None or isinstance(held, Mapping) else held


class Completion(NamedTuple):
    """The answer to one call; `text` is "" unless status is ok or truncated."""

    text: str
    status: CompletionStatus = "ok"
    finish_reason: str | None = "stop"
    prompt_tokens: int | None = None
    tokens: int | None = None
    error: str | None = None
    choice_logprobs: tuple[float, ...] | None = None
    """Natural-log probability of each of `Requests.choices` as the next token, -inf where the
    server's top list does not hold it; None where not asked for or not available."""
    cached_tokens: int | None = None  # prompt tokens served from the prefix cache
    retries: int = 0  # tries after the first
    cut: bool = False  # whether the prompt was cut to fit the model's window


@dataclass(frozen=True)
class Completions:
    """The answers to `Requests` as columns, in the order of the calls; see `Completion`.

    `choice_logprobs` has one row a call and one column a choice; a row of NaN says that the
    engine had none. `prompt_tokens` and `tokens` are int32, null where unknown; `cached_tokens`,
    `retries` and `cut_prompts` are sums over the calls of which they are known.
    """

    text: pa.Array
    status: pa.Array
    finish_reason: pa.Array
    tokens: pa.Array
    error: pa.Array
    choice_logprobs: npt.NDArray[np.float64]
    prompt_tokens: pa.Array
    cached_tokens: int = 0
    retries: int = 0
    cut_prompts: int = 0

    def __len__(self) -> int:
        """Return the number of answers."""
        return len(self.text)

    @classmethod
    def of(cls, answers: Sequence[Completion], choices: int = 0) -> Completions:
        """Gather single answers; `choices` is how many choices were asked for."""
        nothing = (np.nan,) * choices
        logprobs = [a.choice_logprobs or nothing for a in answers] if choices else []
        return cls(
            text=pa.array([a.text for a in answers], pa.string()),
            status=pa.array([a.status for a in answers], pa.string()),
            finish_reason=pa.array([a.finish_reason for a in answers], pa.string()),
            tokens=pa.array([a.tokens for a in answers], pa.int32()),
            error=pa.array([a.error for a in answers], pa.string()),
            choice_logprobs=np.array(logprobs, dtype=np.float64).reshape(len(answers), choices),
            prompt_tokens=pa.array([a.prompt_tokens for a in answers], pa.int32()),
            cached_tokens=sum(a.cached_tokens or 0 for a in answers),
            retries=sum(a.retries for a in answers),
            cut_prompts=sum(a.cut for a in answers),
        )


class Continuation(NamedTuple):
    """Ask for log p(answer | messages), or for a reward; `answer` is the next turn, by `role`.

    Requests one after another that share `messages` (the same object) share its tokens.
    """

    messages: Sequence[Message]
    answer: str
    role: Literal["assistant", "user"] = "assistant"


class Likelihood(NamedTuple):
    """Sum of natural-log token probabilities of an answer, and its number of tokens."""

    logprob: float | None
    tokens: int = 0
    status: CompletionStatus = "ok"
    error: str | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0


class Reward(NamedTuple):
    """What a reward model gives one answer: its raw output, on the model's own scale."""

    value: float | None
    status: CompletionStatus = "ok"
    error: str | None = None
    prompt_tokens: int = 0  # tokens read, the answer's included
    cached_tokens: int = 0


class Engine(Protocol):
    """A loaded model. Answers come in the order of the requests and are as many."""

    @property
    def model(self) -> str:
        """The name stored with each candidate that this engine writes."""

    def describe(self) -> Mapping[str, str]:
        """Return what is stored in each part's record, so that answers can be traced.

        `engine` is the kind, `model` the name asked for, `revision` the weights' commit or sha256
        ("" where unknown), `version` that of the library that ran it; `dtype` for a model in this
        process, `served` for the name that a server gave. No address and no key.
        """

    def chat(self, requests: Requests) -> Completions:
        """Answer every call."""

    def loglikelihood(self, requests: Sequence[Continuation]) -> list[Likelihood]:
        """Score every continuation."""

    def close(self) -> None:
        """Free what the engine holds."""


@runtime_checkable
class Scorer(Protocol):
    """What an engine with the capability "score" has beside the methods of `Engine`."""

    def score(self, requests: Sequence[Continuation]) -> list[Reward]:
        """Give every answer its reward, in order."""


@runtime_checkable
class Telling(Protocol):
    """What an engine has beside the methods of `Engine` that tells of trouble while it works."""

    def listen(self, tell: Callable[[str], None]) -> None:
        """Call `tell` from now on, from any thread, with one line of trouble at a time.

        The local executor puts it into the run's events; actors on Ray keep it to themselves.
        """


engine_registry: Registry[EngineSpec] = Registry("engine")


class EngineSpec(Component):
    """Configuration of an engine; subclass with `class MyEngine(EngineSpec, name="mine")`."""

    registry: ClassVar[Registry[Any] | None] = engine_registry
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    isolated: ClassVar[bool] = False  # load in a child process, whose exit frees the GPU

    def beside(self, others: Sequence[EngineSpec]) -> EngineSpec:
        """Return how to load this where one process holds `others` too; here, as if alone."""
        return self

    def ready(self) -> None:
        """Raise ConfigError for what can be known to be missing here before anything runs.

        A key or a package, say; nothing is loaded, and no server or hub is asked.
        """

    @abstractmethod
    def load(self) -> Engine:
        """Load the model or connect. Raises ConfigError or StageError with a remedy."""
