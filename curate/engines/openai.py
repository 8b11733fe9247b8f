"""Any server that speaks OpenAI's chat API, hosted or your own (vLLM, llama.cpp, SGLang).

All shards in flight share one event loop, one connection pool and one limit on concurrent
calls. Only passing trouble (429, 5xx, timeouts, lost connections) is tried again. What a server
does with control tokens inside messages is its own affair; `steering_signs` flags them.
"""

from __future__ import annotations

import asyncio
import email.utils
import importlib.metadata
import ipaddress
import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from curate.component import Runtime
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
from curate.engines.openai_calls import arguments, read_completion
from curate.errors import ConfigError, MissingExtra, StageError

_LONGEST_WAIT_S = 300.0  # a server may ask for more; a run should rather stop and be resumed
_FIRST_WAIT_S = 0.5
_SHORTEST_KEY = 8  # shorter ones, as the placeholder is, may well be words of an answer
_FATAL = {401: "the API key", 403: "the API key's permissions", 404: "model and base_url"}


class OpenAI(EngineSpec, name="openai"):
    """A chat model behind an OpenAI-compatible server.

    The key is read from the environment variable `api_key_env` and kept nowhere; "" means the
    server takes none. `retries` are further tries after the first. Answers that cannot be had
    (also a 400, as for a prompt that is too long) are items with status `api_error`. Raises
    ConfigError where the key is missing, and StageError on 401, 403, 404 or a dead server.
    Token probabilities and JSON schemas need a server that knows them; one that does not refuses
    the calls (`api_error`) or, for probabilities, leaves them out.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset({"chat", "token_probs", "structured"})

    model: str
    base_url: Runtime[str] = "https://api.openai.com/v1"
    api_key_env: Runtime[str] = "OPENAI_API_KEY"
    concurrency: Runtime[int] = Field(64, ge=1)
    timeout_s: Runtime[float] = Field(600.0, gt=0.0)
    retries: Runtime[int] = Field(6, ge=0)
    one_model: Runtime[bool] = True
    """Stop where the server's answers come to carry another model's name."""
    max_tokens_field: Runtime[Literal["max_tokens", "max_completion_tokens"]] = "max_tokens"

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

    def load(self) -> OpenAIEngine:
        """Make the client; nothing is sent yet."""
        return OpenAIEngine(self)


class OpenAIEngine:
    """What `OpenAI` loads. Safe to call from several threads at once."""

    def __init__(self, spec: OpenAI) -> None:
        self._spec = spec
        self._key = _api_key(spec)
        try:
            import openai
            import stamina  # noqa: F401  (needed later; say so now)
        except ImportError as error:
            raise MissingExtra(error.name or "openai", "openai") from None
        self._client = openai.AsyncOpenAI(
            api_key=self._key, base_url=spec.base_url, timeout=spec.timeout_s, max_retries=0
        )
        self._served = ""  # the model's name in the server's answers
        self._answers = 0
        self._slots = asyncio.Semaphore(spec.concurrency)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="openai-engine", daemon=True
        )
        self._thread.start()

    @property
    def model(self) -> str:
        """The name given in the spec."""
        return self._spec.model

    def describe(self) -> Mapping[str, str]:
        """Return the model as asked for and as served, and the client's version; no address."""
        version = importlib.metadata.version("openai")
        facts = {"engine": "openai", "model": self._spec.model, "revision": "", "version": version}
        return facts | ({"served": self._served} if self._served else {})

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
        asyncio.run_coroutine_threadsafe(self._client.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _all(self, requests: Sequence[Request]) -> list[Completion]:
        tasks = [asyncio.ensure_future(self._one(request)) for request in requests]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()  # after a fatal error, spend nothing on the rest

    async def _one(self, request: Request) -> Completion:
        import stamina

        tries = stamina.retry_context(
            on=_wait_before_retry,
            attempts=self._spec.retries + 1,
            timeout=None,
            wait_initial=_FIRST_WAIT_S,
            wait_max=60.0,
        )
        # The slot is kept while waiting, so that a server which asks for patience gets it.
        async with self._slots:
            before = self._answers
            try:
                async for attempt in tries:
                    with attempt:
                        return await self._call(request)
            except _PassingError as error:
                # A server that has answered others meanwhile is not down: this call fails alone.
                if error.unreachable and self._answers == before:
                    raise StageError(f"no connection to the server of {self._where()}") from None
                return Completion("", "api_error", "error", error=str(error))
        raise AssertionError("unreachable: a try returns or raises")

    async def _call(self, request: Request) -> Completion:
        """Send one request once. Raises _PassingError where another try may help."""
        import openai

        call = self._client.chat.completions.create(
            **arguments(request, self._spec.model, self._spec.max_tokens_field)
        )
        try:
            # The client's own limit is for each read, which a slow drip of bytes never reaches.
            answer = await asyncio.wait_for(call, self._spec.timeout_s)
        except (openai.APITimeoutError, TimeoutError):
            raise _PassingError(f"no answer within {self._spec.timeout_s:g} s") from None
        except openai.APIConnectionError:
            raise _PassingError("the connection failed", unreachable=True) from None
        except openai.APIStatusError as error:
            code = error.status_code
            text = self._redact(f"HTTP {code}: {error.message}")
            if code in _FATAL:
                raise StageError(f"{self._where()}: {text}; check {_FATAL[code]}") from None
            if code in (408, 409, 429) or code >= 500:
                wait = _retry_after(error.response.headers.get("retry-after"))
                raise _PassingError(text, wait) from None
            return Completion("", "api_error", "error", error=text)
        except (openai.OpenAIError, ValueError) as error:
            text = self._redact(f"{type(error).__name__}: {error}")
            return Completion("", "api_error", "error", error=text)
        try:
            self._same_model(answer.model)
            return self._without_key(read_completion(answer, request.choices))
        except (AttributeError, TypeError, IndexError, ValueError) as error:
            text = self._redact(f"malformed answer: {type(error).__name__}: {error}")
            return Completion("", "api_error", "error", error=text)

    def _same_model(self, name: object) -> None:
        """Remember whose answers these are; raise StageError where another model takes over."""
        served = self._redact(name) if isinstance(name, str) else ""
        self._answers += 1
        self._served = self._served or served
        if self._spec.one_model and served != self._served:
            raise StageError(
                f"{self._where()}: answers came from {self._served!r} and then from {served!r}; "
                "fix the server and run again, or set one_model: false if they may be mixed"
            )

    def _where(self) -> str:
        return f"{self._spec.model} at {self._spec.base_url}"

    def _without_key(self, answer: Completion) -> Completion:
        """Cut the key out of an answer, which becomes data."""
        if len(self._key) < _SHORTEST_KEY or self._key not in answer.text:
            return answer
        return answer._replace(text=answer.text.replace(self._key, "[key]"))

    def _redact(self, text: str) -> str:
        """Cut the key out of a server's words: some servers echo it."""
        return text.replace(self._key, "[key]")[:2000]


class _PassingError(Exception):
    """Trouble that another try may not meet; `wait_s` is what the server asked for."""

    def __init__(self, text: str, wait_s: float | None = None, unreachable: bool = False) -> None:
        super().__init__(text)
        self.wait_s = wait_s
        self.unreachable = unreachable


def _wait_before_retry(error: Exception) -> bool | float:
    if not isinstance(error, _PassingError):
        return False
    return True if error.wait_s is None else error.wait_s


def _retry_after(header: str | None) -> float | None:
    """Return how long the header asks to wait, in seconds or until a date; None for neither."""
    try:
        seconds = float(header or "")
    except ValueError:
        try:
            until = email.utils.parsedate_to_datetime(header or "")
        except ValueError:
            return None
        seconds = until.timestamp() - time.time()
    return min(max(seconds, 0.0), _LONGEST_WAIT_S) if math.isfinite(seconds) else None


def _api_key(spec: OpenAI) -> str:
    """Return the key, or a placeholder for a server that takes none (the client insists)."""
    key = os.environ.get(spec.api_key_env, "") if spec.api_key_env else ""
    if key:
        return key
    host = urlsplit(spec.base_url).hostname or ""
    if not spec.api_key_env or _is_loopback(host):
        return "EMPTY"
    raise ConfigError(
        f"the environment variable {spec.api_key_env} is not set; set it to the API key of "
        f'{host}, or write `api_key_env: ""` for a server that takes none'
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
