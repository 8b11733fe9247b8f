"""One OpenAI-compatible server: a call is sent once, and what comes back is put in words."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

from curate.engines.api_keys import ApiKey
from curate.engines.contract import Completion, Request
from curate.engines.openai_calls import arguments, read_completion, whole_text
from curate.engines.overlong import Overlong, read_overlong, why_too_long
from curate.engines.server_watch import PassingError, retry_after
from curate.errors import StageError, importing

_LONGEST_WORDS = 2000  # characters of what a server says that are kept
_FATAL = {401: "the API key", 403: "the API key's permissions", 404: "model and base_url"}
_OTHER_SHAPES = (
    ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip
"""What reading an answer raises that is not what was asked for."""


class TooLong(NamedTuple):
    """The server's word that a request does not fit its model's window."""

    reason: str
    numbers: Overlong
    retries: int = 0


class Server:
    """A client of one server, and what is known of the model behind it."""

    def __init__(
        self,
        model: str,
        url: str,
        key: ApiKey,
        timeout_s: float,
        limit_field: str,
        body: Mapping[str, Any],
        one_model: bool,
    ) -> None:
        with importing("openai", "openai"):
            import openai
        self._client = openai.AsyncOpenAI(
            api_key=key.value, base_url=url, timeout=timeout_s, max_retries=0
        )
        self._model, self._key, self._limit_field = model, key, limit_field
        self._body, self._one_model = body, one_model
        self.where = f"{model} at {url}"
        self.served = ""  # the model's name in the server's answers

    async def call(self, request: Request, timeout_s: float) -> Completion | TooLong:
        """Send one request once.

        Raises PassingError where another try may help, StageError where no call can succeed.
        """
        import openai

        call = self._client.chat.completions.create(
            **arguments(request, self._model, self._limit_field, self._body)
        )
        try:
            # The client's own limit is for each read, which a slow drip of bytes never reaches.
            answer = await asyncio.wait_for(call, timeout_s)
        except (openai.APITimeoutError, TimeoutError):
            raise PassingError(f"no answer within {timeout_s:.3g} s") from None
        except openai.APIConnectionError:
            raise PassingError("the connection failed", unreachable=True) from None
        except openai.APIStatusError as error:
            return self._refusal(error)
        except (openai.OpenAIError, *_OTHER_SHAPES) as error:
            return self._malformed(error)
        try:
            self._same_model(answer.model)
            return self._without_key(read_completion(answer, request.choices))
        except _OTHER_SHAPES as error:
            return self._malformed(error)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _refusal(self, error: Any) -> Completion | TooLong:
        """Read an answer with an HTTP status of failure. Raises PassingError or StageError."""
        code, text = error.status_code, self._redact(f"HTTP {error.status_code}: {error.message}")
        if code in _FATAL:
            raise StageError(f"{self.where}: {text}; check {_FATAL[code]}") from None
        if code in (408, 409, 429) or code >= 500:
            raise PassingError(text, retry_after(error.response.headers.get("retry-after")))
        numbers = read_overlong(text)
        if numbers is not None:
            return TooLong(why_too_long(numbers.tokens, numbers.window, text), numbers)
        return Completion("", "api_error", "error", error=text)

    def _malformed(self, error: Exception) -> Completion:
        text = self._redact(f"malformed answer: {type(error).__name__}: {error}")
        return Completion("", "api_error", "error", error=text)

    def _same_model(self, name: object) -> None:
        """Remember whose answers these are; raise StageError where another model takes over."""
        served = self._redact(name) if isinstance(name, str) else ""
        self.served = self.served or served
        if self._one_model and served != self.served:
            raise StageError(
                f"{self.where}: answers came from {self.served!r} and then from {served!r}; "
                "fix the server and run again, or set one_model: false if they may be mixed"
            )

    def _without_key(self, answer: Completion) -> Completion:
        """Cut the key out of all texts of an answer, which becomes data."""

        def cut(text: str | None) -> str | None:
            return text and self._key.cut_from(text, data=True)

        return answer._replace(
            text=cut(answer.text) or "",
            finish_reason=cut(answer.finish_reason),
            error=cut(answer.error),
        )

    def _redact(self, text: str) -> str:
        """Make a server's words fit to be said and stored: without the key, and not too long."""
        return self._key.cut_from(whole_text(text))[:_LONGEST_WORDS]
