"""The Hugging Face Hub: a dataset of a certain commit, and refusals in words that can be shown."""

from __future__ import annotations

import re
from typing import Any

from curate.errors import InputError

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


def at_commit(path: str, name: str | None, split: str, commit: str) -> Any:
    """Return the split of the Hub's dataset as it was at the commit, and never at another one.

    Raises InputError where only another commit is cached: where `datasets` cannot reach the Hub it
    takes the last one that it has read. Errors of `datasets` and of the Hub's client pass.
    """
    import datasets

    builder = datasets.load_dataset_builder(path, name, revision=commit)
    if builder.hash != commit:
        raise InputError(
            f"{path}@{commit}: the Hub cannot be reached, and what is cached here is another "
            f"commit ({builder.hash}); try again, or read that one"
        )
    builder.download_and_prepare()
    return builder.as_dataset(split=split)
