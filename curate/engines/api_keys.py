"""API keys: where one comes from, and how it is kept out of everything that is said or stored."""

from __future__ import annotations

import os
import re
from pathlib import Path

from curate.errors import ConfigError

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
_SHORTEST = 8  # a shorter key may well be a word of an answer
_WORDS = "[key]"
NONE = "EMPTY"  # what a server that takes no key is sent, as the client insists


def checked_variable(name: str) -> str:
    """Return the name of an environment variable. Raises ValueError, which does not repeat it.

    Names are in capitals, as these are everywhere: so a key that was written here by mistake is
    refused before it gets into a file.
    """
    if name and not _VARIABLE.fullmatch(name):
        raise ValueError(
            "must be the NAME of an environment variable, in capitals (what was given is not "
            "shown: it may be a key); keys themselves never stand in a pipeline"
        )
    return name


def checked_path(path: str | None) -> str | None:
    """Return a path that begins as one. Raises ValueError, which does not repeat it."""
    if path is not None and not path.startswith(("/", "~/", "./", "../")):
        raise ValueError(
            "must be a path that begins with /, ~/, ./ or ../ (what was given is not shown: it may "
            "be a key); keys themselves never stand in a pipeline"
        )
    return path


class ApiKey:
    """A key that is never printed."""

    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        """Return no part of it."""
        return "ApiKey()"

    def cut_from(self, text: str, data: bool = False) -> str:
        """Return the text without the key: some servers echo it. A short key stays in `data`."""
        if self.value == NONE or (data and len(self.value) < _SHORTEST):
            return text
        return text.replace(self.value, _WORDS)


def read_key(variable: str, file: str | None, host: str, needed: bool) -> ApiKey:
    """Return the key in the file where one is named, else in the variable, without blanks around.

    `needed` says whether the host must have one. Raises ConfigError where there is none, or where
    what is there is no key.
    """
    if file is not None:
        try:
            found = Path(file).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, ValueError, RuntimeError) as error:
            why = error.strerror if isinstance(error, OSError) else type(error).__name__
            raise ConfigError(f"the file that api_key_file names cannot be read: {why}") from None
        where = "the file that api_key_file names"
        if not found:
            raise ConfigError(f"{where} is empty")
    else:
        found = os.environ.get(variable, "").strip() if variable else ""
        where = f"the environment variable {variable}"
    if not found and needed:
        raise ConfigError(
            f"{where} is not set; set it to the API key of {host}, name a file in api_key_file, "
            'or write `api_key_env: ""` for a server that takes none'
        )
    if not (found.isascii() and found.isprintable()) or " " in found:
        raise ConfigError(f"{where} holds no key: a key has no blanks, line breaks or accents")
    return ApiKey(found or NONE)
