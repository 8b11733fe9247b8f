"""The Hugging Face Hub's refusals, in words that can be shown."""

from __future__ import annotations

import re

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
