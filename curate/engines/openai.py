"""Any server that speaks OpenAI's chat API, hosted or your own (vLLM, llama.cpp, SGLang).

All shards in flight share one event loop, one connection pool and one limit on concurrent
calls. Only passing trouble (429, 5xx, timeouts, lost connections) is tried again. What a server
does with control tokens inside messages is its own affair; `steering_signs` flags them. Nothing in
an answer is taken on trust: what is malformed is a status on its own call.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import ipaddress
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, field_validator

from curate.component import Runtime
from curate.engines.api_keys import ApiKey, checked_path, checked_variable, read_key
from curate.engines.contract import (
    Capability,
    Completion,
    Completions,
    Continuation,
    EngineSpec,
    Likelihood,
    Request,
    Requests,
)
from curate.engines.openai_calls import answer_limit, checked_body
from curate.engines.openai_server import Server, TooLong
from curate.engines.overlong import MOST_CUTS, Overlong, room_for, shortened
from curate.engines.server_watch import PassingError, ServerWatch, wait_before_retry
from curate.errors import ConfigError, MissingExtra, StageError, importing, installed
from curate.meter import Meter, Underway
from curate.schema import CompletionStatus

_FIRST_WAIT_S = 0.5


class OpenAI(EngineSpec, name="openai"):
    """A chat model behind an OpenAI-compatible server.

    The key is read from the file `api_key_file` or the environment variable `api_key_env`, and kept
    nowhere; "" means that the server takes none. Answers that cannot be had are items with status
    `api_error`, prompts that the server calls too long `too_long`. Raises ConfigError where the key
    is missing, and StageError on 401, 403, 404 or a dead server. Token probabilities and JSON
    schemas need a server that knows them; one that does not refuses the calls (`api_error`) or,
    for probabilities, leaves them out. A limit on answers that a prompt leaves no room for is
    lowered to what is left, as in the engines of this process.

    The address `base_url` is no part of the identity: the same model elsewhere goes on with what
    there is, and `one_model` watches the name that answers carry.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset({"chat", "token_probs", "structured"})

    model: str
    """The model's name, as the server knows it."""
    base_url: Runtime[str] = "https://api.openai.com/v1"
    """Where the server is: what stands before /chat/completions."""
    api_key_env: Runtime[str] = "OPENAI_API_KEY"
    """The NAME of an environment variable."""
    api_key_file: Runtime[str | None] = None
    """A path to a file that holds the key and nothing else, such as a mounted secret."""
    cut_prompts: bool = False
    """Cut a prompt that the server calls too long in the middle of its longest text, and ask again,
    instead of the status `too_long`."""
    concurrency: Runtime[int] = Field(64, ge=1)
    """Most calls at once, over all shards; engines of other names have their own."""
    timeout_s: Runtime[float] = Field(600.0, gt=0.0)
    """For one try, in seconds."""
    deadline_s: Runtime[float] = Field(1200.0, gt=0.0)
    """For a call with all its tries and the waits between them, in seconds."""
    retries: Runtime[int] = Field(6, ge=0)
    """Further tries after the first."""
    give_up_after: Runtime[int] = Field(20, ge=1)
    """Stop the run once so many calls in a row failed with every try, without an answer to any:
    the server is down, and the same command goes on when it is back."""
    one_model: Runtime[bool] = True
    """Stop where the server's answers come to carry another model's name while the run goes on;
    from one run to the next that is said by the run, the card and the report."""
    max_tokens_field: Runtime[Literal["max_tokens", "max_completion_tokens"]] = "max_tokens"
    """What the server calls the limit on an answer's length."""
    extra_body: dict[str, JsonValue] = {}
    """Fields that go along with every call, for what a server knows beyond the rest:
    `{chat_template_kwargs: {enable_thinking: false}}`, `{reasoning_effort: low}`. They are stored
    with the run, so no keys."""

    _variable = field_validator("api_key_env")(checked_variable)
    _path = field_validator("api_key_file")(checked_path)
    _body = field_validator("extra_body")(checked_body)

    @field_validator("base_url")
    @classmethod
    def _no_secrets(cls, url: str) -> str:
        """Refuse an address that carries a secret: addresses end up in logs and records."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http:// or https:// address")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("must hold no user, password, query or fragment; use api_key_env")
        return url

    def ready(self) -> None:
        """Raise ConfigError without the key, MissingExtra without the client."""
        for package in ("openai", "stamina"):
            if not installed(package):
                raise MissingExtra(package, "openai")
        self.key()

    def key(self) -> ApiKey:
        """Return the server's key. Raises ConfigError where it needs one and there is none."""
        host = urlsplit(self.base_url).hostname or ""
        needed = bool(self.api_key_env) and not _is_loopback(host)
        return read_key(self.api_key_env, self.api_key_file, host, needed)

    def load(self) -> OpenAIEngine:
        """Make the client; nothing is sent yet."""
        return OpenAIEngine(self)


