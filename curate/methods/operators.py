"""Whether two short texts that have the same words also calculate the same: 2+2 is not 2-2."""

from __future__ import annotations

import unicodedata

_SIGNS = frozenset("-*/^%")
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-")


def calculates(text: str) -> bool:
    """Whether the text has what operators can stand between: a digit, or two lone letters."""
    plain = _plain(text)
    lone = sum(_lone(plain, place) for place in range(len(plain)))
    return lone > 1 or any(char.isdigit() for char in plain)


def kernel(text: str) -> str:
    """Return the text's letters and digits (NFKC, lower case) and its operators, nothing between.

    An operator (a mathematical sign, or one of - * / ^ %) counts next to a digit or between two
    lone letters, white space aside: a hyphen within words does not. What stands before the first
    word or after the last is left out, but for the minus of a number.
    """
    plain = _plain(text)
    packed = [place for place, char in enumerate(plain) if not char.isspace()]
    kept = []
    for at, place in enumerate(packed):
        char = plain[place]
        before = packed[at - 1] if at else -1
        after = packed[at + 1] if at + 1 < len(packed) else -1
        if char.isalnum() or (_is_sign(char) and _binds(plain, before, after)):
            kept.append(char)
    found = "".join(kept)
    start = next((k for k, char in enumerate(found) if char.isalnum()), len(found))
    stop = next((k for k in range(len(found), 0, -1) if found[k - 1].isalnum()), 0)
    minus = plain.lstrip()[:1] == "-" and plain.lstrip()[1:2].isdigit()  # no bullet of a list
    return ("-" if minus else "") + found[start:stop]


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).lower().translate(_DASHES)


def _is_sign(char: str) -> bool:
    return char in _SIGNS or unicodedata.category(char) == "Sm"


def _binds(text: str, before: int, after: int) -> bool:
    sides = [place for place in (before, after) if place >= 0]
    if any(text[place].isdigit() for place in sides):
        return True
    return len(sides) == 2 and all(_lone(text, place) for place in sides)


def _lone(text: str, place: int) -> bool:
    """Whether one letter stands by itself."""
    around = (text[max(place - 1, 0) : place], text[place + 1 : place + 2])
    return text[place].isalpha() and not any(char.isalnum() for char in around)
