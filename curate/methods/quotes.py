"""Whether a text takes over the words of another that its reader must not know of."""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+")


def quoted(text: str, hidden: str, known: str, words: int) -> str:
    """Return the first run of `words` words of `text` that is in `hidden` and not in `known`.

    "" where there is none. Case and punctuation do not count. A `hidden` text of fewer words is
    never quoted: a shared "thank you" means nothing.
    """
    secret = _runs(hidden, words)
    if not secret:
        return ""
    open_to_all = _runs(known, words)
    run = next((run for run in _runs(text, words) if run in secret and run not in open_to_all), ())
    return " ".join(run)


def _runs(text: str, words: int) -> dict[tuple[str, ...], None]:
    """Return the runs of `words` words, in order (a dict keeps it, and a set's would vary)."""
    found = _WORD.findall(text.lower())
    return dict.fromkeys(tuple(found[k : k + words]) for k in range(len(found) - words + 1))