class OpenAIEngine:
    """What `OpenAI` loads. Safe to call from several threads at once."""

    def __init__(self, spec: OpenAI) -> None:
        self._spec = spec
        key = spec.key()
        with importing("stamina", "openai"):
            import stamina  # noqa: F401  (needed later; say so now)
        self._server = Server(
            spec.model, spec.base_url, key, spec.timeout_s, spec.max_tokens_field, spec.extra_body,
            spec.one_model,
        )  # fmt: skip
        self._watch, self._meter = ServerWatch(self._server.where), Meter()
        self._slots = asyncio.Semaphore(spec.concurrency)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="openai-engine", daemon=True
        )
        self._thread.start()
        self._silence = asyncio.run_coroutine_threadsafe(self._watch.watch_silence(), self._loop)

    @property
    def model(self) -> str:
        """The name given in the spec."""
        return self._spec.model

    def describe(self) -> Mapping[str, str]:
        """Return the model as asked for and as served, and the client's version; no address."""
        version = importlib.metadata.version("openai")
        facts = {"engine": "openai", "model": self._spec.model, "revision": "", "version": version}
        served = self._server.served
        return facts | ({"served": served} if served else {})

    def listen(self, tell: Callable[[str], None]) -> None:
        """Tell from now on of tries that failed, and of a server that says nothing."""
        self._watch.tell = tell

    def so_far(self) -> Underway:
        """Return how far it has come with all calls."""
        return self._meter.so_far()

    def chat(self, requests: Requests) -> Completions:
        """Answer every call, in order. Raises StageError where no further call can succeed."""
        if not self._thread.is_alive():
            raise StageError(f"the engine of {self._spec.model} is closed")
        future = asyncio.run_coroutine_threadsafe(self._all(list(requests)), self._loop)
        try:
            return Completions.of(future.result(), len(requests.choices))
        except BaseException:
            future.cancel()
            raise

    def loglikelihood(self, requests: Sequence[Continuation]) -> list[Likelihood]:
        """Refuse: chat servers do not score a given text."""
        raise ConfigError("an openai engine has no loglikelihood; use a vllm engine")

    def close(self) -> None:
        """Close the connections and stop the thread."""
        if not self._thread.is_alive():
            return
        self._silence.cancel()
        asyncio.run_coroutine_threadsafe(self._server.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _all(self, requests: Sequence[Request]) -> list[Completion]:
        self._meter.asked(len(requests))
        tasks = [asyncio.ensure_future(self._one(request)) for request in requests]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()  # after a fatal error, spend nothing on the rest

    async def _one(self, request: Request) -> Completion:
        # The slot is kept while waiting, so that a server which asks for patience gets it.
        async with self._slots:
            self._watch.asked()
            try:
                answer = await self._fitted(request)
                self._meter.ended(1, answer.tokens, answer.status == "api_error")
                return answer
            finally:
                self._watch.ended()

    async def _fitted(self, request: Request) -> Completion:
        """Ask, and again with less where the server says that the request is too long for it."""
        retries, cut = 0, False
        for left in reversed(range(MOST_CUTS + 1)):
            answer = await self._tried(request)
            if isinstance(answer, Completion):
                return answer._replace(retries=retries + answer.retries, cut=cut)
            retries += answer.retries
            shorter = self._less(request, answer.numbers) if left else None
            if shorter is None:
                status: CompletionStatus = "api_error" if answer.numbers.prompt_fits else "too_long"
                return Completion("", status, "error", answer.numbers.tokens, error=answer.reason)
            retries, cut = retries + 1, cut or shorter.messages is not request.messages
            request = shorter
        raise AssertionError("unreachable: the last round returns")

    def _less(self, request: Request, said: Overlong) -> Request | None:
        """Return the request with a shorter limit or prompt, or None where neither may be."""
        limit, tokens, window = answer_limit(request), said.tokens, said.window
        if said.prompt_fits and limit is not None and tokens is not None and window is not None:
            room = window - tokens  # as an engine in this process would give it
            if room >= limit:
                return None
            sampling = request.sampling.model_copy(update={"max_tokens": room})
            return request._replace(sampling=sampling)
        if not self._spec.cut_prompts:
            return None
        share = 0.7  # the server did not say how much is too much
        if tokens is not None and window is not None:
            share = min((window - room_for(limit, window)) / tokens, 0.95)
        messages = shortened(request.messages, share)
        return None if messages is None else request._replace(messages=messages)

    async def _tried(self, request: Request) -> Completion | TooLong:
        """Send a request until it is answered, refused, or not to be had."""
        import stamina

        spec, watch = self._spec, self._watch
        # A server that is down gets one try a call: is it back?
        down = watch.failed_in_a_row >= spec.give_up_after
        tries = stamina.retry_context(
            on=wait_before_retry,
            attempts=1 if down else spec.retries + 1,
            timeout=spec.deadline_s,
            wait_initial=_FIRST_WAIT_S,
            wait_max=60.0,
        )
        before, started, number, trouble = watch.answers, time.monotonic(), 0, ""
        try:
            async for attempt in tries:
                if number:
                    watch.tried_again(trouble)
                number += 1
                with attempt:
                    try:
                        left = spec.deadline_s - (time.monotonic() - started)
                        patience = max(min(spec.timeout_s, left), 0.01)
                        answer = await self._server.call(request, patience)
                    except PassingError as error:
                        trouble = str(error)
                        raise
                    watch.answered()
                    return answer._replace(retries=number - 1)
        except PassingError as error:
            # A server that has answered others meanwhile is not down: this call fails alone.
            if error.unreachable and watch.answers == before:
                raise StageError(f"no connection to the server of {self._server.where}") from None
            watch.failed()
            if watch.failed_in_a_row >= spec.give_up_after:
                raise StageError(
                    f"{self._server.where}: {watch.failed_in_a_row} calls in a row failed, each "
                    f"{number} times; the last: {error}; run the same command again when the "
                    "server answers (or raise give_up_after)"
                ) from None
            return Completion("", "api_error", "error", error=str(error), retries=number - 1)
        raise AssertionError("unreachable: a try returns or raises")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
