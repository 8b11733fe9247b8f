"""Hostile text on one line: what would move a terminal's cursor, hide or turn around other text."""

from __future__ import annotations


def printable(text: str, *, mark: bool = True) -> str:
    """Return the text without what does not print.

    With `mark` each such character stands as its code point, so that a reader sees what was
    there; without, as a blank, and runs of blanks become one, for names and short examples.
    """
    if text.isprintable():
        return text if mark else " ".join(text.split())
    if mark:
        return "".join(c if c.isprintable() else f"[U+{ord(c):04X}]" for c in text)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
