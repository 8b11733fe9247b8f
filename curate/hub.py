"""The Hugging Face Hub: a dataset of a certain commit, and refusals in words that can be shown."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from curate.errors import CurateError, InputError, StageError

COMMIT = re.compile(r"[0-9a-f]{40}")
_TOKEN = re.compile(r"hf_\w{8,}")
_CLIENTS = ("httpx", "httpx2", "requests")  # the Hub's client has changed its library twice


def hub_trouble(error: Exception) -> str | None:
    """Return what the Hub answered, without any token, or that there is no connection.

    None: the error is not about the Hub.
    """
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, HfHubHTTPError):
        said = error.server_message or f"HTTP {error.response.status_code}"
        return f"the Hub says: {_TOKEN.sub('[token]', ' '.join(str(said).split()))}"
    client = type(error).__module__.partition(".")[0]
    if client in _CLIENTS or isinstance(error, OfflineModeIsEnabled):
        return f"no connection to the Hub ({type(error).__name__})"
    return None


@contextmanager
def bars_for_a_terminal() -> Iterator[None]:
    """Let `datasets` and the Hub's client draw bars only where a terminal shows them.

    They write them to stderr wherever it goes, as into the mail of a scheduled run.
    """
    import datasets
    from huggingface_hub import utils as client

    shown = [m for m in (datasets, client) if not m.are_progress_bars_disabled()]
    if not shown or sys.stderr.isatty():
        yield
        return
    for library in shown:
        library.disable_progress_bars()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bars()


def not_given(message: str, error: BaseException, lasting: type[CurateError]) -> CurateError:
    """Return the error for what the Hub did not give: a StageError where a later run may get it.

    That is where nobody answers, or the Hub is overloaded or fails; a refusal is `lasting`, and so
    is a Hub that may not be asked (HF_HUB_OFFLINE).
    """
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    if any(type(one).__name__ == "OfflineModeIsEnabled" for one in chain):
        return lasting(message)
    codes = [getattr(getattr(one, "response", None), "status_code", None) for one in chain]
    code = next((code for code in codes if code is not None), None)
    silent = code is None and any(
        isinstance(one, ConnectionError | TimeoutError)
        or type(one).__module__.partition(".")[0] in _CLIENTS
        for one in chain
    )
    return (StageError if silent or code == 429 or (code or 0) >= 500 else lasting)(message)


def at_commit(path: str, name: str | None, split: str, commit: str) -> Any:
    """Return the split of the Hub's dataset as it was at the commit, and never at another one.

    Raises StageError where only another commit is cached (InputError where the Hub may not be
    asked): where `datasets` cannot reach the Hub it takes the last one that it has read. Errors of
    `datasets` and of the Hub's client pass.
    """
    import datasets
    from huggingface_hub import constants

    builder = datasets.load_dataset_builder(path, name, revision=commit)
    if builder.hash != commit:
        away = InputError if constants.HF_HUB_OFFLINE else StageError
        raise away(
            f"{path}@{commit}: the Hub cannot be reached, and what is cached here is another "
            f"commit ({builder.hash}); try again, or read that one"
        )
    builder.download_and_prepare()
    return builder.as_dataset(split=split)
